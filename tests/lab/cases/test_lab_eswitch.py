"""The simulated e-switch by itself: what devlink and sysfs show of it, and which TC rules it takes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab import eswitch, netns
from tests.lab.eswitch import BUS, DEBUGFS, Eswitch
from tests.lab.model import LAB, VFS, Lab
from tests.lab.vf import wait_for

SPARE = 9


@dataclass(frozen=True)
class Spare:
    """An e-switch of this module's own, in a namespace of its own: it may be broken and thrown away."""

    netns: str
    knobs: Eswitch

    def add_rule(self, rule: str, *, device: str = "pf0vf0") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["tc", "-netns", self.netns, *f"filter add dev {device} ingress {rule}".split()],
            capture_output=True,
            text=True,
            check=False,
        )

    def rules(self, device: str = "pf0vf0") -> list[dict[str, Any]]:
        shown = netns.show(f"tc filter show dev {device} ingress", netns=self.netns)
        return [rule["options"] for rule in shown if "handle" in rule.get("options", {})]

    def clear(self) -> None:
        """Remove all rules, those in later chains included, with what they hang on."""
        netns.tc(["qdisc del dev pf0vf0 clsact", "qdisc add dev pf0vf0 clsact"], netns=self.netns)


@pytest.fixture(scope="module")
def _spare(lab: Lab) -> Iterator[Spare]:
    spare = Spare("spare", Eswitch(SPARE))
    netns.ip([f"netns add {spare.netns}"])
    spare.knobs.create(spare.netns, 2)
    netns.ip([f"link set {name} up" for name in ("p0", "pf0vf0", "pf0vf1", "upw", "vfw0", "vfw1")], netns=spare.netns)
    netns.tc(["qdisc add dev pf0vf0 clsact"], netns=spare.netns)
    yield spare
    spare.knobs.destroy()
    netns.ip([f"netns del {spare.netns}"])


@pytest.fixture
def spare(_spare: Spare) -> Iterator[Spare]:
    yield _spare
    _spare.knobs.reset()
    _spare.clear()


def links(namespace: str) -> dict[str, dict[str, Any]]:
    return {link["ifname"]: link for link in netns.show("ip -d link", netns=namespace)}


def test_devlink_ports_are_as_on_a_bluefield(lab: Lab) -> None:
    for dpu in LAB.dpus:
        ports = list(netns.show("devlink port", netns=dpu.netns)["port"].values())
        seen = {
            port["netdev"]: (port["flavour"], port.get("controller"), port.get("vfnum"), port.get("external"))
            for port in ports
        }
        assert seen == {"p0": ("physical", None, None, None), "pf0hpf": ("pcipf", 1, None, True)} | {
            f"pf0vf{vf}": ("pcivf", 1, vf, True) for vf in range(VFS)
        }
        (pf,) = [port for port in ports if port["netdev"] == "pf0hpf"]
        assert pf["function"]["hw_addr"] == LAB.hosts[dpu.index].mac
        names = {name: link["phys_port_name"] for name, link in links(dpu.netns).items() if "phys_port_name" in link}
        assert names == {"p0": "p0", "pf0hpf": "c1pf0"} | {f"pf0vf{vf}": f"c1pf0vf{vf}" for vf in range(VFS)}
        assert (
            netns.show(f"devlink dev eswitch show {dpu.devlink}", netns=dpu.netns)["dev"][dpu.devlink]["mode"]
            == "switchdev"
        )


def test_each_dpu_is_a_switch_of_its_own(lab: Lab) -> None:
    switch_ids = [
        {link["phys_switch_id"] for link in links(dpu.netns).values() if "phys_switch_id" in link} for dpu in LAB.dpus
    ]
    assert [len(ids) for ids in switch_ids] == [1, 1]
    assert switch_ids[0] != switch_ids[1]
    for dpu in LAB.dpus:
        assert list(netns.show("devlink dev", netns=dpu.netns)["dev"]) == [dpu.devlink]
    assert netns.show("devlink dev")["dev"] == {}


def test_driver_and_bus_are_named(lab: Lab) -> None:
    for dpu in LAB.dpus:
        info = netns.run(["ethtool", "-i", dpu.representor(0)], netns=dpu.netns)
        assert "driver: dpusim\n" in info
        assert f"bus-info: {dpu.devlink.split('/')[1]}\n" in info


