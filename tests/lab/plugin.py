"""The CNI plugin as it is installed, for tests on real VFs: calls, its daemon, and what a call may have changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cni.install import find_library, install, render_executable
from tests.lab import netns
from tests.lab.model import Host, Lab
from tests.lab.vf import home_netdev, wait_for

MAC = "0a:58:0a:01:01:02"
PATH = "/usr/lib/cni"


@dataclass
class Plugin:
    """The installed executable, and the daemon when a test wants it, over folders of their own."""

    host: Host
    folder: Path
    more: Mapping[str, str] = field(default_factory=dict)
    """Variables besides."""

    @property
    def environment(self) -> dict[str, str]:
        roots = {"DPUKIT_STATE": str(self.folder / "state"), "DPUKIT_RUN": str(self.folder / "run")}
        return {"PATH": os.environ["PATH"], **roots, **self.more}

    def call(
        self, verb: str, vf: int, pod: str, *, container: str = "c1", path: str | None = None, **keys: object
    ) -> tuple[int, dict[str, Any]]:
        config = {"cniVersion": "1.0.0", "name": "net0", "type": "dpukit", "deviceID": self.host.vf_pci(vf), **keys}
        environment = self.environment | {
            "CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_IFNAME": "net1", "CNI_PATH": PATH,
            "CNI_NETNS": f"/run/netns/{pod}" if path is None else path,
        }  # fmt: skip
        done = subprocess.run(
            [self.folder / "bin/dpukit"], env=environment, input=json.dumps(config).encode(), capture_output=True,
            check=False,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout or b"{}")

    def state_of(self, vf: int) -> Mapping[str, Any]:
        """Tell everything about a VF that a pod may have changed."""
        name = home_netdev(self.host, vf)
        assert name is not None
        (link,) = netns.show(f"ip link show {name}")
        (pf,) = netns.show(f"ip -d link show {self.host.netdev}")
        (kept,) = [entry for entry in pf["vfinfo_list"] if entry["vf"] == vf]
        kept.pop("stats", None)
        flags = "UP" in link["flags"]
        return {"name": name, "mac": link["address"], "mtu": link["mtu"], "up": flags, "kept": kept}

    def kept(self, vf: int) -> Mapping[str, Any]:
        """Tell what the PF keeps of a VF."""
        (pf,) = netns.show(f"ip -d link show {self.host.netdev}")
        return next(entry for entry in pf["vfinfo_list"] if entry["vf"] == vf)

    def leftovers(self) -> list[str]:
        found = [*self.folder.glob("state/attachments/*"), *self.folder.glob("state/vfs/*")]
        return sorted(path.name for path in found)


def installed(lab: Lab, folder: Path) -> Plugin:
    executable = render_executable(python=os.path.realpath(sys.executable), library=find_library())
    install(folder / "bin", name="dpukit", text=executable)
    return Plugin(lab.hosts[0], folder)


@contextmanager
def daemon_of(plugin: Plugin) -> Iterator[subprocess.Popen[bytes]]:
    """Run dpukit-node; whoever has not ended it by then finds it ended."""
    with Path("/out/logs/cni-daemon.log").open("ab") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "cni.daemon"], env=os.environ | plugin.environment, stderr=log, cwd="/repo"
        )
        try:
            wait_for((plugin.folder / "run/node.sock").exists, "the daemon's socket", seconds=60)
            yield daemon
        finally:
            daemon.terminate()
            daemon.wait(30)


def vlan_of(kept: Mapping[str, Any]) -> int:
    return int(kept["vlan_list"][0].get("vlan", 0))
