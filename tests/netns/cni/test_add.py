"""What an ADD may be about besides a plain VF: one that a program has, a PF in switchdev mode, what the runtime asks for."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.netns.cni.conftest import PF, VFS, Namespace, Node

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("ipam")]


def hand_over(node: Node, driver: str = "vfio-pci") -> None:
    """Bind VF 0 to a driver that hands it to programs."""
    node.home.run("ip", "link", "del", "vf0")
    node.sysfs.place_netdev(VFS[0], None)
    node.sysfs.bind(VFS[0], driver)


def test_a_vf_for_a_program_is_reported_and_nothing_moves(node: Node) -> None:
    hand_over(node)
    before, pod = set(node.home.links()), node.pod()
    config = node.config(ipam=True)
    said = node.call("ADD", config, netns=pod.path)
    assert said.status == 0, said
    assert said.json["interfaces"] == [{"name": "net1", "sandbox": pod.path, "pciID": VFS[0]}]
    assert [ip["address"] for ip in said.json["ips"]] == ["10.9.0.2/24", "fd09::2/64"]
    assert (set(node.home.links()), set(pod.links())) == (before, {"lo"})
    record = json.loads((node.state / "attachments/c1-net1.json").read_text())
    assert (record["kind"], record["phase"]) == ("userspace", "done")
    config |= {"prevResult": said.json}
    assert node.call("CHECK", config, netns=pod.path).status == 0
    assert node.call("ADD", config, netns=node.pod().path, container="c2").code == 11
    assert node.call("DEL", config, netns=pod.path).status == 0
    assert (set(node.home.links()), node.leftovers()) == (before, [])


@pytest.mark.parametrize("driver", ["uio_pci_generic", "igb_uio"])
def test_check_tells_when_no_program_can_have_it_any_more(idle_node: Node, driver: str) -> None:
    node, pod = idle_node, idle_node.pod()
    hand_over(node, driver)
    added = node.call("ADD", node.config(), netns=pod.path)
    assert added.status == 0, added
    node.sysfs.bind(VFS[0], None)
    said = node.call("CHECK", node.config(prevResult=added.json), netns=pod.path)
    assert (said.code, "is bound to no driver" in str(said.json["msg"])) == (103, True)
    assert node.call("DEL", node.config(), netns="").status == 0
    assert node.leftovers() == []


def test_a_programs_vf_goes_to_the_next_pod_when_the_namespace_of_the_last_is_gone(idle_node: Node) -> None:
    node, first, second = idle_node, idle_node.pod(), idle_node.pod()
    hand_over(node)
    assert node.call("ADD", node.config(), netns=first.path).status == 0
    first.end()
    assert node.call("ADD", node.config(), netns=second.path, container="c2").status == 0
    assert node.call("DEL", node.config(), netns=first.path).status == 0
    assert node.leftovers() == [VFS[0], "c2-net1.json"]


def test_a_programs_vf_has_no_mtu_to_set(idle_node: Node) -> None:
    hand_over(idle_node)
    said = idle_node.call("ADD", idle_node.config(mtu=1400), netns=idle_node.pod().path)
    assert (said.code, "so its MTU cannot be set to 1400" in str(said.json["msg"])) == (101, True)


def test_in_switchdev_mode_the_uplink_is_asked_and_no_representor(node: Node) -> None:
    """They stand in one folder; the first by name is a representor, whose link does not even exist here."""
    for number in range(2):
        node.sysfs.add_representor(PF, f"eth{number}", phys_port_name=f"pf0vf{number}")
    pod = node.pod()
    assert node.call("ADD", node.config(), netns=pod.path).status == 0
    assert node.call("DEL", node.config(), netns=pod.path).status == 0
    said = node.call("ADD", node.config(trust="on", vlan=5), netns=pod.path)
    assert said.code == 102, said
    assert "kernel refused to set VLAN 5 (qos 0, 802.1q) of VF 0: ENOTSUP" in str(said.json["msg"])
    assert "the PF's driver is igb" in str(said.json["msg"])
    assert node.leftovers() == []


def test_the_runtimes_own_wishes_are_met(node: Node, tmp_path: Path) -> None:
    pod, described = node.pod(), tmp_path / "described.json"
    runtime = {
        "mac": "0a:58:0a:01:01:09", "ips": ["10.9.0.77/24"], "deviceID": VFS[0], "CNIDeviceInfoFile": str(described),
    }  # fmt: skip
    config = node.config(runtimeConfig=runtime, ipam=True, mac="0a:58:0a:01:01:02")
    del config["deviceID"]
    config["ipam"]["ranges"] = config["ipam"]["ranges"][:1]
    said = node.call("ADD", config, netns=pod.path)
    assert said.status == 0, said
    assert (said.json["interfaces"][0]["mac"], said.json["ips"][0]["address"]) == ("0a:58:0a:01:01:09", "10.9.0.77/24")
    assert json.loads(described.read_text())["pci"] == {"pci-address": VFS[0], "pf-pci-address": PF}
    assert node.call("DEL", config, netns=pod.path).status == 0
    assert node.leftovers() == []


def plugin(node: Node, script: str) -> dict[str, str]:
    """Install an IPAM plugin; gives the variables with which it is found."""
    path = node.folder / "bin/own-ipam"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"CNI_PATH": str(path.parent)}


def own(node: Node, **keys: object) -> dict[str, object]:
    return node.config(cniVersion="1.1.0", **keys) | {"ipam": {"type": "own-ipam"}}


BAD_IPAM = (
    ("exit 0", "its answer is not JSON"),
    ("echo '{}'", "it gave no address"),
    ("echo nonsense", "its answer is not JSON"),
    ('echo \'{"code": 7, "msg": "no range"}\'; exit 1', "no range"),
    ('echo \'{"ips": [{"address": "10.9.0.2/24"}]}\'', "not 10.9.0.77 which runtimeConfig.ips asks for"),
)


def test_ipam_that_does_not_do_its_part_leaves_nothing_behind(node: Node) -> None:
    before, pod = node.vf_link(), node.pod()
    config = own(node, runtimeConfig={"ips": ["10.9.0.77"]})
    for number, (script, words) in enumerate(BAD_IPAM):
        asked = node.folder / f"verbs-{number}"
        variables = plugin(node, f"echo $CNI_COMMAND >> {asked}; test $CNI_COMMAND = ADD || exit 0; {script}")
        said = node.call("ADD", config, netns=pod.path, **variables)
        assert (said.code, words in str(said.json["msg"])) == (104, True), said
        assert (node.vf_link(), node.leftovers(), set(pod.links())) == (before, [], {"lo"})
        # Its own release is asked for, whatever became of the ADD.
        assert asked.read_text().split() == ["ADD", "DEL"]


def test_a_plugin_that_answers_every_call_with_its_own_error_leaves_no_record(idle_node: Node) -> None:
    """A wrong IPAM configuration: it has given nothing, and would never say that it has taken it back."""
    node, pod = idle_node, idle_node.pod()
    variables = plugin(node, 'echo \'{"code": 7, "msg": "no range"}\'; exit 1')
    assert node.call("ADD", own(node), netns=pod.path, **variables).code == 104
    assert node.leftovers() == []


def test_addresses_that_may_have_been_given_stay_on_record_until_they_are_released(idle_node: Node) -> None:
    node, pod = idle_node, idle_node.pod()
    before = node.vf_link()
    variables = plugin(node, "echo nonsense; exit 1")
    assert node.call("ADD", own(node), netns=pod.path, **variables).code == 104
    assert (node.vf_link(), node.leftovers()) == (before, ["c1-net1.json"])
    assert node.call("DEL", own(node), netns=pod.path, **plugin(node, "exit 0")).status == 0
    assert node.leftovers() == []


def test_a_route_of_cni_1_1_comes_into_the_pod_with_all_it_says(node: Node) -> None:
    answer = {
        "cniVersion": "1.1.0",
        "ips": [{"address": "10.9.0.2/24", "gateway": "10.9.0.1"}],
        "routes": [
            {"dst": "10.20.0.0/16", "mtu": 1300, "advmss": 1200, "priority": 50, "table": 100},
            {"dst": "10.21.0.0/16", "scope": 253},
        ],
        "dns": {"nameservers": ["10.9.0.53"], "search": ["example"]},
    }
    pod, config = node.pod(), own(node)
    said = node.call("ADD", config, netns=pod.path, **plugin(node, f"echo '{json.dumps(answer)}'"))
    assert said.status == 0, said
    (route,) = pod.ip("route", "show", "table", "100")
    assert (route["dst"], route["gateway"], route["metric"]) == ("10.20.0.0/16", "10.9.0.1", 50)
    assert route["metrics"] == [{"mtu": 1300, "advmss": 1200}]
    (route,) = pod.ip("route", "show", "10.21.0.0/16")
    assert (route.get("gateway"), route["scope"]) == (None, "link")
    assert said.json["routes"] == [{**answer["routes"][0], "gw": "10.9.0.1"}, answer["routes"][1]]
    assert said.json["dns"] == answer["dns"]
    config["prevResult"] = said.json
    assert node.call("CHECK", config, netns=pod.path, **plugin(node, "exit 0")).status == 0


def test_ipam_that_hangs_is_ended_at_its_deadline(idle_node: Node) -> None:
    """In this process, with a deadline that a test can wait for."""
    node, pod = idle_node, idle_node.pod()
    before = node.vf_link()
    began = time.monotonic()
    plugin(node, 'test "$CNI_COMMAND" = DEL || sleep 100')
    said = call_here(node, own(node), pod, deadline_s=4)
    assert (said["code"], "gave no answer in 4 s and was killed" in str(said["msg"])) == (11, True)
    assert time.monotonic() - began < 50
    assert (node.vf_link(), node.leftovers()) == (before, [])


def test_no_verb_waits_for_ipam_beyond_its_own_deadline(idle_node: Node) -> None:
    node, pod = idle_node, idle_node.pod()
    before, config = node.vf_link(), own(node)
    given = {"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.7/24"}]}
    assert node.call("ADD", config, netns=pod.path, **plugin(node, f"echo '{json.dumps(given)}'")).status == 0
    plugin(node, "sleep 100")
    began = time.monotonic()
    for verb in ("STATUS", "GC", "DEL"):
        valid = [{"containerID": "c1", "ifname": "net1"}]
        document = {**config, "cniVersion": "1.1.0", "cni.dev/valid-attachments": valid}
        said = call_here(node, document, pod, verb=verb, deadline_s=60, pace_s=3)
        assert "gave no answer in" in str(said["msg"]), (verb, said)
    assert time.monotonic() - began < 50
    # The VF is home; the record stays for the addresses.
    assert (node.vf_link(), node.leftovers() != []) == (before, True)
    assert node.call("DEL", config, netns=pod.path, **plugin(node, "exit 0")).status == 0
    assert node.leftovers() == []


def call_here(
    node: Node, config: dict[str, object], pod: Namespace, *, deadline_s: float, verb: str = "ADD", pace_s: float = 90
) -> dict[str, object]:
    script = (
        "import os, sys\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from cni.pace import Pace\n"
        "from cni.perform import Caller, perform, read_node\n"
        f"node = read_node(sysfs=Path({str(node.sysfs.root)!r}), state=Path({str(node.state)!r}))\n"
        f"netns = os.open({pod.path!r}, os.O_RDONLY)\n"
        f"caller = Caller(dict(os.environ), {json.dumps(config).encode()!r}, netns)\n"
        f"sys.stdout.buffer.write(perform(caller, replace(node, ipam_deadline_s={deadline_s}), pace=Pace(deadline_s={pace_s})).text)\n"
    )
    return json.loads(node.run_python(script, netns=pod.path, CNI_COMMAND=verb, CNI_PATH=str(node.folder / "bin")))


def test_a_networks_log_file_has_its_calls_and_no_others(node: Node) -> None:
    pod, log = node.pod(), node.folder / "network.log"
    config = node.config(logFile=str(log), logLevel="info", trst="on")
    assert node.call("ADD", config, netns=pod.path).status == 0
    assert node.call("ADD", node.config(1), netns=pod.path, ifname="net2").status == 0
    assert node.call("DEL", config, netns=pod.path).status == 0
    lines = log.read_text().splitlines()
    assert [line.split(": ", 1)[1].split(" ")[0] for line in lines] == ["network", "call", "call"]
    assert "did you mean 'trust'?" in lines[0]
    assert ["verb=ADD" in lines[1], "verb=DEL" in lines[2], "ifname=net2" in "".join(lines)] == [True, True, False]


def test_capabilities_nobody_of_us_knows_are_left_alone(idle_node: Node) -> None:
    runtime = {"io.kubernetes.cri.pod-annotations": {"a": "b"}, "portMappings": [{"hostPort": 1}], "cgroupPath": "/x"}
    assert idle_node.call("ADD", idle_node.config(runtimeConfig=runtime), netns=idle_node.pod().path).status == 0