def test_a_function_has_the_mac_it_is_given(spare: Spare) -> None:
    port = next(
        name
        for name, port in netns.show("devlink port", netns=spare.netns)["port"].items()
        if port["netdev"] == "pf0vf1"
    )
    netns.run(["devlink", "-N", spare.netns, *f"port function set {port} hw_addr 02:00:00:00:00:77".split()])
    shown = netns.show(f"devlink port show {port}", netns=spare.netns)["port"][port]
    assert shown["function"]["hw_addr"] == "02:00:00:00:00:77"


def test_representors_are_there_in_switchdev_mode_only(spare: Spare) -> None:
    handle = f"dpusim/dpusim{SPARE}"
    netns.run(["devlink", "-N", spare.netns, *f"dev eswitch set {handle} mode legacy".split()])
    try:
        assert {"p0", "vfw0"} <= set(links(spare.netns))
        assert not {"pf0hpf", "pf0vf0", "pf0vf1"} & set(links(spare.netns))
    finally:
        netns.run(["devlink", "-N", spare.netns, *f"dev eswitch set {handle} mode switchdev".split()])
        netns.ip([f"link set {name} up" for name in ("pf0vf0", "pf0vf1")], netns=spare.netns)
        netns.tc(["qdisc add dev pf0vf0 clsact"], netns=spare.netns)
    assert "LOWER_UP" in links(spare.netns)["pf0vf0"]["flags"], "joined again with the far end that had stayed"


def test_a_representor_stays_in_its_namespace_and_a_far_end_does_not(spare: Spare) -> None:
    with pytest.raises(netns.CommandError):
        netns.ip([f"link set pf0vf1 netns {LAB.fabric}"], netns=spare.netns)
    netns.ip([f"link set vfw1 netns {LAB.fabric}"], netns=spare.netns)
    netns.ip([f"link set vfw1 netns {spare.netns}"], netns=LAB.fabric)


def test_a_link_has_a_carrier_when_both_ends_are_up(spare: Spare) -> None:
    netns.ip(["link set vfw0 down"], netns=spare.netns)
    assert "LOWER_UP" not in links(spare.netns)["pf0vf0"]["flags"]
    netns.ip(["link set vfw0 up"], netns=spare.netns)
    assert "LOWER_UP" in links(spare.netns)["pf0vf0"]["flags"]


FORWARD = "action mirred egress redirect dev pf0vf1"


def test_a_rule_is_in_hardware(spare: Spare) -> None:
    assert (
        spare.add_rule(f"protocol ip pref 1 flower dst_ip 10.0.0.1 ip_proto tcp dst_port 80 {FORWARD}").returncode == 0
    )
    (rule,) = spare.rules()
    assert rule["in_hw"] is True
    assert rule["in_hw_count"] == 1
    (remembered,) = spare.knobs.rules()
    assert remembered["dev"] == "pf0vf0"
    assert remembered["actions"] == "redirect(pf0vf1)"
    assert {"ipv4", "ports"} <= set(remembered["match"].split(","))


def test_a_full_table_says_so(spare: Spare) -> None:
    spare.knobs.set_capacity(1)
    assert spare.add_rule(f"protocol ip pref 1 flower dst_ip 10.0.0.1 {FORWARD}").returncode == 0
    refused = spare.add_rule(f"protocol ip pref 2 flower skip_sw dst_ip 10.0.0.2 {FORWARD}")
    assert "dpusim: table full" in refused.stderr
    assert refused.returncode != 0
    assert spare.add_rule(f"protocol ip pref 3 flower dst_ip 10.0.0.2 {FORWARD}").returncode == 0
    assert [rule.get("not_in_hw", False) for rule in spare.rules()] == [False, True]
    assert spare.knobs.counts()["table_full"] == 2


