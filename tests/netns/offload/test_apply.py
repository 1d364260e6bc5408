"""Links, addresses and flows, on a real kernel and a real switch."""

from __future__ import annotations

import subprocess
from ipaddress import ip_interface

import pytest

from offload.apply import FlowProgram, address_bridge, bring_up
from offload.flow import Flow, Output, Owner, OwnerKind, Term, make_match
from offload.model import BridgeWish
from sriov.errors import InputError, UnreachableError
from sriov.kernel.netns import open_netns, run_in
from tests.netns.offload.conftest import OpenVswitch, Underlay, run

pytestmark = pytest.mark.netns

OWNER = Owner(OwnerKind.PEER, "x")
PROTOCOLS = "protocols=OpenFlow15"


def make_flow(port: int, *, out: int = 2) -> Flow:
    return Flow(0, 1, make_match([Term("in_port", port)]), (Output(out),), OWNER.cookie)


def test_links_are_raised_once_and_absent_ones_left_out(underlay: Underlay) -> None:
    run("ip", "-n", underlay.hub, "link", "add", "a0", "type", "veth", "peer", "name", "a1")
    with open_netns(f"/run/netns/{underlay.hub}") as netns:
        assert run_in(netns, lambda: bring_up(["a0", "nothing"])) == ("a0",)
        assert run_in(netns, lambda: bring_up(["a0", "nothing"])) == ()
    assert "UP" in run("ip", "-n", underlay.hub, "link", "show", "a0")


def test_the_bridges_device_gets_the_addresses_it_lacks_and_keeps_others(underlay: Underlay) -> None:
    run("ip", "-n", underlay.hub, "link", "add", "br-int", "type", "veth", "peer", "name", "a1")
    run("ip", "-n", underlay.hub, "address", "add", "198.51.100.9/24", "dev", "br-int")
    wish = BridgeWish(addresses=(ip_interface("192.0.2.11/24"), ip_interface("2001:db8::11/64")))
    with open_netns(f"/run/netns/{underlay.hub}") as netns:
        assert run_in(netns, lambda: address_bridge(wish)) == wish.addresses
        assert run_in(netns, lambda: address_bridge(wish)) == ()
    shown = run("ip", "-n", underlay.hub, "address", "show", "dev", "br-int")
    assert all(text in shown for text in ("192.0.2.11/24", "2001:db8::11/64", "198.51.100.9/24", "UP"))


@pytest.fixture
def switch(dummy_switch: OpenVswitch) -> OpenVswitch:
    dummy_switch.vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "fail_mode=secure", PROTOCOLS)
    return dummy_switch


def test_flows_are_adopted_changed_and_left_by_a_program_that_comes_and_goes(switch: OpenVswitch) -> None:
    desired = {OWNER: tuple(make_flow(port) for port in range(1, 6))}
    with FlowProgram(switch.folder, "br-int") as program:
        assert program.converge(desired) == (5, 0)
        assert program.converge(desired) == (0, 0)
    with FlowProgram(switch.folder, "br-int") as program:
        assert program.converge(desired) == (0, 0)
        assert program.converge({OWNER: (make_flow(1), make_flow(2, out=9))}) == (1, 3)
    assert len(switch.dump_flows("br-int")) == 2


def test_what_somebody_else_changed_is_mended_when_the_mirror_is_read_anew(switch: OpenVswitch) -> None:
    desired = {OWNER: tuple(make_flow(port) for port in range(1, 4))}
    with FlowProgram(switch.folder, "br-int") as program:
        program.converge(desired)
        before = switch.dump_flows("br-int")
        switch.ofctl("mod-flows", "br-int", "in_port=1 actions=drop")
        switch.ofctl("del-flows", "br-int", "in_port=2")
        assert program.converge(desired) == (0, 0)
        program.forget()
        assert program.converge(desired) == (2, 0)
    assert switch.dump_flows("br-int") == before


def test_after_a_refusal_the_program_goes_on(switch: OpenVswitch) -> None:
    with FlowProgram(switch.folder, "br-int") as program:
        with pytest.raises(InputError, match="refused"):
            program.converge({OWNER: (make_flow(1), make_flow(2, out=0xFFFFFF33))})
        assert switch.dump_flows("br-int") == []
        assert program.converge({OWNER: (make_flow(1),)}) == (1, 0)


def test_a_switch_that_died_is_filled_again_once_it_is_back(switch: OpenVswitch) -> None:
    desired = {OWNER: tuple(make_flow(port) for port in range(1, 6))}
    with FlowProgram(switch.folder, "br-int") as program:
        program.converge(desired)
        assert program.is_connected()
        assert program.filenos()
        switch.stop("ovs-vswitchd")
        assert not program.is_connected()
        assert program.filenos() == []
        with pytest.raises(UnreachableError):
            program.converge(desired)
        switch.start_vswitchd()
        subprocess.run(
            ["ovs-vsctl", f"--db={switch.remote}", "set", "bridge", "br-int", "external_ids:x=y"], check=True
        )
        assert program.converge(desired) == (5, 0)
