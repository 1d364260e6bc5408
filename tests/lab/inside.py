"""The first Python process inside the virtual machine: does the job that the outside wrote down, and leaves its exit code."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
import tty
from pathlib import Path

from tests.lab.model import LAB

CASES = LAB.repository / "tests/lab/cases"


def main() -> int:
    """Do the job and return its exit code."""
    job = json.loads(Path(LAB.output / "job.json").read_text())
    words: list[str] = job["words"]
    _set_terminal(job["rows"], job["columns"], interactive=job["interactive"])
    if job["mode"] == "test":
        return _test(words)
    from tests.lab import topology  # pytest imports it by itself, and then it must be rewritten first

    topology.build()
    if job["mode"] == "run":
        return subprocess.run([sys.executable, "-m", *words], check=False).returncode
    bashrc = LAB.repository / "tests/lab/guest/bashrc"
    command = ["bash", "-c", f". {bashrc}; {' '.join(words)}"] if words else ["bash", "--rcfile", str(bashrc)]
    return subprocess.run(command, check=False).returncode


def _test(words: list[str]) -> int:
    """Run pytest in this process: a second interpreter and its imports cost seconds under emulation."""
    import pytest  # only this job needs it

    ini = LAB.repository / "tests/lab/pytest.ini"
    given = [word for word in words if not word.startswith("-")]
    options = ["-c", str(ini), f"--junit-xml={LAB.output / 'junit.xml'}"]
    return int(pytest.main([*options, *words, *([] if given else [str(CASES)])]))


def _set_terminal(rows: int, columns: int, *, interactive: bool) -> None:
    """Tell the console the size of the real terminal; as a mere pipe it must not turn line ends into carriage returns."""
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    os.environ.update(TERM="xterm" if interactive else "dumb", LINES=str(rows), COLUMNS=str(columns))
    if not interactive:
        tty.setraw(1)


if __name__ == "__main__":
    code = main()
    Path(LAB.output / "exit").write_text(str(code))