REFUSED = (
    ("redirect", f"protocol ip flower {FORWARD}"),
    ("redirect:self", "protocol ip flower action mirred egress redirect dev pf0vf0"),
    ("redirect:foreign", "protocol ip flower action mirred egress redirect dev vfw1"),
    ("mirror", f"protocol ip flower action mirred egress mirror dev pf0vf1 pipe {FORWARD}"),
    ("drop", "protocol ip flower action drop"),
    ("goto", "protocol ip flower action goto chain 5"),
    ("chain", f"protocol ip chain 5 flower {FORWARD}"),
    ("vlan_push", f"protocol ip flower action vlan push id 7 pipe {FORWARD}"),
    ("vlan_pop", f"protocol 802.1Q flower vlan_id 7 action vlan pop pipe {FORWARD}"),
    ("pedit", f"protocol ip flower action pedit ex munge eth dst set 02:00:00:00:00:01 pipe {FORWARD}"),
    (
        "pedit:before_ct",
        "protocol ip flower ip_proto tcp action pedit ex munge ip ttl set 9 pipe action ct zone 5 pipe action goto chain 3",
    ),
    ("csum", f"protocol ip flower action csum ip pipe {FORWARD}"),
    ("ct", "protocol ip flower ct_state -trk action ct zone 5 pipe action goto chain 3"),
    ("ct:two", "protocol ip flower ct_state -trk action ct zone 5 pipe action ct zone 6 pipe action goto chain 3"),
    (
        "tunnel",
        f"protocol ip flower action tunnel_key set id 9 src_ip 192.0.2.1 dst_ip 192.0.2.2 dst_port 6081 pipe {FORWARD}",
    ),
    ("match:ct", f"protocol ip chain 3 flower ct_state +trk+est {FORWARD}"),
    ("match:ct_est", f"protocol ip chain 3 flower ct_state +trk+est {FORWARD}"),
    ("match:ct_new", f"protocol ip chain 3 flower ct_state +trk+new {FORWARD}"),
    ("match:ct_rel", f"protocol ip chain 3 flower ct_state +trk+rel {FORWARD}"),
    ("match:ct_inv", f"protocol ip chain 3 flower ct_state +trk+inv {FORWARD}"),
    ("match:vlan", f"protocol 802.1Q flower vlan_id 7 {FORWARD}"),
    ("match:ipv4", f"protocol ip flower dst_ip 10.0.0.1 {FORWARD}"),
    ("match:ipv6", f"protocol ipv6 flower dst_ip fd00::1 {FORWARD}"),
    ("match:ports", f"protocol ip flower ip_proto udp dst_port 53 {FORWARD}"),
    ("match:tcp_flags", f"protocol ip flower ip_proto tcp tcp_flags 0x2 {FORWARD}"),
    ("match:icmp", f"protocol ip flower ip_proto icmp type 8 {FORWARD}"),
    ("match:arp", f"protocol arp flower arp_op request {FORWARD}"),
    ("match:tos", f"protocol ip flower ip_tos 4 {FORWARD}"),
    ("match:frag", f"protocol ip flower ip_flags frag {FORWARD}"),
)


@pytest.mark.parametrize(("word", "rule"), REFUSED)
def test_a_refusal_says_why(spare: Spare, word: str, rule: str) -> None:
    """Forced into hardware (skip_sw), the rule fails with the driver's words; else it stays in software. Without the refusal it is taken."""
    spare.knobs.refuse(word)
    refused = spare.add_rule(rule.replace(" flower", " pref 1 flower skip_sw"))
    assert refused.returncode != 0
    assert f"dpusim: {eswitch.words()[word]}" in refused.stderr
    assert spare.knobs.counts()[f"refused:{word}"] == 1
    assert spare.add_rule(rule.replace(" flower", " pref 1 flower")).returncode == 0
    assert [rule.get("not_in_hw") for rule in spare.rules()] == [True]
    spare.knobs.refuse()
    assert spare.add_rule(rule.replace(" flower", " pref 2 flower")).returncode == 0
    assert [rule.get("in_hw") for rule in spare.rules()] == [None, True]


def test_the_mlx5_profile_refuses_what_mlx5_refuses(spare: Spare) -> None:
    spare.knobs.set_profile("mlx5")
    for word, rule in REFUSED:
        taken = spare.add_rule(rule.replace(" flower", " pref 1 flower")).returncode == 0
        assert taken, rule
        in_hw = "in_hw" in spare.rules()[-1]
        assert in_hw is (
            word
            not in {"match:ct_rel", "match:ct_inv", "redirect:self", "redirect:foreign", "pedit:before_ct", "ct:two"}
        ), word
        spare.clear()


def test_an_unknown_word_changes_nothing(spare: Spare) -> None:
    spare.knobs.refuse("drop")
    with pytest.raises(OSError, match="Invalid argument"):
        spare.knobs.refuse("drop", "nonsense")
    with pytest.raises(OSError, match="Invalid argument"):
        spare.knobs.set_profile("nonsense")
    assert (DEBUGFS / f"dpusim{SPARE}" / "refuse").read_text() == "drop\n"


