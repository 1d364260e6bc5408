"""The peer's configuration is accepted as it is; what is wrong with one is told, all at once."""

from __future__ import annotations

import pytest

from deviceplugin.config import Config
from deviceplugin.selector import Selector
from sriov.errors import InputError

# All keys of sriov-network-device-plugin that this version follows, in its own shapes.
UPSTREAM = {
    "resourceList": [
        {
            "resourceName": "intel_sriov_netdevice",
            "selectors": [
                {"vendors": ["8086"], "devices": ["154c", "10ed"], "drivers": ["i40evf", "iavf", "ixgbevf"]},
                {"rootDevices": ["0000:86:00.0"]},
            ],
            "additionalInfo": {"*": {"token": "t"}, "0000:86:10.0": {"token": "u"}},
        },
        {
            "resourceName": "mlnx_vfs",
            "resourcePrefix": "mellanox.com",
            "deviceType": "netDevice",
            "excludeTopology": True,
            "selectors": {"vendors": ["15b3"], "pfNames": ["enp94s0f0#0,2-7"], "isRdma": False},
        },
    ]
}


def refused(document: object) -> str:
    with pytest.raises(InputError) as error:
        Config.parse(document, source="c.yaml")
    return str(error.value)


def pool(**keys: object) -> dict[str, object]:
    return {"resourceList": [{"resourceName": "vfs", **keys}]}


def test_the_peers_configuration_is_accepted_as_it_is() -> None:
    config = Config.parse(UPSTREAM, source="config.json")
    first, second = config.pools
    assert first.resource == "intel.com/intel_sriov_netdevice"
    assert first.socket == "intel.com_intel_sriov_netdevice.sock"
    assert len(first.selectors) == 2
    assert first.additional["0000:86:10.0"] == {"token": "u"}
    assert second.resource == "mellanox.com/mlnx_vfs"
    assert second.exclude_topology
    assert not first.exclude_topology


def test_one_selector_may_stand_for_a_list_of_one() -> None:
    (one,) = Config.parse(pool(selectors={"drivers": ["iavf"]}), source="c").pools
    assert one.selectors == (Selector(drivers=("iavf",)),)


def test_the_prefix_of_the_command_line_holds_for_pools_that_name_none() -> None:
    (one,) = Config.parse(pool(), source="c", prefix="example.com").pools
    assert one.resource == "example.com/vfs"


def test_device_files_go_where_the_specification_says_or_where_the_author_says() -> None:
    assert str(Config.parse(pool(), source="c").device_files) == "/var/run/k8s.cni.cncf.io/devinfo/dp"
    assert str(Config.parse({**pool(), "deviceInfoDir": "/tmp/x"}, source="c").device_files) == "/tmp/x"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "c.yaml: resourceList: is missing"),
        ([], "c.yaml:: is a list, must be a mapping"),
        (None, "is nothing, must be a mapping"),
        ({"resourcelist": []}, "did you mean 'resourceList'?"),
        ({"resourceList": {}}, "resourceList: {} is a mapping, must be a list"),
        ({"resourceList": ["vfs"]}, "resourceList[0]: is a text, must be a mapping"),
        ({"resourceList": [{}]}, "resourceList[0].resourceName: is missing"),
        (pool(resourceName=5), "resourceList[0].resourceName: 5 is an integer"),
        (pool(resourceName="a/b"), "'a/b' is not a resource name"),
        (pool(resourceName="vf_"), "'vf_' is not a resource name"),
        (pool(resourcePrefix="Intel.com"), "'Intel.com' is not a DNS name"),
        (pool(resourcePrefix="x.kubernetes.io"), "'x.kubernetes.io' is Kubernetes' own"),
        (pool(deviceType="accelerator"), "'accelerator' is not supported yet"),
        (pool(deviceType="netdevice"), "did you mean 'netDevice'?"),
        (pool(selectors="all"), "'all' is a text, must be a list"),
        (pool(selectors=[{"pfNames": ["ens1f0#5-2"]}]), "ends before it begins"),
        (pool(selectors={"pfName": ["ens1f0"]}), "selectors[0].pfName: is not a known key (did you mean 'pfNames'?)"),
        (pool(additionalInfo={"*": {"a": 1}}), "additionalInfo.*.a: 1 is an integer"),
        (pool(excludeTopology="yes"), "must be true or false"),
        ({**pool(), "deviceInfoDir": "devinfo"}, "'devinfo' is not an absolute path"),
        ({"resourceList": [{"resourceName": "a"}, {"resourceName": "a"}]}, "'intel.com/a' stands in the list twice"),
    ],
)
def test_a_fault_is_told_with_its_place(document: object, said: str) -> None:
    assert said in refused(document)


def test_all_faults_are_told_at_once() -> None:
    said = refused(
        {"resourceList": [{"resourceName": "a b", "selectors": {"vendors": ["x"]}}, {"deviceTyp": "netDevice"}], "x": 1}
    )
    assert len(said.splitlines()) == 5
