"""The database adapter against a real ovsdb-server and ovs-vswitchd."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from offload.model import OWNER_KEY, PortWish
from offload.plan import PROTOCOLS
from offload.step import ChangePort, EnsureBridge, RemovePort
from offload.vswitch.database import open_database
from sriov.errors import InputError, UnreachableError
from tests.netns.offload.conftest import OpenVswitch, wait_until

pytestmark = pytest.mark.netns

BRIDGE = EnsureBridge("br-int", "system", PROTOCOLS, "02:00:00:00:aa:01", "")


def make_port(name: str, *, owner: str = "x", **changes: object) -> ChangePort:
    return ChangePort("br-int", PortWish(name, owner, **changes), "")  # type: ignore[arg-type]


def test_a_bridge_and_its_ports_appear_in_one_transaction_with_their_numbers(dummy_switch: OpenVswitch) -> None:
    with open_database(dummy_switch.remote) as database:
        assert database.read_switch("br-int").bridge is None
        database.apply([BRIDGE, make_port("eth0", ofport_request=300, external_ids=(("iface-id", "a"),))])
        found = database.read_switch("br-int")
    assert found.bridge is not None
    assert (found.bridge.fail_mode, found.bridge.hwaddr) == ("secure", "02:00:00:00:aa:01")
    assert found.bridge.protocols >= PROTOCOLS
    port = found.find_port("eth0")
    assert port is not None
    assert (port.ofport, port.error, port.owner) == (300, "", "x")
    assert dummy_switch.vsctl("get", "bridge", "br-int", "fail_mode") == "secure"


def test_a_port_that_cannot_be_opened_has_an_error_and_no_number(dummy_switch: OpenVswitch) -> None:
    with open_database(dummy_switch.remote) as database:
        database.apply([BRIDGE, make_port("t0", kind="no-such-type")])
        port = database.read_switch("br-int").find_port("t0")
    assert port is not None
    assert port.ofport is None
    assert "no-such-type" in port.error or "Address family" in port.error


def test_what_others_wrote_on_our_port_stays_until_it_changes_hands(dummy_switch: OpenVswitch) -> None:
    with open_database(dummy_switch.remote) as database:
        database.apply([BRIDGE, make_port("eth0", external_ids=(("iface-id", "a"),))])
        dummy_switch.vsctl("set", "interface", "eth0", "external_ids:ovn-installed=true")
        wait_until(lambda: database.refresh() and "ovn-installed" in ids_of(database, "eth0"))
        database.apply([make_port("eth0", external_ids=(("iface-id", "b"),))])
        assert ids_of(database, "eth0") == {"iface-id": "b", "ovn-installed": "true", OWNER_KEY: "x"}
        database.apply([make_port("eth0", owner="y", external_ids=(("iface-id", "c"),))])
        assert ids_of(database, "eth0") == {"iface-id": "c", OWNER_KEY: "y"}


def ids_of(database, name: str) -> dict[str, str]:  # noqa: ANN001
    port = database.read_switch("br-int").find_port(name)
    return dict(port.external_ids) if port else {}


def test_a_number_is_the_next_ports_once_the_port_that_had_it_is_gone(dummy_switch: OpenVswitch) -> None:
    with open_database(dummy_switch.remote) as database:
        database.apply([BRIDGE, make_port("eth0", ofport_request=300)])
        database.apply([RemovePort("br-int", "eth0", ""), make_port("eth9", ofport_request=300)])
        found = database.read_switch("br-int")
    assert found.find_port("eth0") is None
    port = found.find_port("eth9")
    assert port is not None
    assert port.ofport == 300


def test_removing_what_is_gone_is_no_error(dummy_switch: OpenVswitch) -> None:
    with open_database(dummy_switch.remote) as database:
        database.apply([BRIDGE])
        database.apply([RemovePort("br-int", "eth0", ""), RemovePort("br-none", "eth0", "")])


def test_a_change_the_database_refuses_is_told_in_its_words(dummy_switch: OpenVswitch) -> None:
    dummy_switch.vsctl("add-br", "br-other", "--", "add-port", "br-other", "eth0")
    with open_database(dummy_switch.remote) as database:
        database.apply([BRIDGE])
        with pytest.raises(InputError, match="constraint violation"):
            database.apply([make_port("eth0")])
        # And the next change is made all the same.
        database.apply([make_port("eth1")])


def test_others_changes_are_seen(dummy_switch: OpenVswitch) -> None:
    with open_database(dummy_switch.remote) as database:
        before = database.refresh()
        dummy_switch.vsctl("set", "open_vswitch", ".", "other_config:hw-offload=true", "other_config:tc-policy=skip_sw")
        wait_until(lambda: database.refresh() != before)
        found = database.read_switch("br-int")
    assert (found.hw_offload, found.tc_policy) == (True, "skip_sw")


def test_waiting_ends_when_the_database_speaks(dummy_switch: OpenVswitch) -> None:
    with open_database(dummy_switch.remote) as database:
        while database.refresh() is None:
            pass
        thread = threading.Timer(0.2, lambda: dummy_switch.vsctl("add-br", "br-x"))
        thread.start()
        begin = time.monotonic()
        database.wait([], timeout_s=10)
        assert time.monotonic() - begin < 5
        thread.join()


def test_a_vswitchd_that_does_not_take_a_change_over_is_told(dummy_switch: OpenVswitch) -> None:
    with open_database(dummy_switch.remote) as database:
        os.kill(dummy_switch.processes["ovs-vswitchd"].pid, signal.SIGSTOP)
        try:
            with pytest.raises(UnreachableError, match="has the change, but ovs-vswitchd did not take it over within"):
                database.apply([BRIDGE])
        finally:
            os.kill(dummy_switch.processes["ovs-vswitchd"].pid, signal.SIGCONT)


def test_a_database_that_hangs_is_told_and_not_waited_for_without_end(dummy_switch: OpenVswitch) -> None:
    server = dummy_switch.processes["ovsdb-server"].pid
    os.kill(server, signal.SIGSTOP)
    try:
        with (
            pytest.raises(UnreachableError, match="gave no schema of Open_vSwitch within 1 s"),
            open_database(dummy_switch.remote, timeout_s=1),
        ):
            pass
    finally:
        os.kill(server, signal.SIGCONT)
