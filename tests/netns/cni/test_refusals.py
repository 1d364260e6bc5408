"""Bad input and bad times: one sentence, its code, nothing changed. Through the daemon and without it."""

from __future__ import annotations

import os

import pytest

from tests.netns.cni.conftest import VFS, Node

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("ipam")]


WRONG: tuple[tuple[dict[str, object], int, str], ...] = (
    ({"deviceID": None}, 7, "k8s.v1.cni.cncf.io/resourceName annotation, or the pod does not request the resource"),
    ({"deviceID": "vf0"}, 7, "'vf0' is not a PCI address"),
    ({"deviceID": "0000:09:00.0"}, 100, "there is no such PCI function"),
    ({"deviceID": "0000:03:00.0"}, 7, "this PCI function is not a VF"),
    ({"vlan": 4095}, 7, "vlan: 4095 is out of range (it must be from 0 to 4094)"),
    ({"vlan": 5, "vlanQoS": 8, "trust": "yes"}, 7, "vlanQoS: 8 is out of range"),
    ({"mac": "01:00:00:00:00:01"}, 7, "is not a unicast address"),
    ({"mtu": 12}, 7, "mtu: 12 is out of range (it must be from 68 to 65535)"),
    ({"vlan": 5}, 102, "set VLAN 5 (qos 0, 802.1q) of VF 0: ENOTSUP"),
    ({"dpu": {"mode": "kubernetes"}}, 2, "dpu.mode"),
    ({"runtimeConfig": {"infinibandGUID": "c2:11"}}, 2, "runtimeConfig.infinibandGUID"),
    ({"runtimeConfig": {"bandwidth": {"ingressRate": 5}}}, 2, "runtimeConfig.bandwidth.ingressRate"),
    ({"runtimeConfig": {"deviceID": "0000:03:10.1"}}, 7, "is not runtimeConfig.deviceID, '0000:03:10.1'"),
    ({"runtimeConfig": {"ips": ["10.9.0.7/24"]}}, 7, "asks for 10.9.0.7, and there is no ipam"),
    ({"vlan": "100"}, 7, "write it without quotes: 100"),
    ({"logLevel": "loud"}, 7, "logLevel: 'loud' is not one of panic, error, warning, info, debug"),
    ({"routes": {}}, 7, "needs addresses, and there is no ipam"),
    ({"ipam": {"type": "no-such-plugin"}}, 100, "no such program in CNI_PATH"),
    ({"ipam": {"type": "../sh"}}, 7, "is not the name of a plugin"),
    ({"ipam": {"type": "host-local"}}, 104, "IPAM host-local"),
    ({"cniVersion": "2.0.0"}, 1, "incompatible CNI versions"),
)


@pytest.fixture(autouse=True)
def _changes_nothing(node: Node) -> object:
    """Every test here must leave the machine as it was."""
    before = links_at_home(node)
    yield
    assert links_at_home(node) == before
    assert node.leftovers() == []


def links_at_home(node: Node) -> dict[str, object]:
    """Tell all about the VFs, which are down; what is up follows a carrier that comes and goes in its own time."""
    return {name: link if name.startswith("vf") else None for name, link in node.home.links().items()}


def test_a_wrong_network_is_refused_in_a_sentence(node: Node) -> None:
    before, pod = links_at_home(node), node.pod()
    for change, code, words in WRONG:
        said = node.call("ADD", {**node.config(), **change}, netns=pod.path)
        assert (said.code, words in str(said.json["msg"])) == (code, True), said
        assert "\n" not in str(said.json["msg"])
        assert (links_at_home(node), set(pod.links())) == (before, {"lo"}), said


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
    said = node.call("ADD", node.config(), netns=node.home.path, CNI_NETNS_OVERRIDE="TRUE")
    assert (said.code, "a VF is at home there" in str(said.json["msg"])) == (8, True)


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


def test_a_vf_that_somebody_else_gave_away_is_busy(node: Node) -> None:
    pod = node.pod()
    node.home.run("ip", "link", "set", "vf0", "netns", str(pod.keeper.pid))
    node.sysfs.place_netdev(VFS[0], None)
    said = node.call("ADD", node.config(), netns=node.pod().path)
    assert (said.code, "has no network device here" in str(said.json["msg"])) == (11, True)
    pod.run("ip", "link", "set", "vf0", "netns", str(node.home.keeper.pid))


def test_a_vf_without_driver_is_not_attached(node: Node) -> None:
    node.sysfs.place_netdev(VFS[0], None)
    node.sysfs.bind(VFS[0], None)
    assert node.call("ADD", node.config(), netns=node.pod().path).code == 101


def test_what_is_no_network_configuration_is_told_so(node: Node) -> None:
    pod = node.pod()
    for stdin in (b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"name": 7}', b"[" * 100_000):
        for verb in ("ADD", "DEL", "CHECK", "GC", "STATUS", "SOMETHING"):
            assert node.call(verb, stdin, netns=pod.path).code == 6


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


def test_a_verb_that_is_none_is_no_success(node: Node) -> None:
    said = node.call("WRONG", node.config(), netns=node.pod().path)
    assert (said.code, said.json["msg"]) == (4, "unknown CNI_COMMAND: WRONG")


def test_status_is_silent_when_all_is_well_and_says_50_when_not(node: Node) -> None:
    config = {**node.config(), "cniVersion": "1.1.0"}
    assert node.call("STATUS", config).text == b""
    assert node.call("STATUS", {**config, "ipam": {"type": "no-such-plugin"}}).code == 50


def test_the_environment_is_checked_as_runtimes_are_used_to(node: Node) -> None:
    said = node.call("ADD", node.config(), netns="", CNI_PATH="")
    assert (said.code, said.json["msg"]) == (4, "required env variables [CNI_NETNS,CNI_PATH] missing")
