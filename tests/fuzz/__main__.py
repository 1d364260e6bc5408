"""Fuzz one CNI call for a while and say how far it came: ``python -m tests.fuzz --seconds 60``.

Needs atheris (the extra `fuzz`). Inputs that make something go wrong are kept in ``build/fuzz/``; the exit status is 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.target import SEEDS

TOP = Path(__file__).parents[2]
KEPT = TOP / "build/fuzz"
WORDS = Path(__file__).parent / "words.dict"
MODULES = "cni/request.py,cni/network.py,cni/result.py,cni/perform.py,cni/add.py,cni/check.py,cni/plan.py,cni/restore.py,sriov/document.py"

_PROGRESS = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)")


def main() -> int:
    """Run the fuzzer, then measure what its corpus covers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds
    if importlib.util.find_spec("atheris") is None:
        sys.exit("error: atheris is not installed: pip install -e '.[fuzz]'")
    KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        status, executions, edges = fuzz(Path(corpus), seconds)
        found = sum(1 for _ in Path(corpus).iterdir())
        print(f"fuzz: {executions} executions in {seconds} s, {edges} edges covered, {found} inputs in the corpus")
        print(f"fuzz: {'no crash' if status == 0 else f'a crash: its input is in {KEPT}'}")
        print(measure(Path(corpus)))
    return int(status != 0)


def fuzz(corpus: Path, seconds: int) -> tuple[int, int, int]:
    """Let libFuzzer work. Returns its exit status, the number of executions, and of edges covered."""
    command = [
        sys.executable, "-m", "tests.fuzz.target", f"-max_total_time={seconds}", f"-dict={WORDS}", "-max_len=4096",
        "-timeout=60", "-rss_limit_mb=4096", f"-artifact_prefix={KEPT}/", str(corpus), str(SEEDS),
    ]  # fmt: skip
    executions = edges = 0
    log = KEPT / "log"
    with log.open("wb") as said:
        status = subprocess.run(command, cwd=TOP, stderr=said, check=False).returncode
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if (match := _PROGRESS.match(line)) is not None:
            executions, edges = int(match[1]), int(match[2])
    return status, executions, edges


def measure(corpus: Path) -> str:
    """Perform each input once more and report which branches they cover."""
    with tempfile.NamedTemporaryFile() as file:
        cover = [sys.executable, "-m", "coverage"]
        arguments = [
            "--branch",
            f"--data-file={file.name}",
            "-m",
            "tests.fuzz.target",
            "--replay",
            str(corpus),
            str(SEEDS),
        ]
        subprocess.run([*cover, "run", *arguments], cwd=TOP, check=False, stderr=subprocess.DEVNULL)
        report = [*cover, "report", f"--data-file={file.name}", f"--include={MODULES}"]
        return subprocess.run(report, cwd=TOP, check=False, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
