"""One run of the virtual machine: boot, pass the words on as they come, watch the kernel's console, bring the results back."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from tests.lab.machine import Machine, Share
from tests.lab.roots import REPOSITORY
from tests.lab.store import Progress, Store

OUTPUT = REPOSITORY / "build"
"""Where runs leave what they bring back, each in a folder of its own: lab, or lab-2 and so on while another run is going on."""
BROKEN = 70
"""Exit code when the machine itself failed: no result, a panic, a complaint of the kernel, or out of time."""
LAST_LINES = 25
COMPLAINT = re.compile(
    r"(WARNING: |BUG: |Oops: |Kernel panic|general protection fault|INFO: task .* blocked|unregister_netdevice: waiting for"
    r"|refcount_t: |Memory state around|rcu: INFO: rcu_\w+ detected stalls)"
)


@dataclass(frozen=True, slots=True)
class Job:
    """What to do inside, written to the output share as job.json."""

    mode: str
    """test, run or shell"""
    words: tuple[str, ...]
    interactive: bool = False
    """The terminal belongs to what runs inside, and there is no time limit."""
    rows: int = 24
    columns: int = 80


def run(machine: Machine, store: Store, module: Path, job: Job, limit: float) -> int:
    """Boot, do the job, return its exit code."""
    with output_folder() as output, byte_code_folder(store, output) as python:
        if output.name != "lab":
            store.progress.say(f"another run is going on; this one's results go to {output}")
        return _run(machine, store, (module, python), job, output, limit)


def _run(machine: Machine, store: Store, given: tuple[Path, Path], job: Job, output: Path, limit: float) -> int:
    module, python = given
    (output / "job.json").write_text(json.dumps(asdict(job)))
    console = output / "console.log"
    shares = (
        Share("repo", REPOSITORY),
        Share("module", module),
        Share("python", python, writable=True),
        Share("out", output, writable=True),
    )
    # A chardev of kind "file" is written to only; it takes our pipe as it would a file.
    command = machine.command(shares, console, "stdio,signal=off" if job.interactive else "file,path=/dev/stdout")
    with (output / "qemu.log").open("w") as errors:
        qemu = subprocess.Popen(
            command,
            env={**os.environ, **machine.environment()},
            stdin=None if job.interactive else subprocess.DEVNULL,
            stdout=None if job.interactive else subprocess.PIPE,
            stderr=errors,
        )
        in_time = _wait(qemu, None if job.interactive else limit)
    return _verdict(output, store.progress, in_time=in_time, limit=limit)


@contextlib.contextmanager
def output_folder() -> Iterator[Path]:
    """Hold an empty folder for the results of one run: the first of build/lab, build/lab-2 ... that no other run holds."""
    with _first_free(OUTPUT) as folder:
        if folder.exists():
            shutil.rmtree(folder)
        (folder / "logs").mkdir(parents=True)
        yield folder


@contextlib.contextmanager
def byte_code_folder(store: Store, output: Path) -> Iterator[Path]:
    """Hold a folder for the byte code that one machine's Python keeps from run to run.

    Two machines would not see each other's writes whole; nor are those whole of a machine that was killed: one that left no
    exit code in `output`.
    """
    with _first_free(store.root / "byte-code") as folder:
        unfinished = folder.with_suffix(".unfinished")
        if unfinished.exists():
            shutil.rmtree(folder, ignore_errors=True)
        unfinished.touch()
        folder.mkdir(exist_ok=True)
        yield folder
        if (output / "exit").exists():
            unfinished.unlink()


@contextlib.contextmanager
def _first_free(parent: Path) -> Iterator[Path]:
    """Hold the first of lab, lab-2 ... below a folder that no other run holds."""
    parent.mkdir(exist_ok=True)
    for number in itertools.count(1):
        folder = parent / ("lab" if number == 1 else f"lab-{number}")
        with folder.with_suffix(".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield folder
            return


def _wait(qemu: subprocess.Popen[bytes], limit: float | None) -> bool:
    """Wait for QEMU to end, and kill it when it does not: False when that was for the time. Nothing is left running after this."""
    copier = threading.Thread(target=_copy, args=(qemu.stdout,), daemon=True)
    copier.start()
    try:
        qemu.wait(limit)
    except subprocess.TimeoutExpired:
        return False
    finally:
        qemu.kill()
        qemu.wait()
        copier.join(timeout=5)
    return True


def _copy(source: IO[bytes] | None) -> None:
    """Pass on what comes, as it comes: a line may be a progress line that is not finished."""
    if source is None:
        return
    while chunk := os.read(source.fileno(), 65536):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def complaints(console: Sequence[str]) -> list[str]:
    """Lines in which the kernel says that something is wrong with it."""
    return [line for line in console if COMPLAINT.search(line)]


def _verdict(output: Path, progress: Progress, *, in_time: bool, limit: float) -> int:
    console, said = output / "console.log", output / "exit"
    lines = console.read_text(errors="replace").splitlines() if console.exists() else []
    if not in_time:
        what = f"the lab did not end within {limit:.0f} s and was stopped"
    elif found := complaints(lines):
        what = f"the lab's kernel complained: {found[0].strip()}"
    elif not said.exists():
        what = "the lab ended without a result"
    else:
        return int(said.read_text())
    progress.say(f"{what}; the end of the console follows, all of it and QEMU's own words are in {output}")
    errors = (output / "qemu.log").read_text(errors="replace").splitlines()
    for line in [*lines[-LAST_LINES:], *errors[-5:]]:
        print(f"    {line}", file=sys.stderr)
    return BROKEN


def probe_kvm(machine: Machine, store: Store) -> bool:
    """Say whether KVM boots our kernel. /dev/kvm may be there and not work, so it is tried; the answer holds until the next reboot."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    memory = store.root / "kvm"
    key = f"{boot} {machine.kernel.key} "
    if memory.exists() and memory.read_text().startswith(key):
        return memory.read_text().removeprefix(key) == "works"
    works = _boots_with_kvm(machine)
    memory.write_text(key + ("works" if works else "does not work"))
    store.progress.say(f"KVM: {'works and is used' if works else 'does not boot here, the CPU is emulated (slower)'}")
    return works


def _boots_with_kvm(machine: Machine) -> bool:
    """Boot without a root: a kernel that gets as far as not finding it, and panics, runs."""
    command = [
        *machine.qemu(),
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-machine",
        "q35",
        "-accel",
        "kvm",
    ]
    command += ["-cpu", "host", "-smp", "2", "-m", "512M", "-kernel", str(machine.kernel.image)]
    command += ["-append", "console=ttyS0 panic=-1", "-serial", "stdio"]
    begin = time.monotonic()
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **machine.environment()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return b"Unable to mount root" in done.stdout and time.monotonic() - begin < 20
