"""Write the CNI executable: ``python -m cni.install``.

One file: a first line, the thin client as source and as byte code, and behind it the library, packed, which is imported only when
the daemon does not answer. It needs nothing else of this installation. Its first line runs it without site-packages (``-I -S``) and
has the interpreter read a few lines and no further: a start would pay for every octet of the library otherwise, and for
compiling the client. An interpreter of another version than the one that wrote it compiles the source.

It is tried with the interpreter that will run it, then written beside its place and renamed, so that a runtime never meets
half a program or a busy one.
"""

from __future__ import annotations

import json
import marshal
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click

from cni import carried
from sriov import program
from sriov.durable import replace_file
from sriov.errors import InputError, KernelError, UnsupportedError

_FIRST_LINE_MAX, _FIRST_LINE_MAX_OLD = 255, 127  # BINPRM_BUF_SIZE - 1 since Linux 5.1, and before
_PYTHON_MAX = 180
_OLDEST = (3, 11)
_TRIAL_S = 60
_BUG = 999

# The names that the client imported are not touched: what this needs, it imports itself, and only then.
_TAIL = """

def perform_here(stdin, netns):
    {library}
    from cni.__main__ import perform_here

    return perform_here(stdin, netns)


os._exit(main(perform_here))
"""
_LINKED = "sys.path.extend({folders!r})"
_CARRIED = """\
with open(sys.argv[1], "rb") as file:
        text = file.read()
    import marshal, zlib

    modules = marshal.loads(zlib.decompress(text[text.rindex({mark!r}) + {length} :]))[1]
    scope = {{"__name__": "cni.carried"}}
    exec(compile(modules["cni.carried"][2], modules["cni.carried"][0], "exec"), scope)
    scope["install"](text)"""
# The kernel hands all behind the interpreter to it as one argument, and the script's path as the next (fs/binfmt_script.c).
_START = 'import sys;exec(open(sys.argv[1],"rb").read({size}))'
# The tag is that of the byte code's format (PEP 3147); importlib, which knows the number itself, would have to be imported.
_HEAD = """\
# dpukit's CNI plugin. Its source begins in the next lines; what follows that is byte code, for {tag}, and its library.
import marshal
with open(sys.argv[1], "rb") as file:
    source, code = file.read({size})[-{source}:], file.read({code})
exec(marshal.loads(code) if sys.implementation.cache_tag == {tag!r} else compile(source, "cni/client.py", "exec"))
"""


def render_executable(*, python: str, library: tuple[str, ...] | None = None) -> bytes:
    """Render the executable.

    Args:
        python: the interpreter's absolute path.
        library: folders in which dpukit is found when it is needed; None: the executable carries it.

    Raises:
        InputError: the kernel could not run a script of that interpreter.
        KernelError: dpukit's own files cannot be read.
    """
    try:
        client = Path(__file__).with_name("client.py").read_text(encoding="utf-8")
        if library is not None:
            text = client + _TAIL.format(library=_LINKED.format(folders=list(library)))
            return _first_line(f"{python} -IS") + text.encode()
        pack = carried.pack(Path(find_library()[0]), "cni.__main__", "cni.carried")
    except OSError as error:
        raise KernelError.from_oserror(error, subject="dpukit's own files", operation="read them") from error
    text = client + _TAIL.format(library=_CARRIED.format(mark=carried.MARK, length=len(carried.MARK)))
    return _with_byte_code(python, text) + pack


def _with_byte_code(python: str, text: str) -> bytes:
    """Render first line, head, source and byte code; the head is part of what the first line and it count."""
    source, code = text.encode(), marshal.dumps(carried.compile_module(text, "cni/client.py"))

    def head(size: int) -> bytes:
        # Numbers of a fixed width, so that saying them changes nothing.
        first = _first_line(f"{python} -ISc{_START.format(size=f'{size:6}')}")
        all_but_code = f"{size + len(source):8}"
        tag = sys.implementation.cache_tag
        return first + _HEAD.format(tag=tag, size=all_but_code, source=len(source), code=len(code)).encode()

    return head(len(head(0))) + source + code


