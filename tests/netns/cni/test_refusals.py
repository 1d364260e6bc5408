"""Bad input and bad times: one sentence, its code, nothing changed. Through the daemon and without it."""

from __future__ import annotations

import os

import pytest

from tests.netns.cni.conftest import VFS, Node

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("ipam")]


@pytest.fixture(autouse=True)
def _changes_nothing(node: Node) -> object:
    """Every test here must leave the machine as it was."""
    before = node.home.links()
    yield
    assert node.home.links() == before
    assert node.leftovers() == []


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"deviceID": None}, 7, "k8s.v1.cni.cncf.io/resourceName annotation, or the pod does not request the resource"),
        ({"deviceID": "vf0"}, 7, "'vf0' is not a PCI address"),
        ({"deviceID": "0000:09:00.0"}, 100, "there is no such PCI function"),
        ({"deviceID": "0000:03:00.0"}, 7, "this PCI function is not a VF"),
        ({"vlan": 4095}, 7, "vlan: 4095 is out of range (it must be from 0 to 4094)"),
        ({"vlan": 5, "vlanQoS": 8, "trust": "yes"}, 7, "vlanQoS: 8 is out of range"),
        ({"mac": "01:00:00:00:00:01"}, 7, "is not a unicast address"),
        ({"mtu": 12}, 7, "mtu: 12 is out of range (it must be from 68 to 65535)"),
        ({"vlan": 5}, 102, "set VLAN 5"),
        ({"dpu": {"mode": "kubernetes"}}, 2, "dpu.mode"),
        ({"routes": {}}, 7, "needs addresses, and there is no ipam"),
        ({"ipam": {"type": "no-such-plugin"}}, 100, "no such program in CNI_PATH"),
        ({"ipam": {"type": "../sh"}}, 7, "is not the name of a plugin"),
        ({"ipam": {"type": "host-local"}}, 104, "IPAM host-local"),
        ({"cniVersion": "2.0.0"}, 1, "incompatible CNI versions"),
    ],
)
def test_a_wrong_network_is_refused_in_a_sentence(node: Node, change: dict[str, object], code: int, words: str) -> None:
    said = node.call("ADD", {**node.config(), **change}, netns=node.pod().path)
    assert said.code == code, said
    assert words in str(said.json["msg"])
    assert "\n" not in str(said.json["msg"])


def test_a_namespace_that_is_gone_needs_no_cleaning_up(node: Node) -> None:
    said = node.call("ADD", node.config(), netns="/var/run/netns/gone")
    assert (said.code, "'/var/run/netns/gone'" in str(said.json["msg"])) == (3, True)


def test_an_empty_file_is_no_namespace(node: Node) -> None:
    path = node.folder / "empty"
    path.touch()
    assert node.call("ADD", node.config(), netns=str(path)).code == 8
    assert node.call("DEL", node.config(), netns=str(path)).status == 0


def test_the_nodes_own_namespace_is_no_pod(node: Node) -> None:
    assert node.call("ADD", node.config(), netns=node.home.path).code == 8


def test_a_taken_interface_name_is_refused(node: Node) -> None:
    said = node.call("ADD", node.config(), netns=node.pod().path, ifname="lo")
    assert (said.code, "'lo' exists in the pod already" in str(said.json["msg"])) == (4, True)


def test_a_vf_in_use_is_busy_and_says_whose_it_is(node: Node) -> None:
    first = node.pod()
    assert node.call("ADD", node.config(), netns=first.path).status == 0
    said = node.call("ADD", node.config(), netns=node.pod().path, container="c2")
    assert (said.code, "is in use by interface net1 of container c1" in str(said.json["msg"])) == (11, True)
    assert node.call("ADD", node.config(), netns=first.path).code == 11
    assert node.call("DEL", node.config(), container="c2").status == 0
    assert "net1" in first.links()
    assert node.call("DEL", node.config(), netns=first.path).status == 0


def test_a_vf_without_driver_is_not_attached(node: Node) -> None:
    node.sysfs.place_netdev(VFS[0], None)
    node.sysfs.bind(VFS[0], None)
    assert node.call("ADD", node.config(), netns=node.pod().path).code == 101


@pytest.mark.parametrize("stdin", [b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"name": 7}', b"[" * 100_000])
def test_what_is_no_network_configuration_is_told_so(node: Node, stdin: bytes) -> None:
    for verb in ("ADD", "DEL", "GC", "STATUS", "SOMETHING"):
        assert node.call(verb, stdin, netns=node.pods[0].path if node.pods else node.pod().path).code == 6


def test_a_hanging_disk_of_the_state_is_told_before_anything_moves(node: Node) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root sees a file where a folder should be as more than a permission")
    for folder in ("attachments", "vfs"):
        place = node.state / folder
        if place.exists():
            place.rmdir()
        place.parent.mkdir(exist_ok=True)
        place.write_text("no folder")
        said = node.call("ADD", node.config(), netns=node.pod().path)
        assert said.code == 102, said
        place.unlink()


def test_a_record_nobody_understands_is_kept_and_reported(node: Node) -> None:
    place = node.state / "attachments"
    place.mkdir(parents=True, exist_ok=True)
    record = place / "c1-net1.json"
    for text in ("", "{", '{"format": 99}', '{"format": 1}'):
        record.write_text(text)
        said = node.call("DEL", node.config())
        assert said.code == 105, said
        assert record.read_text() == text
    record.unlink()


@pytest.mark.parametrize("verb", ["CHECK", "WRONG"])
def test_a_verb_that_is_not_performed_is_no_success(node: Node, verb: str) -> None:
    assert node.call(verb, node.config(), netns=node.pod().path).status == 1


def test_status_is_silent_when_all_is_well_and_says_50_when_not(node: Node) -> None:
    config = {**node.config(), "cniVersion": "1.1.0"}
    assert node.call("STATUS", config).text == b""
    assert node.call("STATUS", {**config, "ipam": {"type": "no-such-plugin"}}).code == 50


def test_the_environment_is_checked_as_runtimes_are_used_to(node: Node) -> None:
    said = node.call("ADD", node.config(), netns="", CNI_PATH="")
    assert (said.code, said.json["msg"]) == (4, "required env variables [CNI_NETNS,CNI_PATH] missing")
