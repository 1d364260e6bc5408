"""Policies of the operator's shape are read; what is wrong with one is told, all at once."""

from __future__ import annotations

from typing import Any

import pytest

from deviceplugin.provision.policy import parse_policies
from deviceplugin.selector import PfPart
from sriov.errors import InputError
from sriov.model import PciAddress, Pf

PF = Pf(PciAddress(0, 1, 0, 0), "ens1f0", "igb", "8086", "10c9", None, None, 1500, True, None, 0, 7, (), "10ca")


def make_document(*, name: str = "p1", **spec: object) -> dict[str, Any]:
    return {
        "apiVersion": "sriovnetwork.openshift.io/v1",
        "kind": "SriovNetworkNodePolicy",
        "metadata": {"name": name, "namespace": "n", "labels": {"a": "b"}},
        "spec": {"resourceName": "vfs", "numVfs": 4, "nicSelector": {"pfNames": ["ens1f0"]}} | spec,
    }


def refused(*documents: object) -> str:
    with pytest.raises(InputError) as error:
        parse_policies(documents, source="p.yaml")
    return str(error.value)


def test_a_policy_of_the_operators_shape_is_read() -> None:
    (policy,) = parse_policies(
        [
            make_document(
                nodeSelector={"feature.node.kubernetes.io/network-sriov.capable": "true"},
                priority=10,
                mtu=9000,
                nicSelector={
                    "vendor": "8086",
                    "deviceID": "10C9",
                    "pfNames": ["ens1f0#0-1"],
                    "rootDevices": ["0000:01:00.0"],
                },
                deviceType="netdevice",
                isRdma=False,
                linkType="ETH",
                eSwitchMode="legacy",
                externallyManaged=True,
            )
        ],
        source="p.yaml",
    )
    assert (policy.name, policy.resource, policy.priority) == ("p1", "vfs", 10)
    assert (policy.num_vfs, policy.mtu, policy.eswitch_mode, policy.externally_managed) == (4, 9000, "legacy", True)
    assert policy.selector.find_part(PF) == PfPart("ens1f0", ((0, 1),))
    assert str(policy.selector) == "vendor=8086 deviceID=10c9 pfNames=ens1f0#0-1 rootDevices=0000:01:00.0"


@pytest.mark.parametrize("kind", ["List", "SriovNetworkNodePolicyList"])
def test_lists_and_documents_hold_policies(kind: str) -> None:
    listed = {"apiVersion": "v1", "kind": kind, "items": [make_document(name="a"), make_document(name="b")]}
    assert [p.name for p in parse_policies([listed, make_document(name="c")], source="p")] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ({"vendor": "8086"}, True),
        ({"vendor": "15b3"}, False),
        ({"deviceID": "10c9"}, True),
        ({"deviceID": "10ca"}, False),
        ({"rootDevices": ["0000:01:00.0"]}, True),
        ({"rootDevices": ["0000:02:00.0"]}, False),
        ({"pfNames": ["ens1f0", "ens1f1"]}, True),
        ({"pfNames": ["ens1f1"]}, False),
        ({"vendor": "8086", "pfNames": ["ens1f1"]}, False),
    ],
)
def test_a_selector_takes_a_pf_when_every_key_fits(selector: dict[str, Any], fits: bool) -> None:
    (policy,) = parse_policies([make_document(nicSelector=selector)], source="p")
    assert (policy.selector.find_part(PF) is not None) is fits


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"numVfs": "4"}, "p.yaml: spec.numVfs: '4' is a text, must be an integer"),
        ({"numVfs": True}, "True is a boolean, must be an integer"),
        ({"numVfs": -1}, "-1 is out of range"),
        ({"numVfs": None}, "spec.numVfs: is missing"),
        ({"numvfs": 4}, "spec.numvfs: is not a known key (did you mean 'numVfs'?)"),
        ({"mtu": 65536}, "65536 is out of range (it must be from 68 to 65535)"),
        ({"priority": 100}, "100 is out of range (it must be from 0 to 99)"),
        ({"resourceName": None}, "spec.resourceName: is missing"),
        ({"nicSelector": None}, "spec.nicSelector: is missing"),
        ({"nicSelector": {}}, "spec.nicSelector: selects by nothing"),
        ({"nicSelector": {"pfNames": []}}, "spec.nicSelector: selects by nothing"),
        ({"nicSelector": {"pfName": ["x"]}}, "did you mean 'pfNames'?"),
        ({"nicSelector": {"vendor": "intel"}}, "'intel' is not a PCI id"),
        ({"nicSelector": {"rootDevices": ["ens1f0"]}}, "rootDevices[0]: 'ens1f0' is not a PCI address"),
        ({"nicSelector": {"netFilter": "openstack/NetworkID:x"}}, "nicSelector.netFilter: is not supported"),
        ({"nicSelector": {"pfNames": ["ens1f0#2-4"]}}, "'ens1f0#2-4' names VF 4, numVfs 4 makes none of that number"),
        ({"deviceType": "vfio-pci"}, "spec.deviceType: 'vfio-pci' is not supported yet"),
        ({"deviceType": "vfio"}, "'vfio' is not one of netdevice, vfio-pci"),
        ({"linkType": "ib"}, "spec.linkType: 'ib' is not supported yet"),
        ({"eSwitchMode": "switch"}, "did you mean 'switchdev'?"),
        ({"isRdma": True}, "spec.isRdma: is not supported yet"),
        ({"bridge": {"ovs": {}}}, "spec.bridge: is not supported yet"),
        ({"externallyManaged": "no"}, "must be true or false"),
    ],
)
def test_a_fault_is_told_with_its_place(spec: dict[str, Any], said: str) -> None:
    assert said in refused(make_document(**spec))


def test_faults_outside_the_spec_are_told() -> None:
    assert "p.yaml: apiVersion: 'v1' is not one of sriovnetwork.openshift.io/v1" in refused(
        make_document() | {"apiVersion": "v1"}
    )
    assert "kind: 'SriovNetworkNodePolic' is not one of" in refused(make_document() | {"kind": "SriovNetworkNodePolic"})
    assert "metadata.name: is missing" in refused(make_document() | {"metadata": {}})
    assert "spec: is missing" in refused({key: value for key, value in make_document().items() if key != "spec"})
    assert "p.yaml:: is a text, must be a mapping" in refused("policy")
    assert "p.yaml: items[0]: is nothing, must be a mapping" in refused({"kind": "List"})
    assert "p.yaml: has no policy in it" in refused()


def test_all_faults_of_all_documents_are_told_at_once() -> None:
    said = refused(make_document(numVfs="4", mtu=1), make_document(name="p2", foo=1), make_document(name="p2"))
    assert [line.split(":")[1].strip() for line in said.splitlines()] == [
        "document 1.spec.numVfs",
        "document 1.spec.mtu",
        "document 2.spec.foo",
    ]


def test_two_policies_of_one_name_are_refused() -> None:
    assert "'p1' is given twice" in refused(make_document(), make_document())
