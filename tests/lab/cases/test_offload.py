"""The agent on simulated DPUs: representors from devlink, flows in hardware, and the verdicts, right and wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab import netns
from tests.lab.eswitch import Eswitch
from tests.lab.model import LAB, Dpu
from tests.lab.switch import Switch
from tests.lab.vf import Pod, wait_for

MakePod = Callable[[str], Pod]
GATEWAY_MAC = "0a:58:a9:fe:01:01"
VNI = 100


@dataclass
class Attached:
    """A pod on a VF, in routed mode, as the CNI plugin leaves it."""

    pod: Pod
    vf: int
    address: str
    address6: str
    mac: str

    def state(self) -> dict[str, object]:
        return {
            "pod": f"default/{self.pod.name}",
            "sandboxId": f"sandbox-{self.pod.name}",
            "vf": self.vf,
            "mac": self.mac,
            "ips": [f"{self.address}/32", f"{self.address6}/128"],
        }


@dataclass
class AgentOn:
    """One DPU's agent, with its files."""

    dpu: Dpu
    folder: Path
    attached: list[Attached] = field(default_factory=list)
    kind: str = "geneve"
    process: subprocess.Popen[bytes] | None = None

    def write(self) -> None:
        index = self.dpu.index
        host, peer, other = LAB.hosts[index], LAB.hosts[1 - index], LAB.dpus[1 - index]
        state = {
            "apiVersion": "dpukit.io/v1alpha1",
            "kind": "DpuState",
            "node": f"host{index}",
            "network": {
                "podCIDRs": [host.pod_cidr, host.pod_cidr6],
                "clusterCIDRs": ["10.1.0.0/16", "fd00:1::/32"],
                "tunnel": {"type": self.kind, "vni": VNI, "local": self.dpu.vtep},
            },
            "attachments": [one.state() for one in self.attached],
            "peers": [{"name": other.netns, "vtep": other.vtep, "podCIDRs": [peer.pod_cidr, peer.pod_cidr6]}],
        }
        config = {
            "ovsdb": self.dpu.db,
            "runDir": self.dpu.rundir,
            "bridge": {"addresses": [f"{self.dpu.vtep}/{LAB.underlay_prefix}"]},
            "state": f"file:{self.folder}/state.yaml",
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "agent.yaml").write_text(yaml.safe_dump(config))
        new = self.folder / "state.new"
        new.write_text(yaml.safe_dump(state))
        new.rename(self.folder / "state.yaml")

    def start(self) -> None:
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(self.command("offload.agent"), stdout=log, stderr=log)

    def command(self, *words: str) -> list[str]:
        config = ["--config", str(self.folder / "agent.yaml")]
        return ["ip", "netns", "exec", self.dpu.netns, sys.executable, "-m", *words, *config]

    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    def wait_for(self, text: str, *, times: int = 1) -> None:
        try:
            wait_for(lambda: self.log().count(text) >= times, f"{text!r} of the agent", 60)
        except TimeoutError as error:
            raise AssertionError(f"{error}; it said: {self.log()}") from error

    def stop(self) -> None:
        if self.process is not None:
            process, self.process = self.process, None
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0

    def status(self) -> list[dict[str, Any]]:
        done = subprocess.run(
            [*self.command("dpukit", "offload", "status"), "-o", "json"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def verdicts(self, flow_class: str) -> dict[str, dict[str, Any]]:
        return {one["pod"].partition("/")[2]: one for one in self.status() if one["class"] == flow_class}


@pytest.fixture
def attach(vfs: int, make_pod: MakePod) -> Callable[[int, int], Attached]:
    """A function that makes a pod on VF `vf` of host `host`."""

    def make(host: int, vf: int) -> Attached:
        pod = make_pod(f"pod{host}-{vf}")
        tenant = LAB.hosts[host]
        address, address6 = f"10.1.{host + 1}.{vf + 2}", f"fd00:1:{host + 1}::{vf + 2}"
        pod.take_vf(tenant, vf, f"{address}/32", f"{address6}/128")
        mac = netns.show("ip link show net1", netns=pod.name)[0]["address"]
        netns.ip(
            [
                "route add 169.254.1.1 dev net1 scope link",
                f"neighbour replace 169.254.1.1 lladdr {GATEWAY_MAC} dev net1 nud permanent",
                "route add default via 169.254.1.1 dev net1 mtu 1400",
                f"neighbour replace fe80::1 lladdr {GATEWAY_MAC} dev net1 nud permanent",
                "route add default via fe80::1 dev net1 mtu 1400",
            ],
            netns=pod.name,
        )
        return Attached(pod, vf, address, address6, mac)

    return make


@pytest.fixture
def agents(
    switches: tuple[Switch, ...], eswitches: tuple[Eswitch, ...], tmp_path: Path
) -> Iterator[tuple[AgentOn, ...]]:
    """An agent for each DPU, not started."""
    made = tuple(AgentOn(dpu, tmp_path / dpu.netns) for dpu in LAB.dpus)
    for switch in switches:
        # A flow unused for 10 s goes, and under emulation it takes that long to ask for it.
        switch.vsctl("set", "Open_vSwitch", ".", "other_config:max-idle=120000")
    yield made
    for switch in switches:
        switch.vsctl("remove", "Open_vSwitch", ".", "other_config", "max-idle")
    for agent in made:
        agent.stop()
    logs = Path(os.environ.get("PYTEST_CURRENT_TEST", "offload").split("::")[-1].split(" ")[0])
    for agent in made:
        if (agent.folder / "agent.log").exists():
            target = Path(LAB.output) / f"agent-{logs}-{agent.dpu.netns}.log"
            target.write_text(agent.log())


@pytest.fixture
def one(agents: tuple[AgentOn, ...], attach: Callable[[int, int], Attached]) -> AgentOn:
    """The first DPU with two pods, its agent at work."""
    agent = agents[0]
    agent.attached = [attach(0, 0), attach(0, 1)]
    agent.write()
    agent.start()
    agent.wait_for("reconciled")
    return agent


def talk(agent: AgentOn) -> None:
    first, second = agent.attached
    assert first.pod.pings(second.address, count=5), agent.log()


def serve(server: Attached) -> subprocess.Popen[bytes]:
    listener = subprocess.Popen(
        ["ip", "netns", "exec", server.pod.name, "iperf3", "-s", "-1"], stdout=subprocess.DEVNULL
    )
    wait_for(lambda: "5201" in server.pod.run("ss", "-ltn"), "iperf3 to listen")
    return listener


def test_pods_on_one_dpu_talk_in_hardware(one: AgentOn, eswitches: tuple[Eswitch, ...]) -> None:
    talk(one)
    first, second = one.attached
    listener = serve(second)
    first.pod.run("iperf3", "-c", second.address, "-t", "2")
    listener.wait(30)
    assert first.pod.pings(second.address6, count=3)
    for verdict in one.verdicts("pod-pod-local").values():
        assert verdict["verdict"] == "hardware", verdict
        assert verdict["inHw"] == verdict["total"] >= 2
        assert verdict["representor"].startswith("pf0vf")
    assert {verdict["verdict"] for verdict in one.verdicts("pod-pod-remote").values()} == {"idle"}
    assert {"pf0vf0", "pf0vf1"} <= {rule["dev"] for rule in eswitches[0].rules()}


@pytest.mark.parametrize("kind", ["geneve", "vxlan"])
def test_pods_on_two_dpus_talk_in_hardware(
    agents: tuple[AgentOn, ...], attach: Callable[[int, int], Attached], kind: str
) -> None:
    for agent in agents:
        agent.kind = kind
        agent.attached = [attach(agent.dpu.index, 0)]
        agent.write()
        agent.start()
    for agent in agents:
        agent.wait_for("reconciled")
    (near,), (far,) = (agent.attached for agent in agents)
    assert near.pod.pings(far.address, count=5), agents[0].log()
    listener = serve(far)
    near.pod.run("iperf3", "-c", far.address, "-t", "2")
    listener.wait(30)
    assert near.pod.pings(far.address6, count=3)
    for agent in agents:
        (verdict,) = agent.verdicts("pod-pod-remote").values()
        assert verdict["verdict"] == "hardware", verdict
        assert verdict["total"] >= 2


def test_a_full_table_is_software_in_the_drivers_words(
    one: AgentOn, switches: tuple[Switch, ...], eswitches: tuple[Eswitch, ...]
) -> None:
    eswitches[0].set_capacity(0)
    switches[0].flush()
    talk(one)
    before = eswitches[0].counts()["rules"]
    for verdict in one.verdicts("pod-pod-local").values():
        assert verdict["verdict"] == "software", verdict
        assert "table full" in verdict["reason"], verdict
        assert verdict["inHw"] == 0
    # Asking the driver left nothing behind.
    assert eswitches[0].counts()["rules"] == before
    shown = netns.run(["tc", "filter", "show", "dev", "pf0vf0", "ingress"], netns="dpu0")
    assert "chain 268435454" not in shown


def test_a_refused_action_is_software_in_the_drivers_words(
    one: AgentOn, switches: tuple[Switch, ...], eswitches: tuple[Eswitch, ...]
) -> None:
    eswitches[0].refuse("pedit")
    switches[0].flush()
    talk(one)
    for verdict in one.verdicts("pod-pod-local").values():
        assert verdict["verdict"] == "software", verdict
        assert "the driver of pf0vf" in verdict["reason"], verdict
        assert "header rewrite isn't supported" in verdict["reason"], verdict
    eswitches[0].refuse()
    switches[0].flush()

    def is_hardware() -> bool:
        # Open vSwitch makes a flow that was flushed anew only once its revalidators have forgotten it.
        talk(one)
        return {verdict["verdict"] for verdict in one.verdicts("pod-pod-local").values()} == {"hardware"}

    wait_for(is_hardware, "both pods to be back in hardware", 60)


def test_the_tunnels_decap_refused_is_software_in_one_direction(
    agents: tuple[AgentOn, ...], attach: Callable[[int, int], Attached], eswitches: tuple[Eswitch, ...]
) -> None:
    eswitches[0].refuse("tunnel_flags")
    for agent in agents:
        agent.attached = [attach(agent.dpu.index, 0)]
        agent.write()
        agent.start()
    for agent in agents:
        agent.wait_for("reconciled")
    (near,), (far,) = (agent.attached for agent in agents)
    assert near.pod.pings(far.address, count=5), agents[0].log()
    (verdict,) = agents[0].verdicts("pod-pod-remote").values()
    assert verdict["verdict"] == "software", verdict
    assert "Unsupported match on enc_control.flags" in verdict["reason"]
    assert 0 < verdict["inHw"] < verdict["total"]
    (verdict,) = agents[1].verdicts("pod-pod-remote").values()
    assert verdict["verdict"] == "hardware", verdict


def test_offload_switched_off_is_software_for_that_reason(one: AgentOn, switches: tuple[Switch, ...]) -> None:
    switches[0].set_hw_offload(on=False)
    try:
        one.wait_for("ovs-vswitchd is back and has its flows")
        talk(one)
        for verdict in one.verdicts("pod-pod-local").values():
            assert verdict["verdict"] == "software", verdict
            assert verdict["reason"].startswith("hw-offload is off in Open vSwitch")
    finally:
        switches[0].set_hw_offload(on=True)


def test_a_port_that_may_not_offload_is_named(one: AgentOn, switches: tuple[Switch, ...]) -> None:
    netns.run(["ethtool", "-K", "pf0vf1", "hw-tc-offload", "off"], netns="dpu0")
    try:
        switches[0].flush()
        talk(one)
        found = one.verdicts("pod-pod-local")
        assert {verdict["verdict"] for verdict in found.values()} == {"software"}, found
        assert all("hw-tc-offload is off on pf0vf1" in verdict["reason"] for verdict in found.values()), found
    finally:
        netns.run(["ethtool", "-K", "pf0vf1", "hw-tc-offload", "on"], netns="dpu0")


def test_a_killed_vswitchd_has_its_flows_back_and_offloads_again(one: AgentOn, switches: tuple[Switch, ...]) -> None:
    talk(one)
    before = switches[0].ofctl("dump-flows", "br-int", "--no-stats").splitlines()
    switches[0].stop_vswitchd(how=signal.SIGKILL)
    switches[0].start_vswitchd()
    one.wait_for("ovs-vswitchd is back and has its flows flows=24")
    assert sorted(switches[0].ofctl("dump-flows", "br-int", "--no-stats").splitlines()) == sorted(before)
    talk(one)
    assert {verdict["verdict"] for verdict in one.verdicts("pod-pod-local").values()} == {"hardware"}


def test_a_renamed_representor_stays_the_pods(one: AgentOn) -> None:
    talk(one)
    netns.ip(["link set pf0vf1 down", "link set pf0vf1 name eth77", "link set eth77 up"], netns="dpu0")
    try:
        one.wait_for("reconciled", times=2)
        talk(one)
        assert {verdict["representor"] for verdict in one.status()} == {"pf0vf0", "eth77"}
    finally:
        netns.ip(["link set eth77 down", "link set eth77 name pf0vf1", "link set pf0vf1 up"], netns="dpu0")


def test_a_vf_that_is_not_there_is_named_with_those_that_are(one: AgentOn) -> None:
    one.attached[1].vf = 42
    one.write()
    one.wait_for("VF c1pf0vf42: has no representor")
    found = one.verdicts("pod-pod-local")[one.attached[1].pod.name]
    assert found["verdict"] == "unplugged"
    assert "seen: c1pf0vf0 (pf0vf0)" in found["reason"]


def test_devlink_tells_the_ports_and_modes(lab: object) -> None:
    code = (
        "from sriov.kernel.devlink import Devlink\n"
        "import json\n"
        "d = Devlink()\n"
        "print(json.dumps([dict(d.read_eswitch_modes()), sorted([str(p.vf_port or p.name.flavour), p.netdev, p.switch_id] for p in d.read_ports())]))\n"
    )
    modes, ports = json.loads(
        netns.run([sys.executable, "-c", code], netns="dpu0", env={"PYTHONPATH": str(LAB.repository)})
    )
    assert modes[LAB.dpus[0].devlink] == "switchdev"
    found = {name: netdev for name, netdev, _ in ports}
    assert found["c1pf0vf3"] == "pf0vf3"
    assert found["physical"] == "p0"
    assert found["pcipf"] == "pf0hpf"
    (switch_id,) = {switch_id for _, _, switch_id in ports}
    sysfs = netns.run(["cat", "/sys/class/net/p0/phys_switch_id"], netns="dpu0").strip()
    assert switch_id == sysfs
