"""The executable answers whatever it is given: one result or one error on standard output, and nothing else there."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cni.request import Verb
from tests.fuzz.target import SEEDS, parse
from tests.netns.cni.conftest import VFS, Node, Said

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

EXAMPLES = 1000 if os.environ.get("DPUKIT_HYPOTHESIS") == "nightly" else 20

# The seeds' own IPAM plugins are not on this machine, and none of the machine's may be named by chance.
NO_PROGRAMS = "/nowhere"

words = st.sampled_from(["1.0.0", "0.2.0", "1.1.0", VFS[0], "0a:58:00:00:00:01", "on", "net1", "\ud800", "é", ""])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
keys = st.sampled_from(
    [
        "cniVersion",
        "deviceID",
        "vlan",
        "mac",
        "trust",
        "mtu",
        "routes",
        "prevResult",
        "runtimeConfig",
        "ipam",
        "dns",
        "args",
    ]
)
documents = st.dictionaries(keys, values, max_size=4).map(
    lambda found: json.dumps({"cniVersion": "1.0.0", "name": "net0", "deviceID": VFS[0]} | found).encode()
)
# What the kernel takes as a variable's value: anything but NUL.
variables = st.binary(max_size=12).map(lambda text: os.fsdecode(text.replace(b"\0", b"")))


def check(said: Said) -> None:
    assert said.status in (0, 1), said
    assert "Traceback" not in said.log
    if said.status == 1:
        assert isinstance(said.json["code"], int)
        assert said.json["code"] != 999
        assert said.json["msg"]
        assert said.json["cniVersion"]
    else:
        assert said.text == b"" or said.json["cniVersion"]


def test_any_bytes_and_any_environment_are_answered(node: Node) -> None:
    pod = node.pod()

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from([*Verb, "", "JUMP"]) | variables,
        documents | st.binary(max_size=30),
        variables | st.just("c1"),
        variables | st.just("net1"),
        variables | st.just(""),
    )
    def answered(verb: str, stdin: bytes, container: str, ifname: str, args: str) -> None:
        more = {"CNI_PATH": NO_PROGRAMS, "CNI_ARGS": args}
        said = node.call(verb, stdin, container=container, ifname=ifname, netns=pod.path, **more)
        check(said)
        if said.status == 0 and b"interfaces" in said.text:
            assert node.call("DEL", node.config(), container=container, ifname=ifname, netns=pod.path).status == 0
        assert node.vf_link() is not None

    answered()


def test_what_the_fuzzer_starts_from_is_answered(idle_node: Node) -> None:
    idle_node.start_daemon()
    pod = idle_node.pod()
    for path in sorted(SEEDS.iterdir()):
        environment, stdin = parse(path.read_bytes())
        environment |= {"CNI_PATH": NO_PROGRAMS}
        netns = pod.path if environment.pop("CNI_NETNS", "") == "pod" else "/nowhere"
        verb = environment.pop("CNI_COMMAND", "")
        said = idle_node.call(verb, stdin or b"", netns=netns, **environment)
        check(said)
        if said.status == 0 and verb == "ADD":
            assert idle_node.call("DEL", idle_node.config(), netns=pod.path).status == 0
    assert idle_node.leftovers() == []
