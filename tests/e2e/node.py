"""A node: containerd, its network of dpukit and tuning, devices, and `dpukit-node` when a test wants it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import grpc

from cni.install import find_library, install, render_executable
from tests.e2e.cri import POD_PID_NAMESPACE, Cri, connect
from tests.e2e.plugins.appoint import ANNOTATION, CALLS
from tests.e2e.runtime import CACHE, SANDBOXES, Containerd, forget_boot, wait_for

REPOSITORY = Path(__file__).parents[2]
PLUGINS = Path("/usr/lib/cni")
NETWORK = "net0"
IFNAME = "eth0"
"""CRI runtimes call the pod's only interface so."""


class Devices(Protocol):
    """The VFs of the node."""

    @property
    def vfs(self) -> tuple[str, ...]:
        """Return their PCI addresses."""

    def environment(self) -> Mapping[str, str]:
        """Return what tells dpukit where to find them."""

    def look(self) -> Mapping[str, object]:
        """Return, by PCI address, everything that a pod may have changed, of those that are at home under their own names."""

    def send_home(self, vf: str, netns: str) -> None:
        """Do what the kernel does with a VF whose namespace ends, if it does not by itself."""

    def settle(self) -> None:
        """Let the machine catch up with the VFs that were sent home, where it does not by itself."""

    def lose_power(self) -> None:
        """Make the VFs anew, as a boot does."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call that containerd made."""

    verb: str
    container: str
    netns: str
    has_result: bool

    @classmethod
    def read(cls, line: str) -> Call:
        document = json.loads(line)
        environment = document["environment"]
        return cls(
            environment["CNI_COMMAND"],
            environment["CNI_CONTAINERID"],
            environment.get("CNI_NETNS", ""),
            "prevResult" in document["stdin"],
        )


