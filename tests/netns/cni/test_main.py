"""``python -m cni``: the same as the installed executable, for where that is not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns
TOP = Path(__file__).parents[3]


def call(folder: Path, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
    roots = {"DPUKIT_RUN": str(folder), "DPUKIT_STATE": str(folder), "PATH": os.environ["PATH"], "PYTHONPATH": str(TOP)}
    return subprocess.run(
        [sys.executable, "-m", "cni"], input=stdin, env=roots | variables, capture_output=True, check=False
    )


def test_without_daemon_and_without_pyroute2_input_errors_are_answered(tmp_path: Path) -> None:
    said = call(tmp_path, b"{", CNI_COMMAND="ADD")
    assert (said.returncode, json.loads(said.stdout)["code"]) == (1, 4)
    script = (
        "import sys, os; from cni.__main__ import perform_here; perform_here(b'{}', None);"
        "sys.exit('pyroute2' in sys.modules or 'click' in sys.modules)"
    )
    environment = {"CNI_COMMAND": "ADD", "PYTHONPATH": str(TOP), "DPUKIT_STATE": str(tmp_path)}
    assert (
        subprocess.run([sys.executable, "-c", script], env=environment, check=False, capture_output=True).returncode
        == 0
    )


def test_a_bug_of_ours_is_a_cni_error_too(tmp_path: Path) -> None:
    script = (
        "import os, sys; import cni.perform; from cni.__main__ import perform_here\n"
        "os.environ['DPUKIT_STATE'] = chr(0)\n"
        'text, status = perform_here(b\'{"name":"n","cniVersion":"1.1.0"}\', None)\n'
        "os.write(1, text); sys.exit(status)"
    )
    environment = {"CNI_COMMAND": "STATUS", "CNI_PATH": "/x", "PYTHONPATH": str(TOP)}
    said = subprocess.run([sys.executable, "-c", script], env=environment, check=False, capture_output=True)
    assert said.returncode == 1
    assert b"Traceback" not in said.stdout
