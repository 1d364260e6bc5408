"""The program ``dpukit-device-plugin`` as systemd or a container runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sriov.version import VERSION

if TYPE_CHECKING:
    from tests.netns.deviceplugin.conftest import Node

pytestmark = pytest.mark.netns

COMMAND = [sys.executable, "-m", "deviceplugin"]
VFS = ("0000:01:10.0", "0000:01:10.2", "0000:01:10.4", "0000:01:10.6")


def make_config(node: Node, document: object) -> list[str]:
    path = node.folder / "config.json"
    path.write_text(json.dumps(document))
    return [*COMMAND, "--config", str(path)]


def test_it_serves_until_it_is_told_to_stop(node: Node) -> None:
    document = {"resourceList": [{"resourceName": "vfs", "selectors": {"pfNames": ["ens1f0"]}}]}
    command = make_config(node, {**document, "deviceInfoDir": str(node.device_files)})
    environment = os.environ | {
        "DPUKIT_SYSFS": str(node.sysfs.root),
        "DPUKIT_DEVICE_PLUGINS": str(node.kubelet.folder),
    }
    log = node.folder / "log"
    with (
        log.open("w") as stderr,
        subprocess.Popen([*command, "--log-format", "json"], env=environment, stderr=stderr) as process,
    ):
        try:
            node.kubelet.wait_for_healthy("intel.com/vfs", VFS)
            node.kubelet.allocate("intel.com/vfs", 1)
            # Kubelet may call before its answer to Register is back; ended in between, the plugin never says that it was.
            node.kubelet.wait_for(lambda: "registered" in log.read_text())
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    said = [json.loads(line)["message"] for line in log.read_text().splitlines()]
    assert said[:3] == ["started", "devices", "serving"]
    assert sorted(said[3:5]) == ["allocated", "registered"]
    assert said[5:] == ["stopped"]
    assert sorted(path.name for path in node.kubelet.folder.iterdir()) == ["kubelet.sock"]


def test_a_configuration_can_be_checked_alone(node: Node) -> None:
    good = subprocess.run(
        [*make_config(node, {"resourceList": [{"resourceName": "vfs"}]}), "--check-config"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert good.returncode == 0
    assert "right; pools: intel.com/vfs" in good.stdout
    bad = subprocess.run(
        [*make_config(node, {"resourceList": [{"resourceNam": "vfs"}]}), "--check-config"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert bad.returncode == 2
    assert "resourceList[0].resourceNam: is not a known key (did you mean 'resourceName'?)" in bad.stderr
    assert "Traceback" not in bad.stderr


def test_the_version_is_told() -> None:
    found = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert VERSION in found.stdout
