"""What every program of ours has in common at its door: roots, options, logging, exit codes, a clean stop.

For ``__main__`` modules only (and the command line of `dpukit`). Exit codes: 0 done · 1 it could not be done · 2 the
words on the command line or in a file are wrong.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

import click

from sriov import log
from sriov.errors import DpuError, InputError
from sriov.version import VERSION

P = ParamSpec("P")
R = TypeVar("R")


_SIGNAL_LATENCY_S = 1.0


@dataclass(frozen=True, slots=True)
class Roots:
    """Where the outside world begins; the environment moves each, for tests and containers."""

    sysfs: Path
    """Where sysfs is mounted (``DPUKIT_SYSFS``)."""
    state: Path
    """What must survive a reboot (``DPUKIT_STATE``)."""
    run: Path
    """Sockets, and what dies with the boot (``DPUKIT_RUN``)."""
    device_plugins: Path
    """kubelet's folder of device-plugin sockets (``DPUKIT_DEVICE_PLUGINS``)."""

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Roots:
        """Read the roots from `environment`; an absent or empty variable means the default."""
        return cls(
            sysfs=Path(environment.get("DPUKIT_SYSFS") or "/sys"),
            state=Path(environment.get("DPUKIT_STATE") or "/var/lib/dpukit"),
            run=Path(environment.get("DPUKIT_RUN") or "/run/dpukit"),
            device_plugins=Path(environment.get("DPUKIT_DEVICE_PLUGINS") or "/var/lib/kubelet/device-plugins"),
        )


def daemon_options(command: Callable[P, R]) -> Callable[P, R]:
    """Give a daemon's click command the options every daemon has.

    They arrive as the parameters `config` (a path or None), `check_config` (a boolean) and `log_format`.
    """
    options = (
        click.option("--config", type=click.Path(path_type=Path), help="YAML file; unknown keys are errors."),
        click.option("--check-config", is_flag=True, help="Read the configuration, tell its faults, and stop."),
        click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True),
        click.version_option(VERSION),
    )
    for option in reversed(options):
        command = option(command)
    return command


def configure_log(style: str) -> None:
    """Set logging up as ``--log-format`` asked."""
    log.configure(style=style)


def stop_event() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set: the daemon finishes what it began, and ends."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def wait_for(stop: threading.Event) -> None:
    """Wait, in the main thread, until `stop` is set.

    The kernel may hand a signal to any thread (it does after SIGSTOP and SIGCONT); Python runs the handler in the main
    thread, which an endless wait would keep asleep.
    """
    while not stop.wait(_SIGNAL_LATENCY_S):
        pass


def notify_manager(environment: Mapping[str, str], state: str) -> None:
    """Tell the service manager that started this daemon how it stands (man 3 sd_notify); nobody, when none asked.

    Args:
        environment: names the manager's socket (``NOTIFY_SOCKET``: a path, or with ``@`` an abstract name).
        state: ``READY=1`` or ``STOPPING=1``.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        # A manager that does not listen is no reason not to work.
        manager.sendto(state.encode(), b"\0" + address[1:].encode() if address[0] == "@" else address)


def run(command: click.Command, arguments: Sequence[str] | None = None, *, name: str) -> NoReturn:
    """Run `command`, tell an error in one sentence per fault, exit with the code that says who must act.

    Args:
        command: what to run.
        arguments: its command line; the process' own when None.
        name: the program's name in usage and version texts.
    """
    try:
        command.main(args=arguments, prog_name=name)
    except DpuError as error:
        for line in str(error).splitlines():
            click.echo(f"error: {line}", err=True)
        sys.exit(2 if isinstance(error, InputError) else 1)
    sys.exit(0)