def test_hw_tc_offload_off_keeps_rules_in_software(spare: Spare) -> None:
    rule = f"protocol ip pref 1 flower dst_ip 10.0.0.1 {FORWARD}"
    assert spare.add_rule(rule).returncode == 0
    with pytest.raises(netns.CommandError):  # as real drivers: not while rules are in the table
        netns.run(["ethtool", "-K", "pf0vf0", "hw-tc-offload", "off"], netns=spare.netns)
    spare.clear()
    # The kernel remembers the wish that was refused and does nothing about the same wish again (net/ethtool/features.c): unsay it first.
    netns.run(["ethtool", "-K", "pf0vf0", "hw-tc-offload", "on"], netns=spare.netns)
    netns.run(["ethtool", "-K", "pf0vf0", "hw-tc-offload", "off"], netns=spare.netns)
    try:
        assert spare.add_rule(rule).returncode == 0
        assert [rule.get("not_in_hw") for rule in spare.rules()] == [True]
        refused = spare.add_rule(f"protocol ip pref 2 flower skip_sw {FORWARD}")
        assert "TC offload is disabled on net device" in refused.stderr
    finally:
        netns.run(["ethtool", "-K", "pf0vf0", "hw-tc-offload", "on"], netns=spare.netns)


def test_hardware_counters_stay_at_nothing(spare: Spare) -> None:
    """TC executes the rules; what it counts is software's, and the e-switch claims none of it."""
    assert spare.add_rule(f"protocol all pref 1 flower {FORWARD}", device="pf0vf0").returncode == 0
    netns.run(["ip", "address", "add", "10.9.9.1/24", "dev", "vfw0"], netns=spare.netns)
    subprocess.run(
        ["ip", "netns", "exec", spare.netns, "ping", "-c", "1", "-W", "1", "10.9.9.2"], capture_output=True, check=False
    )
    shown = netns.run(["tc", "-s", "filter", "show", "dev", "pf0vf0", "ingress"], netns=spare.netns)
    sent = re.search(r"Sent (\d+) bytes (\d+) pkt", shown)
    assert sent
    assert int(sent[2]) > 0
    hardware = re.search(r"Sent hardware (\d+) bytes", shown)
    assert hardware is None or hardware[1] == "0"
    assert int(spare.knobs.rules()[0]["stats_reads"]) > 0


def test_a_namespace_takes_its_eswitch_along(lab: Lab) -> None:
    """With rules in the table, with a tunnel's rules, and with a far end in another namespace."""
    other = Eswitch(SPARE + 1)
    netns.ip(["netns add doomed"])
    other.create("doomed", 1)
    netns.ip(
        ["link add gnv type geneve external dstport 6081", "link set gnv up", "link set pf0vf0 up"], netns="doomed"
    )
    netns.ip([f"link set vfw0 netns {LAB.fabric} name doomedvfw"], netns="doomed")
    netns.tc(
        [
            "qdisc add dev gnv clsact",
            "qdisc add dev pf0vf0 clsact",
            "filter add dev gnv ingress protocol ip flower enc_key_id 7 action tunnel_key unset pipe action mirred egress redirect dev pf0vf0",
            "filter add dev pf0vf0 ingress protocol ip flower ct_state -trk action ct zone 7 pipe action goto chain 1",
        ],
        netns="doomed",
    )
    assert {rule["dev"] for rule in other.rules()} == {"gnv", "pf0vf0"}
    netns.ip(["netns del doomed"])
    device = BUS / "devices" / f"dpusim{other.index}"
    wait_for(lambda: not device.exists(), "the e-switch to go")
    wait_for(lambda: "doomedvfw" not in links(LAB.fabric), "its far end to go")


def test_ids_and_numbers_are_checked(spare: Spare, lab: Lab) -> None:
    control = BUS / "new_device"
    for text, error in (
        ("9 2", "File exists"),
        ("nine", "Invalid argument"),
        ("10", "Invalid argument"),
        ("10 500", "Invalid argument"),
    ):
        with pytest.raises(OSError, match=error):
            control.write_text(text)
    with pytest.raises(OSError, match="File exists"):
        Eswitch(SPARE + 1).create(
            spare.netns, 2
        )  # a second one has no room for its names in the same namespace, and leaves nothing
    assert not (BUS / "devices" / f"dpusim{SPARE + 1}").exists()
    with pytest.raises(OSError, match="No such file"):
        (BUS / "del_device").write_text("77")
