"""A node without Python: nothing is there but what the bundle brought, and the plugin works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.netns.cni.conftest import Node, idle_node

__all__ = ["idle_node"]

pytestmark = pytest.mark.e2e

TOP = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root file system with the bundle and empty folders to mount on."""
    if shutil.which("patchelf") is None:
        pytest.skip("patchelf is not here")
    folder = tmp_path_factory.mktemp("root")
    done = subprocess.run(
        [sys.executable, TOP / "packaging/bundle", folder], capture_output=True, text=True, check=False, cwd="/"
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(folder / "opt/cni/bin/dpukit")), done.stderr
    for name in ("proc", "dev", "sys"):
        (folder / name).mkdir()
    yield folder
    shutil.rmtree(folder)  # tens of MiB


def call(root: Path, node: Node, verb: str, config: Mapping[str, object], *, netns: str = "") -> dict[str, Any]:
    """Call the plugin with nothing but `root`, the kernel's file systems and the node's own folder to be seen."""
    folder = root / str(node.folder).lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    mounts = [
        f"mount -t proc proc {root}/proc", f"mount --bind /dev {root}/dev", f"mount --bind {node.folder} {folder}",
    ]  # fmt: skip
    script = " && ".join([*mounts, f"exec chroot {root} /opt/cni/bin/dpukit"])
    environment = node.environment() | {
        "CNI_COMMAND": verb, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "net1", "CNI_NETNS": netns, "CNI_PATH": "/opt/cni/bin",
    }  # fmt: skip
    words = ["nsenter", f"--net={node.home.path}", "unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    done = subprocess.run(words, input=json.dumps(config).encode(), env=environment, capture_output=True, check=False)
    said: dict[str, Any] = json.loads(done.stdout or b"{}")
    assert done.returncode == 0, (said, done.stderr.decode())
    return said


def test_the_bundle_holds_the_only_python_there_is(root: Path) -> None:
    assert sorted(os.listdir(root / "opt")) == ["cni", "dpukit"]
    found = {path.relative_to(root) for path in root.rglob("*python3*") if path.is_file()}
    assert Path("opt/dpukit/python/bin/python3") in found
    assert {path.parts[:2] for path in found} == {("opt", "dpukit")}
    assert not (root / "opt/dpukit/python/run-here").exists()


def test_a_vf_goes_into_a_pod_and_home_on_a_node_without_python(root: Path, idle_node: Node) -> None:
    before, pod = idle_node.vf_link(), idle_node.pod()
    assert call(root, idle_node, "VERSION", {})["cniVersion"] == "1.1.0"
    assert call(root, idle_node, "STATUS", idle_node.config() | {"cniVersion": "1.1.0"}) == {}
    said = call(root, idle_node, "ADD", idle_node.config(mtu=1400), netns=pod.path)
    assert said["interfaces"][0]["name"] == "net1"
    assert pod.links()["net1"]["mtu"] == 1400
    assert call(root, idle_node, "DEL", idle_node.config(mtu=1400), netns=pod.path) == {}
    assert (idle_node.vf_link(), idle_node.leftovers()) == (before, [])


def test_the_daemon_is_asked_first_there_too(root: Path, idle_node: Node) -> None:
    idle_node.start_daemon()
    pod = idle_node.pod()
    call(root, idle_node, "ADD", idle_node.config(), netns=pod.path)
    assert "verb=ADD" in idle_node.daemon_log()
    call(root, idle_node, "DEL", idle_node.config(), netns=pod.path)
    assert idle_node.leftovers() == []


def test_a_folder_that_is_no_bundle_is_not_removed(tmp_path: Path) -> None:
    if shutil.which("patchelf") is None:
        pytest.skip("patchelf is not here")
    precious = tmp_path / "opt/dpukit/python/precious"
    precious.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, TOP / "packaging/bundle", tmp_path], capture_output=True, text=True, check=False, cwd="/"
    )
    assert (done.returncode, precious.exists()) == (1, True)
    assert "is no bundle and would be removed" in done.stderr
