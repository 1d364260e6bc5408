"""What a daemon tells its service manager, and how it hears that it shall end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sriov.program import notify_manager

pytestmark = pytest.mark.netns

PATIENCE_S = 20


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_the_manager_that_asked_is_told(tmp_path: Path, kind: str) -> None:
    name = str(tmp_path / "notify") if kind == "path" else f"@dpukit-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(PATIENCE_S)
        manager.bind(name if kind == "path" else "\0" + name[1:])
        notify_manager({"NOTIFY_SOCKET": name}, "READY=1")
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    "environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere"}, {"NOTIFY_SOCKET": "x"}]
)
def test_a_manager_that_did_not_ask_or_does_not_listen_is_no_obstacle(environment: dict[str, str]) -> None:
    notify_manager(environment, "READY=1")


WAITER = """
import threading
from sriov.program import stop_event, wait_for
stop = stop_event()
threading.Thread(target=stop.wait, daemon=True).start()
print("waiting", flush=True)
wait_for(stop)
print("ended")
"""


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_a_signal_ends_the_wait_whichever_thread_it_comes_to(stopped: bool) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen([sys.executable, "-c", WAITER], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waiting\n"
        if stopped:
            process.send_signal(signal.SIGSTOP)
        process.terminate()
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=PATIENCE_S)[0] == b"ended\n"