def _first_line(words: str) -> bytes:
    line = f"#!{words}\n".encode()
    python = words.partition(" -IS")[0]
    if len(line) > _FIRST_LINE_MAX or any(c.isspace() for c in python) or not python.startswith("/"):
        raise InputError(
            "--python",
            f"{python!r} does not fit a script's first line",
            hint=f"name one by an absolute path without blanks, of {_PYTHON_MAX} characters at most",
        )
    return line


def find_library() -> tuple[str, ...]:
    """Return the folder in which the running dpukit is found."""
    return (str(Path(__file__).resolve().parents[1]),)


def try_out(text: bytes, *, python: str) -> None:
    """Run the executable once with the interpreter that will run it: STATUS, without a daemon and away from the node's state.

    Args:
        text: the executable's.
        python: the interpreter, where it is now.

    Raises:
        InputError: there is no such interpreter, or it is too old.
        UnsupportedError: it cannot run this.
    """
    said = _run([python, "-I", "-S", "-c", "import sys; print(*sys.version_info[:2])"])
    if said.returncode != 0:
        raise InputError("--python", f"{python!r} does not run: {_last_line(said.stderr)}", hint="name a Python ≥ 3.11")
    version = tuple(int(part) for part in said.stdout.split())
    if version < _OLDEST:
        raise InputError(
            "--python", f"{python!r} is Python {version[0]}.{version[1]}", hint="at least 3.11 is needed; name another"
        )
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder, "dpukit")
        draft.write_bytes(text)
        environment = {
            "CNI_COMMAND": "STATUS", "CNI_PATH": folder, "DPUKIT_RUN": folder, "DPUKIT_STATE": f"{folder}/state",
        }  # fmt: skip
        stdin = json.dumps({"cniVersion": "1.1.0", "name": "trial", "type": "dpukit"})
        # As the kernel would start it, whose part a folder that forbids execution must not spoil.
        _, _, option = text.partition(b"\n")[0].decode().partition(" ")
        said = _run([python, option, str(draft)], environment=environment, stdin=stdin)
    if not _is_answer(said):
        raise UnsupportedError(
            python,
            f"it cannot run the plugin: {_last_line(said.stderr) or said.stdout.strip() or f'exit {said.returncode}'}",
            hint="its standard library may be incomplete: install it whole, or name another with --python",
        )


def _is_answer(said: subprocess.CompletedProcess[str]) -> bool:
    """Tell whether this is an answer to a call: ready, or an error that is no bug (the node need not be ready yet)."""
    try:
        return said.returncode == 0 or json.loads(said.stdout)["code"] != _BUG
    except (ValueError, KeyError, TypeError):
        return False


def _run(
    words: list[str], *, environment: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words,
            env=dict(environment or {}),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_TRIAL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(words, 127, "", str(error))


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]


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
@click.option(
    "--root", type=click.Path(path_type=Path), default=Path("/"), show_default=True,
    help="Where the node's own / is now: an image's folder, a mount, or a folder to be packed.",
)  # fmt: skip
@click.option(
    "--destination", type=click.Path(path_type=Path), default=Path("/opt/cni/bin"), show_default=True,
    help="The runtime's CNI folder, on the node.",
)  # fmt: skip
@click.option("--name", default="dpukit", show_default=True, help="The plugin's type in network configurations.")
@click.option(
    "--python",
    default=os.path.realpath(sys.executable),
    show_default=True,
    help="The interpreter it uses, on the node.",
)
@click.option(
    "--linked", is_flag=True, help="Use this installation's files instead of carrying them (for development)."
)
def command(root: Path, destination: Path, name: str, python: str, *, linked: bool) -> None:
    """Write the CNI executable."""
    text = render_executable(python=python, library=find_library() if linked else None)
    there = _within(root, Path(python))
    # A folder to be packed has no interpreter: then this machine's of that name stands for the node's.
    try_out(text, python=str(there) if there.exists() else python)
    if len(text.partition(b"\n")[0]) >= _FIRST_LINE_MAX_OLD:
        click.echo(f"note: with so long a path as {python!r}, a node's kernel has to be Linux 5.1 or later", err=True)
    click.echo(install(_within(root, destination), name=name, text=text))


def _within(root: Path, path: Path) -> Path:
    return path if root == Path("/") else root / str(path).lstrip("/")


if __name__ == "__main__":
    program.run(command, name="python -m cni.install")
