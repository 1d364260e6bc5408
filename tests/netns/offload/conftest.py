"""Real Open vSwitch in namespaces of its own: one DPU per namespace, with veth ends as representors.

A kernel without the openvswitch module runs the userspace datapath; a veth has no ``phys_port_name``, so a folder of
sysfs' shape gives it one. Nothing outside the namespaces made here is touched.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
SWITCH_ID = "00e1c20f0a5b"

_numbers = itertools.count()


def run(*words: object, **options: object) -> str:
    """Run a program to its end and return what it printed."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def wait_until(condition: Callable[[], object], *, within_s: float = 15, what: str | Callable[[], str] = "") -> None:
    """Wait until `condition` holds; fail when it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() >= deadline:
            pytest.fail(f"not within {within_s} s: {what() if callable(what) else what or condition}")
        time.sleep(0.02)


@pytest.fixture(scope="session", autouse=True)
def _needs() -> None:
    if shutil.which("ovs-vswitchd") is None:
        pytest.skip("ovs-vswitchd is not installed (apt-get install openvswitch-switch)")
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("cannot make network namespaces here")


@dataclass
class OpenVswitch:
    """One database and one ovs-vswitchd, in a folder and a namespace of their own."""

    folder: Path
    netns: str | None = None
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    vswitchd_options: tuple[str, ...] = ("--disable-system",)

    @property
    def remote(self) -> str:
        return f"unix:{self.folder}/db.sock"

    def start_database(self) -> None:
        if not (self.folder / "conf.db").exists():
            run("ovsdb-tool", "create", self.folder / "conf.db", SCHEMA)
        self._spawn("ovsdb-server", self.folder / "conf.db", f"--remote=p{self.remote}", "--no-chdir")
        wait_until((self.folder / "db.sock").exists)
        # The socket is there a moment before anybody listens.
        self.vsctl("--retry", "--no-wait", "init")

    def start_vswitchd(self) -> None:
        self._spawn("ovs-vswitchd", self.remote, "--no-chdir", *self.vswitchd_options)
        wait_until(lambda: list(self.folder.glob("ovs-vswitchd.*.ctl")), what="ovs-vswitchd's control socket")

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        process = self.processes.pop(name)
        process.send_signal(number)
        process.wait(timeout=10)

    def stop_all(self) -> None:
        for name in list(self.processes):
            self.stop(name)

    def vsctl(self, *words: object) -> str:
        return run("ovs-vsctl", f"--db={self.remote}", "--timeout=10", *words).strip()

    def ofctl(self, command: str, bridge: str, *words: object, **options: object) -> str:
        return run("ovs-ofctl", "-O", "OpenFlow15", command, f"unix:{self.folder}/{bridge}.mgmt", *words, **options)

    def dump_flows(self, bridge: str) -> list[str]:
        lines = self.ofctl("dump-flows", bridge, "--no-stats").splitlines()
        return sorted(line.strip() for line in lines if "actions=" in line)

    def appctl(self, *words: object) -> str:
        return run("ovs-appctl", "-t", next(self.folder.glob("ovs-vswitchd.*.ctl")), *words)

    def _spawn(self, program: str, *words: object) -> None:
        names = ("RUNDIR", "DBDIR", "LOGDIR", "SYSCONFDIR")
        environment = {**os.environ, **{f"OVS_{name}": str(self.folder) for name in names}}
        prefix = ["ip", "netns", "exec", self.netns] if self.netns else []
        log = (self.folder / f"{program}.log").open("ab")
        command = [*prefix, program, *map(str, words), "--pidfile"]
        self.processes[program] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        log.close()


@pytest.fixture
def dummy_switch(tmp_path: Path) -> Iterator[OpenVswitch]:
    """Open vSwitch with a datapath that moves no packet and devices that are not there."""
    switch = OpenVswitch(tmp_path, vswitchd_options=("--enable-dummy=override",))
    try:
        switch.start_database()
        switch.start_vswitchd()
        yield switch
    finally:
        switch.stop_all()


@dataclass
class Pod:
    """A namespace with the far end of one representor."""

    name: str
    netns: str
    representor: str
    vf: int
    mac: str
    address: str

    def ping(self, other: Pod, *, count: int = 2) -> bool:
        words = [
            "ip",
            "netns",
            "exec",
            self.netns,
            "ping",
            "-n",
            "-c",
            str(count),
            "-i",
            "0.2",
            "-W",
            "2",
            other.address,
        ]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0


@dataclass
class Dpu:
    """One DPU: its switch, its pods, its agent."""

    number: int
    netns: str
    folder: Path
    switch: OpenVswitch
    pods: list[Pod] = field(default_factory=list)
    peers: list[int] = field(default_factory=list)
    agent: subprocess.Popen[bytes] | None = None

    @property
    def vtep(self) -> str:
        return f"192.0.2.{10 + self.number}"

    def state(self) -> dict[str, object]:
        return {
            "apiVersion": "dpukit.io/v1alpha1",
            "kind": "DpuState",
            "node": f"host{self.number}",
            "network": {
                "podCIDRs": [f"10.1.{self.number}.0/24"],
                "clusterCIDRs": ["10.1.0.0/16"],
                "tunnel": {"type": "geneve", "vni": 100, "local": self.vtep},
            },
            "attachments": [
                {"pod": f"default/{pod.name}", "sandboxId": f"sandbox-{pod.name}", "vf": pod.vf, "mac": pod.mac}
                | {"ips": [f"{pod.address}/32"]}
                for pod in self.pods
            ],
            "peers": [
                {"name": f"dpu{peer}", "vtep": f"192.0.2.{10 + peer}", "podCIDRs": [f"10.1.{peer}.0/24"]}
                for peer in self.peers
            ],
        }

    def write_state(self, state: dict[str, object] | None = None) -> None:
        new = self.folder / "state.yaml.new"
        new.write_text(yaml.safe_dump(state or self.state()))
        new.rename(self.folder / "state.yaml")

    def write_config(self, **changes: object) -> None:
        config = {
            "ovsdb": self.switch.remote,
            "runDir": str(self.switch.folder),
            "bridge": {"name": "br-int", "datapathType": "netdev", "addresses": [f"{self.vtep}/24"]},
            "uplink": "p0",
            **changes,
        }
        (self.folder / "agent.yaml").write_text(yaml.safe_dump(config))

    def name_port(self, netdev: str, phys_port_name: str, *, switch_id: str = SWITCH_ID) -> None:
        folder = self.folder / "sys/class/net" / netdev
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "phys_switch_id").write_text(switch_id)
        (folder / "phys_port_name").write_text(phys_port_name)
        (folder / "ifindex").write_text(str(100 + len(list(folder.parent.iterdir()))))

    def command(self, *words: str) -> list[str]:
        return [
            "ip",
            "netns",
            "exec",
            self.netns,
            sys.executable,
            "-m",
            *words,
            "--config",
            str(self.folder / "agent.yaml"),
        ]

    def call(self, *words: str) -> tuple[int, str]:
        """Run one of our programs beside the switch; return its exit code and what it said, errors included."""
        command = [*self.command(*words), "--state", f"file:{self.folder}/state.yaml"]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False, timeout=30)
        return done.returncode, done.stdout + done.stderr

    def environment(self) -> dict[str, str]:
        return {**os.environ, "DPUKIT_SYSFS": str(self.folder / "sys"), "PYTHONPATH": str(REPOSITORY)}

    def start_agent(self) -> None:
        log = (self.folder / "agent.log").open("ab")
        words = [*self.command("offload.agent"), "--state", f"file:{self.folder}/state.yaml"]
        self.agent = subprocess.Popen(words, env=self.environment(), stdout=log, stderr=log)
        log.close()

    def stop_agent(self, number: int = signal.SIGTERM) -> int:
        assert self.agent is not None
        agent, self.agent = self.agent, None
        agent.send_signal(number)
        return agent.wait(timeout=15)

    def agent_log(self) -> str:
        return (self.folder / "agent.log").read_text()

    def wait_for_flows(self, count: int | None = None) -> None:
        def are_in() -> bool:
            # The socket of a killed ovs-vswitchd stays behind until the next one takes its place.
            try:
                return len(self.switch.dump_flows("br-int")) >= (count or 1)
            except AssertionError:
                return False

        wait_until(are_in, what=self.agent_log)


class Underlay:
    """DPUs on one Ethernet, and their pods."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tag = f"o{os.getpid() % 10000}x{next(_numbers)}"
        self.dpus: list[Dpu] = []
        self._namespaces: list[str] = []
        self.hub = self._add_netns("hub")
        self._ip(self.hub, "link", "add", "cable", "type", "bridge")
        self._ip(self.hub, "link", "set", "cable", "up")

    def add_dpu(self, *, pods: int) -> Dpu:
        number = len(self.dpus) + 1
        netns = self._add_netns(f"dpu{number}")
        folder = self.folder / f"dpu{number}"
        (folder / "ovs").mkdir(parents=True)
        dpu = Dpu(number, netns, folder, OpenVswitch(folder / "ovs", netns))
        self.dpus.append(dpu)
        self._ip(netns, "link", "add", "p0", "type", "veth", "peer", "name", f"wire{number}", "netns", self.hub)
        self._ip(self.hub, "link", "set", f"wire{number}", "master", "cable", "up")
        # The userspace datapath takes packets as they are; checksums left to hardware would be wrong.
        run("ip", "netns", "exec", netns, "ethtool", "-K", "p0", "tx", "off")
        dpu.name_port("p0", "p0")
        for vf in range(pods):
            self.add_pod(dpu, vf)
        dpu.switch.start_database()
        dpu.switch.start_vswitchd()
        dpu.write_config()
        return dpu

    def add_pod(self, dpu: Dpu, vf: int) -> Pod:
        name = f"pod{dpu.number}-{vf}"
        netns = self._add_netns(name)
        pod = Pod(
            name, netns, f"rep{vf}", vf, f"0a:58:0a:01:{dpu.number:02x}:{vf + 2:02x}", f"10.1.{dpu.number}.{vf + 2}"
        )
        self._ip(dpu.netns, "link", "add", pod.representor, "type", "veth", "peer", "name", "eth0", "netns", netns)
        run("ip", "netns", "exec", netns, "ethtool", "-K", "eth0", "tx", "off")
        for words in (
            f"link set eth0 address {pod.mac} up",
            f"address add {pod.address}/32 dev eth0",
            "route add 169.254.1.1 dev eth0 scope link",
            "route add default via 169.254.1.1 dev eth0 mtu 1400",
        ):
            self._ip(netns, *words.split())
        dpu.name_port(pod.representor, f"c1pf0vf{vf}")
        dpu.pods.append(pod)
        return pod

    def close(self) -> None:
        for dpu in self.dpus:
            if dpu.agent is not None:
                dpu.stop_agent(signal.SIGKILL)
            dpu.switch.stop_all()
        for name in self._namespaces:
            run("ip", "netns", "delete", name)

    def _add_netns(self, name: str) -> str:
        netns = f"{self.tag}{name}"
        run("ip", "netns", "add", netns)
        self._namespaces.append(netns)
        self._ip(netns, "link", "set", "lo", "up")
        return netns

    def _ip(self, netns: str, *words: str) -> None:
        run("ip", "-n", netns, *words)


@pytest.fixture
def underlay(tmp_path: Path) -> Iterator[Underlay]:
    made = Underlay(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def dpu(underlay: Underlay) -> Dpu:
    """One DPU whose agent has done its first round for two pods."""
    made = underlay.add_dpu(pods=2)
    made.write_state()
    made.start_agent()
    made.wait_for_flows(15)
    return made
