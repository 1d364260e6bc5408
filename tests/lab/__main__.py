"""The lab's commands, on the developer's machine: build, test, run, shell."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import signal
import sys
from pathlib import Path
from typing import NoReturn

from tests.lab import session, several
from tests.lab.kernel import get_kernel, get_module
from tests.lab.machine import Machine
from tests.lab.roots import check_user_namespaces, get_guest, get_tools
from tests.lab.store import LabError, Store
from tests.lab.tsc import measure_khz

DEFAULT_LIMIT = 1800
COMMANDS = """\
build   build what is not cached yet (the other commands do it too)
test    boot once and run pytest inside; without a path: all of tests/lab/cases
run     boot and run `python -m MODULE` inside, its output as it comes
shell   boot and give a prompt inside, or run one command of the shell
"""


def main(argv: list[str]) -> int:
    """Run one command; exit code 70 when the lab itself is at fault, else that of what ran inside."""
    arguments = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _stop)
    store = Store.default()
    try:
        machine, module = _build(store)
        if arguments.command == "build":
            store.progress.say(f"the lab is built, in {store.root}")
            return 0
        if arguments.machines > 1 and arguments.command == "test" and not arguments.words:
            return several.run_on_several(store, machines=arguments.machines, limit=arguments.limit)
        return session.run(machine, store, module, _job(arguments), arguments.limit)
    except LabError as error:
        store.progress.say(f"lab: {error}")
        return session.BROKEN
    except KeyboardInterrupt:
        return 130


def _stop(number: int, _frame: object) -> NoReturn:
    """End as by an exception: what was started is stopped on the way out."""
    raise SystemExit(128 + number)


def _build(store: Store) -> tuple[Machine, Path]:
    """Return all that a boot needs. What is cached costs a hash and a look."""
    check_user_namespaces()
    tools = get_tools(store)
    kernel = get_kernel(store, tools)
    module = get_module(store, tools, kernel)
    machine = Machine(tools, kernel, get_guest(store, tools), "kvm")
    if not session.probe_kvm(machine, store):
        machine = dataclasses.replace(machine, accelerator="tcg,thread=multi", tsc_khz=measure_khz())
    return machine, module


def _job(arguments: argparse.Namespace) -> session.Job:
    size = shutil.get_terminal_size()
    interactive = arguments.command == "shell" and not arguments.words
    return session.Job(
        arguments.command, tuple(arguments.words), interactive=interactive, rows=size.lines, columns=size.columns
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab",
        description=__doc__,
        epilog=COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=DEFAULT_LIMIT,
        metavar="SECONDS",
        help="stop a run that takes longer (default: %(default)s)",
    )
    parser.add_argument(
        "--machines",
        type=int,
        default=1,
        metavar="NUMBER",
        help="for test without words: deal the files of cases out to so many machines at a time (default: %(default)s)",
    )
    parser.add_argument("command", choices=("build", "test", "run", "shell"), help="what to do; see below")
    parser.add_argument(
        "words",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="for test: pytest's; for run: MODULE and its own; for shell: a command",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
