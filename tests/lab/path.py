"""The product's programs in the lab, as the demo and the end-to-end cases run them: one host and one DPU at a time.

Everything here starts real programs (``python -m …``, the installed CNI executable) in the lab's topology; nothing is
called in-process, so that what is shown is what a node would do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.lab.model import LAB, Dpu, Host

CNI_BIN = Path("/run/lab/cni/bin")
IPAM_BIN = "/usr/lib/cni"
LOGS = Path(str(LAB.output)) / "logs"
CLUSTER_CIDR, VNI, POD_MTU = "10.1.0.0/16", 100, 1400
PREFIX = "dpukit.io"
_WAIT_S = 60.0


class PathError(Exception):
    """A program of the path did not do its part; the text is what it said."""


def run(*words: str, environment: Mapping[str, str] | None = None, check: bool = True) -> str:
    """Run a program and return its standard output."""
    done = subprocess.run(words, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise PathError(f"{' '.join(words)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def python(module: str) -> tuple[str, ...]:
    """Word the call of one of our programs."""
    return sys.executable, "-m", module


@contextmanager
def running(name: str, *words: str, environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a daemon for as long as the context lasts; its log comes back as ``logs/<name>.log``."""
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(words, env={**os.environ, **(environment or {})}, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def wait_until(what: str, holds: Callable[[], bool], *, seconds: float = _WAIT_S) -> None:
    """Look until something holds; a test's wait, so a short sleep between looks."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise PathError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.2)


@dataclass(frozen=True)
class Pod:
    """A pod of the path: a network namespace, and the MAC address its VF is to have."""

    name: str
    host: Host
    mac: str

    @property
    def netns(self) -> str:
        """The path of its namespace."""
        return f"/run/netns/{self.name}"

    @property
    def sandbox(self) -> str:
        """Its sandbox' id, as a runtime would make one."""
        return f"sandbox-{self.name}"

    def enter(self, *words: str, check: bool = True) -> str:
        """Run a program in it."""
        return run("ip", "netns", "exec", self.name, *words, check=check)


@dataclass(frozen=True)
class Attached:
    """A pod with its VF, as the CNI result says."""

    pod: Pod
    vf: str
    address: str
    result: Mapping[str, object]

    @property
    def ip(self) -> str:
        """The address without its prefix length."""
        return self.address.partition("/")[0]


class HostNode:
    """A tenant host: where its programs keep their files, and how they are called."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.folder = Path(f"/run/lab/host{host.index}")
        self.environment = {
            "DPUKIT_STATE": str(self.folder / "state"),
            "DPUKIT_RUN": str(self.folder / "run"),
            "DPUKIT_DEVICE_PLUGINS": str(self.folder / "device-plugins"),
        }
        self.resource = f"{PREFIX}/host{host.index}_vfs"
        self.device_files = self.folder / "devinfo"
        for name in ("state", "run", "device-plugins", "devinfo"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def write(self, name: str, document: object) -> Path:
        """Write a YAML file among its files, whole or not at all."""
        path = self.folder / name
        draft = path.with_suffix(".draft")
        draft.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return draft.rename(path)

    def provision(self, *, vfs: int) -> str:
        """Create the VFs as a policy asks. Returns what the program said."""
        name = f"host{self.host.index}-vfs"
        spec = {
            "resourceName": f"host{self.host.index}_vfs",
            "numVfs": vfs,
            "nicSelector": {"pfNames": [self.host.netdev]},
        }
        policy = {
            "apiVersion": "sriovnetwork.openshift.io/v1",
            "kind": "SriovNetworkNodePolicy",
            "metadata": {"name": name},
            "spec": spec,
        }
        path = self.write("policy.yaml", policy)
        words = (*python("dpukit"), "provision", "apply", "--policy", str(path))
        return run(*words, environment=self.environment)

    def devices(self) -> list[dict[str, object]]:
        """Read the PFs and VFs as ``dpukit devices`` tells them."""
        words = (*python("dpukit"), "devices", "-o", "json")
        found: list[dict[str, object]] = json.loads(run(*words, environment=self.environment))
        return [pf for pf in found if pf["address"] == self.host.pf]

    def plugin(self) -> tuple[str, ...]:
        """Word the device plugin, with a pool of this host's VFs."""
        pool = {
            "resourceName": self.resource.rpartition("/")[2],
            "resourcePrefix": PREFIX,
            "selectors": {"pfNames": [self.host.netdev]},
        }
        path = self.write("pools.yaml", {"deviceInfoDir": str(self.device_files), "resourceList": [pool]})
        return *python("deviceplugin"), "--config", str(path)

    def configuration(self, pod: Pod, vf: str) -> str:
        """The network configuration as the runtime hands it over: the NAD's, with the allocated VF written in."""
        ipam = {
            "type": "host-local",
            "ranges": [[{"subnet": self.host.pod_cidr}]],
            "dataDir": str(self.folder / "ipam"),
        }
        return json.dumps(
            {
                "cniVersion": "1.0.0",
                "name": "pods",
                "type": "dpukit",
                "deviceID": vf,
                "mac": pod.mac,
                "routes": {"mtu": POD_MTU},
                "ipam": ipam,
            }
        )

    def call(self, verb: str, pod: Pod, vf: str) -> str:
        """Run the CNI executable as a runtime does. Returns its standard output."""
        environment = {
            "PATH": os.environ["PATH"],
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": pod.sandbox,
            "CNI_NETNS": pod.netns,
            "CNI_IFNAME": "net1",
            "CNI_PATH": f"{CNI_BIN}:{IPAM_BIN}",
            **self.environment,
        }
        done = subprocess.run(
            [str(CNI_BIN / "dpukit")],
            env=environment,
            input=self.configuration(pod, vf),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise PathError(f"CNI {verb} of {pod.name}: {done.stdout.strip()} {done.stderr.strip()}")
        return done.stdout

    def add(self, pod: Pod, vf: str) -> Attached:
        """Attach a VF to a pod."""
        result = json.loads(self.call("ADD", pod, vf))
        return Attached(pod, vf, result["ips"][0]["address"], result)

    def index_of(self, vf: str) -> int:
        """The number of a VF under its PF."""
        return next(index for index in range(7) if self.host.vf_pci(index) == vf)


@dataclass
class DpuNode:
    """A DPU: its agent's files, and how the agent and its reader are called."""

    dpu: Dpu
    host: Host
    attached: list[Attached] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return Path(self.dpu.rundir).parent

    def write_config(self) -> Path:
        """Write the agent's configuration."""
        bridge = {"name": "br-int", "addresses": [f"{self.dpu.vtep}/{LAB.underlay_prefix}"]}
        config = {"ovsdb": self.dpu.db, "runDir": self.dpu.rundir, "bridge": bridge, "uplink": self.dpu.uplink}
        config["state"] = f"file:{self.folder / 'state.yaml'}"
        return self._write("agent.yaml", config)

    def write_state(self, peers: Sequence[DpuNode]) -> Path:
        """Write what should be on this DPU, from what the CNI results said."""
        tunnel = {"type": "geneve", "vni": VNI, "local": self.dpu.vtep}
        network = {"podCIDRs": [self.host.pod_cidr], "clusterCIDRs": [CLUSTER_CIDR], "tunnel": tunnel}
        state = {
            "apiVersion": "dpukit.io/v1alpha1",
            "kind": "DpuState",
            "node": f"host{self.host.index}",
            "network": network,
            "attachments": [self._attachment(one) for one in self.attached],
            "peers": [
                {"name": peer.dpu.netns, "vtep": peer.dpu.vtep, "podCIDRs": [peer.host.pod_cidr]} for peer in peers
            ],
        }
        return self._write("state.yaml", state)

    def _attachment(self, one: Attached) -> dict[str, object]:
        vf = next(index for index in range(7) if self.host.vf_pci(index) == one.vf)
        return {
            "pod": f"default/{one.pod.name}",
            "sandboxId": one.pod.sandbox,
            "controller": 1,
            "pf": 0,
            "vf": vf,
            "mac": one.pod.mac,
            "ips": [one.address],
        }

    def _write(self, name: str, document: object) -> Path:
        path = self.folder / name
        draft = path.with_suffix(".draft")
        draft.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return draft.rename(path)

    def agent(self) -> tuple[str, ...]:
        """Word the agent."""
        return ("ip", "netns", "exec", self.dpu.netns, *python("offload.agent"), "--config", str(self.write_config()))

    def status(self) -> list[dict[str, object]]:
        """Read the verdicts as ``dpukit offload status`` tells them."""
        words = (*python("dpukit"), "offload", "status", "--config", str(self.folder / "agent.yaml"), "-o", "json")
        found: list[dict[str, object]] = json.loads(run("ip", "netns", "exec", self.dpu.netns, *words))
        return found

    def verdicts(self, flow_class: str) -> dict[str, dict[str, object]]:
        """Read the verdicts on the traffic of one class, by the pods' names."""
        found = (one for one in self.status() if one["class"] == flow_class)
        return {str(one["pod"]).partition("/")[2]: one for one in found}


def ping(source: Pod, target: Attached, *, count: int = 5) -> float | None:
    """Ping; the median-ish round trip in milliseconds (the average ping prints), None when anything was lost."""
    said = source.enter("ping", "-c", str(count), "-i", "0.2", "-W", "2", target.ip, check=False)
    if " 0% packet loss" not in said:
        return None
    return float(said.rpartition(" = ")[2].split("/")[1])


@contextmanager
def talking(source: Pod, target: Attached) -> Iterator[None]:
    """Keep two pods talking for as long as the context lasts: a flow that nobody uses goes after ten seconds."""
    words = ("ip", "netns", "exec", source.name, "ping", "-i", "0.5", "-q", target.ip)
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as pings:
        try:
            yield
        finally:
            pings.terminate()


def iperf3(source: Pod, target: Attached, *, seconds: int = 3) -> float:
    """Send TCP for some seconds. Returns what arrived, in Mbit/s."""
    words = ("ip", "netns", "exec", target.pod.name, "iperf3", "-s", "-1")
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_until("iperf3 listens", lambda: ":5201" in target.pod.enter("ss", "-Hltn"), seconds=20)
            said = source.enter("iperf3", "-c", target.ip, "-t", str(seconds), "-J")
        finally:
            server.terminate()
    received = json.loads(said)["end"]["sum_received"]["bits_per_second"]
    return float(received) / 1e6
