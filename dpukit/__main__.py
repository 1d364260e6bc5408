"""The command ``dpukit``: one `click` group over the parts' own commands, each imported when it is called.

Exit codes are those of `sriov.program`.
"""

from __future__ import annotations

import importlib
from typing import NoReturn

import click

from sriov import program
from sriov.version import VERSION

_COMMANDS = {
    "attachments": ("cni.cli", "command", "List the VFs that are inside pods, from the attachment records."),
    "devices": ("deviceplugin.cli", "devices", "List PFs and VFs as this host sees them."),
    "offload": ("offload.cli", "command", "Ask the DPU what runs in hardware, and why the rest does not."),
    "provision": ("deviceplugin.cli", "provision", "Create VFs as policies ask; look first, change only what differs."),
}
"""Name on the command line → module, the command's name in it, the line of ``dpukit --help``."""


class LazyGroup(click.Group):
    """A group whose commands are imported by their own name only; help needs no import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands without importing them."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command called `cmd_name`; None when there is none of that name."""
        if cmd_name not in _COMMANDS:
            return None
        module, name, _ = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{name} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands' lines from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][2]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="dpukit")
def dpukit() -> None:
    """Networking for Kubernetes nodes with a DPU."""


def main() -> NoReturn:
    """Run the command line; the entry point of ``dpukit`` and of ``python -m dpukit``."""
    program.run(dpukit, name="dpukit")


if __name__ == "__main__":
    main()
