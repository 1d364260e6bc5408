from __future__ import annotations

from ipaddress import ip_interface
from pathlib import Path

import pytest

from offload.agent.config import AgentConfig, read_config
from sriov.errors import InputError

WHOLE = """
ovsdb: unix:/run/ovs/db.sock
runDir: /run/ovs
bridge: {name: br-pods, datapathType: netdev, addresses: [192.0.2.11/24, "2001:db8::11/64"]}
uplink: p0
switchId: 00e1c20f0a5b
state: file:/etc/dpukit/state.yaml
"""


def test_nothing_said_is_all_defaults() -> None:
    for text in ("", "{}"):
        assert AgentConfig.parse(text, source="agent.yaml") == AgentConfig()
    assert AgentConfig().ovsdb == "unix:/var/run/openvswitch/db.sock"
    assert AgentConfig().uplink == "auto"
    assert AgentConfig().bridge.name == "br-int"


def test_everything_said_is_taken() -> None:
    config = AgentConfig.parse(WHOLE, source="agent.yaml")
    assert config.run_dir == Path("/run/ovs")
    assert config.bridge.addresses == (ip_interface("192.0.2.11/24"), ip_interface("2001:db8::11/64"))
    assert config.switch_id == "00e1c20f0a5b"
    assert config.state == Path("/etc/dpukit/state.yaml")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("upling: p0", "agent.yaml: upling: is not a known key (did you mean 'uplink'?)"),
        ("bridge: {nam: x}", "agent.yaml: bridge.nam: is not a known key (did you mean 'name'?)"),
        ("bridge: br-int", "agent.yaml: bridge: is a text, must be a mapping"),
        ("bridge: {name: a-name-that-is-too-long}", "cannot be the name of a network device"),
        ("bridge: {addresses: [192.0.2.11]}", "is not an IP address with a prefix length"),
        ("bridge: {datapathType: dpdk}", "'dpdk' is not one of system, netdev"),
        ("ovsdb: /run/db.sock", "'/run/db.sock' is no address of a database"),
        ("runDir: run", "'run' is not an absolute path"),
        ("switchId: 0x12", "agent.yaml: switchId: 18 is an integer, must be a text"),
        ("state: https://example.net", "is no source of desired state (write it as file:/path/to/state.yaml)"),
        ("a: [", "agent.yaml:"),
    ],
)
def test_a_fault_is_told_by_its_place(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        AgentConfig.parse(text, source="agent.yaml")
    assert sentence in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert read_config(None) == AgentConfig()
    with pytest.raises(InputError, match="cannot read it: No such file"):
        read_config(tmp_path / "none.yaml")
    path = tmp_path / "agent.yaml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not UTF-8"):
        read_config(path)
