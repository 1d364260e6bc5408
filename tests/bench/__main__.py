"""``make bench``: every comparison in one run, both sides of each; run as root, in a network namespace of its own."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench import cni
from tests.bench.paired import describe_machine

_INSIDE = "DPUKIT_BENCH_INSIDE"


def main() -> int:
    """Run the benchmarks; a missed bound is printed, never an exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--turns", type=int, default=60, help="pairs per comparison (default: %(default)s)")
    turns = parser.parse_args().turns
    if _INSIDE not in os.environ:
        words = ["unshare", "--net", sys.executable, "-m", "tests.bench", *sys.argv[1:]]
        return subprocess.run(words, env={**os.environ, _INSIDE: "1"}, check=False).returncode
    print(describe_machine())
    subprocess.run(["ip", "link", "add", "benchvf0", "type", "veth", "peer", "name", "benchpf"], check=True)
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 3600"], stdout=subprocess.PIPE) as pod:
        try:
            if pod.stdout is not None:
                pod.stdout.readline()
            with tempfile.TemporaryDirectory() as folder:
                cni.run(cni.Bench(Path(folder), f"/proc/{pod.pid}/ns/net"), turns=turns)
        finally:
            pod.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
