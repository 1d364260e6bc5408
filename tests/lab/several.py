"""The suite over several virtual machines at a time, for a machine with several cores: each boots once and takes whole files.

One machine keeps little more than one core busy, because a test waits for what it started. Files are dealt out by how long
they took the last time; the first machine's words come as they come, the others' when all have ended.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from tests.lab.roots import REPOSITORY
from tests.lab.store import Store

CASES = REPOSITORY / "tests" / "lab" / "cases"
UNKNOWN_S = 30.0
"""What a file is thought to take before anybody knows."""


def deal(files: Sequence[str], seconds: Mapping[str, float], *, machines: int) -> tuple[tuple[str, ...], ...]:
    """Deal files out so that the machines take about as long as one another; the longest files go first. Pure."""
    hands: list[list[str]] = [[] for _ in range(min(machines, len(files)))]
    for file in sorted(files, key=lambda file: (-seconds.get(file, UNKNOWN_S), file)):
        min(hands, key=lambda hand: sum(seconds.get(one, UNKNOWN_S) for one in hand)).append(file)
    return tuple(tuple(sorted(hand)) for hand in hands)


def run_on_several(store: Store, *, machines: int, limit: float) -> int:
    """Run all cases on `machines` machines at a time. Returns the first exit code that is not 0, or 0."""
    memory = store.root / "times.json"
    seconds = json.loads(memory.read_text()) if memory.exists() else {}
    hands = deal([path.name for path in CASES.glob("test_*.py")], seconds, machines=machines)
    with ExitStack() as stack:
        runs = []
        for number, hand in enumerate(hands):
            store.progress.say(f"machine {number + 1}: {', '.join(hand)}")
            words = [sys.executable, "-m", "tests.lab", "--limit", str(limit), "test"]
            words += [f"tests/lab/cases/{name}" for name in hand]
            said = None if number == 0 else stack.enter_context(tempfile.TemporaryFile())
            process = stack.enter_context(subprocess.Popen(words, cwd=REPOSITORY, stdout=said, stderr=said))
            stack.callback(process.terminate)
            runs.append((process, said))
        codes = [process.wait() for process, _ in runs]
        for _, said in runs:
            if said is not None:
                said.seek(0)
                sys.stdout.buffer.write(said.read())
                sys.stdout.flush()
    memory.write_text(json.dumps({**seconds, **_read_times()}))
    return next((code for code in codes if code), 0)


def _read_times() -> dict[str, float]:
    """Read from the results how long each file took."""
    found: dict[str, float] = {}
    for results in (REPOSITORY / "build").glob("lab*/junit.xml"):
        for case in ET.parse(results).iter("testcase"):  # noqa: S314 - pytest's own file
            name = f"{str(case.get('classname')).rpartition('.')[2]}.py"
            found[name] = found.get(name, 0.0) + float(case.get("time") or 0)
    return found
