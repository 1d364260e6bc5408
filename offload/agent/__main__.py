"""The program ``dpukit-agent``: reads its words and its environment, then hands over to the loop.

Exit codes are those of `sriov.program`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import click

from offload.agent.config import AgentConfig, read_config
from offload.agent.loop import Agent
from offload.agent.watch import StateFile, read_state
from offload.vswitch.database import open_database
from sriov.kernel.sysfs import Sysfs
from sriov.program import Roots, configure_log, daemon_options, run


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@daemon_options
@click.option("--state", help="Where the desired state comes from: file:/path/to/state.yaml.")
def command(*, config: Path | None, state: str | None, check_config: bool, log_format: str) -> None:
    """Plug representors into Open vSwitch and program the flows of this DPU's pods."""
    configure_log(log_format)
    wanted = read_config(config)
    path = wanted.choose_state(state)
    if check_config:
        _check(wanted, path)
        return
    sysfs = Sysfs(Roots.of_environment(os.environ).sysfs)
    Agent(wanted, state_file=StateFile(path), sysfs=sysfs).run()


def _check(config: AgentConfig, path: Path) -> None:
    state = read_state(path)
    with open_database(config.ovsdb) as database:
        found = database.read_switch(config.bridge.name)
    bridge = "is there" if found.bridge else "will be created"
    count = f"{len(state.attachments)} attachments, {len(state.peers)} peers"
    click.echo(f"ok: node {state.node}, {count}; bridge {config.bridge.name} {bridge}")


def main() -> NoReturn:
    """Run the program; the entry point of ``dpukit-agent`` and of ``python -m offload.agent``."""
    run(command, name="dpukit-agent")


if __name__ == "__main__":
    main()
