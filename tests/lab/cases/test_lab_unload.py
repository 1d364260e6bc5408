"""The module goes and comes under load: with rules, tunnels and a conntrack table in it, and both switches at work on it."""

from __future__ import annotations

from tests.lab import netns, topology
from tests.lab.eswitch import BUS, DEBUGFS
from tests.lab.model import LAB, VFS, Dpu, Lab


def load_up(dpu: Dpu) -> None:
    """Rules of each kind: on a port, on a tunnel, with conntrack; some of them Open vSwitch's own."""
    switch = topology.SWITCHES[dpu.index]
    switch.vsctl("add-br", "br-int", "--", "add-port", "br-int", dpu.uplink)
    netns.ip(
        [
            "link add gnv type geneve external dstport 6082",
            "link set gnv up",
            f"address add {dpu.vtep}/{LAB.underlay_prefix} dev br-int",
            "link set br-int up",
        ],
        netns=dpu.netns,
    )
    port = dpu.representor(VFS - 1)  # Open vSwitch, which leaves its qdisc behind, has not had it
    netns.tc(
        [
            f"qdisc add dev {port} clsact",
            "qdisc add dev gnv clsact",
            f"filter add dev gnv ingress protocol ip flower enc_key_id 7 action tunnel_key unset pipe action mirred egress redirect dev {port}",
            f"filter add dev {port} ingress protocol ip flower ct_state -trk action ct zone 7 pipe action goto chain 1",
        ],
        netns=dpu.netns,
    )
    netns.run(["ping", "-n", "-c", "2", "-i", "0.2", "-W", "5", LAB.external.gateway], netns=dpu.netns)


def test_the_module_unloads_under_load_and_loads_again(lab: Lab) -> None:
    """The driver fails the whole run when the kernel complains, as it does about a rule, a block or a device left behind."""
    for _ in range(2):
        for dpu in LAB.dpus:
            load_up(dpu)
            devices = {rule["dev"] for rule in topology.ESWITCHES[dpu.index].rules()}
            assert {dpu.uplink, dpu.representor(VFS - 1), "gnv"} <= devices
        topology.tear_down()
        assert not BUS.exists()
        assert not DEBUGFS.exists()
        topology.build()
    assert all(eswitch.rules() == [] for eswitch in topology.ESWITCHES)
