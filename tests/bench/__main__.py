"""``make bench`` and ``make bench-cni``: every comparison in one run, all sides of each, on this machine or in the lab."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import golang
from tests.bench import cni, crowd
from tests.bench.paired import describe_machine
from tests.bench.place import lab_place, veth_place

_INSIDE = "DPUKIT_BENCH_INSIDE"
AT_ONCE = 64
TOP = Path(__file__).parents[2]
PEER = TOP / "build/go/sriov"
"""sriov-cni, where the lab's virtual machine sees it too."""


def main() -> int:
    """Run the benchmarks; a missed bound is printed, never an exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--turns", type=int, default=60, help="turns per comparison (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of calls at once (default: %(default)s)")
    parser.add_argument(
        "--place",
        choices=("veth", "lab", "inside-lab"),
        default="veth",
        help="veth ends in namespaces of our own; real VFs in the lab, which is booted; or we are inside it",
    )
    arguments = parser.parse_args()
    if arguments.place == "lab":
        return _boot(sys.argv[1:])
    if arguments.place == "veth" and _INSIDE not in os.environ:
        words = ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, "-m", "tests.bench"]
        return subprocess.run([*words, *sys.argv[1:]], env={**os.environ, _INSIDE: "1"}, check=False).returncode
    print(describe_machine(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inside_lab = arguments.place == "inside-lab"
        with lab_place() if inside_lab else veth_place(folder, number=AT_ONCE) as place:
            # sriov-cni wants a PF with VFs: a veth end is none.
            bench = cni.Bench(folder, place, peer=PEER if inside_lab and PEER.exists() else None)
            cni.run(bench, turns=arguments.turns)
            crowd.run(bench, rounds=arguments.rounds)
    print(describe_machine(), flush=True)
    return 0


def _boot(words: list[str]) -> int:
    try:
        program = golang.build(golang.SRIOV_CNI)
        PEER.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(program, PEER)
    except golang.GoError as error:
        print(f"{cni.PEER} is not compared: {error}", flush=True)
    inside = ["inside-lab" if word == "lab" else word.replace("--place=lab", "--place=inside-lab") for word in words]
    run = [sys.executable, "-m", "tests.lab", "--limit", "3600", "run", "tests.bench", *inside]
    return subprocess.run(run, cwd=TOP, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
