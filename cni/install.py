"""Write the CNI executable: ``python -m cni.install --destination DIR``.

One file: the thin client's own text, a first line that runs it without site-packages (``-I -S``), and at its end the way
to this installation, which is taken only when the daemon does not answer. Written beside its place and renamed, so that a
runtime never meets half a program or a busy one.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import click

from sriov import program
from sriov.durable import replace_file
from sriov.errors import InputError, KernelError

_FIRST_LINE_MAX = 127  # BINPRM_BUF_SIZE - 1 before Linux 5.1

_TAIL = """

def perform_here(stdin, netns):
    sys.path.extend({library!r})
    from cni.__main__ import perform_here

    return perform_here(stdin, netns)


os._exit(main(perform_here))
"""


def render_executable(*, python: str, library: tuple[str, ...]) -> bytes:
    """Render the executable.

    Args:
        python: the interpreter's absolute path.
        library: folders in which dpukit and what it needs are found.

    Raises:
        InputError: the kernel could not run a script of that interpreter.
    """
    first = f"#!{python} -IS"
    if len(first.encode()) > _FIRST_LINE_MAX or any(c.isspace() for c in python):
        raise InputError(
            "--python", f"{python!r} does not fit a script's first line", hint="name a shorter path without blanks"
        )
    client = Path(__file__).with_name("client.py").read_text(encoding="utf-8")
    return (first + "\n" + client + _TAIL.format(library=list(library))).encode()


def find_library() -> tuple[str, ...]:
    """Return the folders in which dpukit and pyroute2 are found by the running interpreter."""
    found = [str(Path(__file__).resolve().parents[1])]
    spec = importlib.util.find_spec("pyroute2")
    if spec is not None and spec.origin is not None:
        found.append(str(Path(spec.origin).resolve().parents[1]))
    return tuple(dict.fromkeys(found))


def install(destination: Path, *, name: str, text: bytes) -> Path:
    """Write the executable into the folder `destination`. Returns its path.

    Raises:
        KernelError: the disk refused.
    """
    path = destination / name
    try:
        destination.mkdir(parents=True, exist_ok=True)
        replace_file(path, text, mode=0o755)
    except OSError as error:
        raise KernelError.from_oserror(error, subject=str(path), operation="write it") from error
    return path


@click.command()
@click.option("--destination", type=click.Path(path_type=Path), required=True, help="The runtime's CNI folder.")
@click.option("--name", default="dpukit", show_default=True, help="The plugin's type in network configurations.")
@click.option("--python", default=os.path.realpath(sys.executable), show_default=True, help="The interpreter it uses.")
def command(destination: Path, name: str, python: str) -> None:
    """Write the CNI executable that uses this installation."""
    click.echo(install(destination, name=name, text=render_executable(python=python, library=find_library())))


if __name__ == "__main__":
    program.run(command, name="python -m cni.install")