@dataclass
class Node:
    """The node under test, below one folder."""

    folder: Path
    devices: Devices
    logs: Path
    cgroup: str
    """The control group below which the pods' are made."""
    cri: Cri = field(init=False)
    runtime: Containerd = field(init=False)
    delegate: Mapping[str, object] = field(default_factory=dict)
    """What the network asks of dpukit besides addresses."""
    home: Mapping[str, object] = field(init=False)
    """What the VFs looked like when no pod had any."""
    daemon: subprocess.Popen[bytes] | None = None
    _count: int = 0

    @contextmanager
    def running(self) -> Iterator[Node]:
        """Run containerd with this node's network."""
        for name in ("orders", "memory"):
            (self.folder / name).mkdir(parents=True)
        self.runtime = Containerd(self.folder / "containerd", self.environment(), self.logs / "containerd.log")
        self.runtime.prepare()
        self._install_plugins(self.runtime.folder / "bin")
        self.offer_network()
        self.home = self.devices.look()
        try:
            self.runtime.start()
            with connect(self.runtime.socket) as self.cri:
                wait_for(self.cri.is_network_ready, "containerd to read the network's configuration")
                yield self
        finally:
            self.runtime.end_pods()
            self.runtime.end()

    def environment(self) -> dict[str, str]:
        """Return what containerd, and so the plugin, and the daemon find in their environments."""
        return {"DPUKIT_STATE": str(self.state), "DPUKIT_RUN": str(self.folder / "run"), **self.devices.environment()}

    @property
    def state(self) -> Path:
        """dpukit's state folder."""
        return self.folder / "state"

    def _install_plugins(self, folder: Path) -> None:
        python = os.path.realpath(sys.executable)
        install(folder, name="dpukit", text=render_executable(python=python, library=find_library()))
        for name in ("appoint", "moody"):
            source = Path(__file__).with_name("plugins") / f"{name}.py"
            install(folder, name=name, text=f"#!{python} -IS\n".encode() + source.read_bytes())
        for name in ("host-local", "tuning", "loopback"):
            (folder / name).symlink_to(PLUGINS / name)

    # -- the network -----------------------------------------------------------------------------------------------

    def offer_network(self) -> None:
        """Write the network's configuration where containerd looks for it."""
        ipam = {
            "type": "moody", "folder": str(self.folder / "orders"), "dataDir": str(self.folder / "ipam"),
            "ranges": [[{"subnet": "10.244.0.0/22"}]], "routes": [{"dst": "0.0.0.0/0"}],
        }  # fmt: skip
        chain: list[dict[str, object]] = [
            {
                "type": "appoint", "folder": str(self.folder / "memory"), "delegate": {"type": "dpukit", **self.delegate, "ipam": ipam},
                "capabilities": {"io.kubernetes.cri.pod-annotations": True},
            },
            {"type": "tuning", "sysctl": {"net.ipv4.conf.all.arp_notify": "1"}, "mtu": 1400},
            {"type": "moody", "folder": str(self.folder / "orders")},
        ]  # fmt: skip
        path = self._network_file()
        text = json.dumps({"cniVersion": "1.0.0", "name": NETWORK, "plugins": chain})
        # Renamed, so that containerd never reads half of it.
        draft = path.with_suffix(".draft")
        draft.write_text(text, encoding="utf-8")
        draft.rename(path)

    def withdraw_network(self) -> None:
        """Remove the network's configuration."""
        self._network_file().unlink()

    def _network_file(self) -> Path:
        return self.runtime.folder / "net.d" / "10-net0.conflist"

    def order(self, call: str, what: str) -> None:
        """Tell the moody plugin what to do in one call: ``ipam-ADD``, ``link-DEL`` and so on."""
        (self.folder / "orders" / call).write_text(what, encoding="ascii")

    def has_begun(self, call: str) -> bool:
        """Tell whether a call that is ordered to wait is there."""
        return (self.folder / "orders" / f"{call}.begun").exists()

    def cancel_orders(self) -> None:
        """Let the moody plugin work again."""
        for path in (self.folder / "orders").iterdir():
            path.unlink()

    # -- pods ------------------------------------------------------------------------------------------------------

    def pod(self, vf: str) -> dict[str, Any]:
        """Describe a new pod that has a VF, as kubelet would."""
        self._count += 1
        name = f"pod{self._count}"
        return {
            "metadata": {"name": name, "uid": f"uid-{name}", "namespace": "default"},
            "hostname": name,
            "log_directory": str(self.folder / "podlogs"),
            "annotations": {ANNOTATION: vf},
            "linux": {
                "cgroup_parent": f"{self.cgroup}/{name}",
                "security_context": {"namespace_options": {"pid": POD_PID_NAMESPACE}},
            },
        }

    def run_pod(self, vf: str) -> str:
        """Make a pod that has a VF; return its sandbox' id."""
        return self.cri.run_pod(self.pod(vf))

    def end_pod(self, sandbox: str) -> None:
        """Stop and remove a pod."""
        self.cri.stop_pod(sandbox)
        self.cri.remove_pod(sandbox)

    def interface(self, sandbox: str) -> dict[str, Any] | None:
        """Return what a running pod's interface is, in the words of iproute2; None when there is none."""
        netns = f"/proc/{self.cri.read_pod(sandbox).pid}/ns/net"
        command = ["nsenter", f"--net={netns}", "ip", "-json", "-details", "address", "show"]
        links = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return next((link for link in links if link["ifname"] == IFNAME), None)

    def calls(self) -> list[Call]:
        """Return every call that containerd made, in their order."""
        path = self.folder / "memory" / CALLS
        return [Call.read(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def calls_for(self, sandbox: str, verb: str) -> list[Call]:
        """Return the calls of one verb for one sandbox."""
        return [call for call in self.calls() if call.container == sandbox and call.verb == verb]

    def record(self, sandbox: str) -> Mapping[str, Any] | None:
        """Return what dpukit remembers of a pod."""
        path = self.state / "attachments" / f"{sandbox}-{IFNAME}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    # -- the daemon ------------------------------------------------------------------------------------------------

    def start_daemon(self) -> None:
        """Start dpukit-node, and wait until it serves."""
        socket = self.folder / "run/node.sock"
        socket.unlink(missing_ok=True)
        with (self.logs / "dpukit-node.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                [sys.executable, "-m", "cni.daemon"],
                env=os.environ | self.environment() | {"PYTHONPATH": str(REPOSITORY)}, stderr=log,
            )  # fmt: skip
        wait_for(
            lambda: socket.exists() or self.daemon is None or self.daemon.poll() is not None, "the daemon's socket"
        )
        assert self.daemon.poll() is None, f"dpukit-node ended with status {self.daemon.returncode}: see {self.logs}"

    def end_daemon(self, number: int = signal.SIGTERM) -> None:
        """End dpukit-node, if it runs."""
        if self.daemon is not None:
            self.daemon.send_signal(number)
            self.daemon.wait(60)
            self.daemon = None

    # -- what is left ----------------------------------------------------------------------------------------------

    def leftovers(self) -> list[str]:
        """Name what anybody still remembers of a pod: dpukit, host-local, libcni, containerd, the kernel."""
        found = [
            *self.state.glob("attachments/*"),
            *self.state.glob("attachments/.*"),
            *self.state.glob("vfs/*"),
            *self.state.glob("vfs/.*"),
            *self.folder.glob(f"ipam/{NETWORK}/[0-9]*"),
            *CACHE.glob(f"results/{NETWORK}-*"),
            *SANDBOXES.glob("cni-*"),
        ]
        return sorted(str(path) for path in found) + [f"sandbox {name}" for name in self.cri.list_pods().values()]

    def check_all_is_undone(self) -> None:
        """Make sure of what holds at the end of every case, whatever it was about."""
        self.devices.settle()
        assert self.leftovers() == []
        assert self.devices.look() == self.home

    def clean_up(self) -> None:
        """Remove what a case left, also one that failed in the middle, so that the next begins like the first."""
        self.cancel_orders()
        if not self._network_file().exists():
            self.offer_network()
        forget_boot()
        self.end_daemon()
        if self.runtime.process is None:
            self.runtime.start()
        if self.leftovers() or self.devices.look() != self.home:
            for sandbox in self.cri.list_pods():
                with suppress(grpc.RpcError):
                    self.end_pod(sandbox)
            self.runtime.end_pods()
            self.devices.lose_power()
            self.home = self.devices.look()
            for folder in (self.state, self.folder / "ipam", CACHE / "results"):
                shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(self.folder / "memory")
        (self.folder / "memory").mkdir()
