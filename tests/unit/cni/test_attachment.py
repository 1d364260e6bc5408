"""The record: what is written is read back, whatever it holds; what is not ours is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.attachment import Call, Home, Phase, Record, parse_record, render_record
from cni.request import AttachmentId
from sriov.errors import InputError
from sriov.link import LinkState, Rates, VfAttributes, VlanProtocol, VlanTag
from sriov.model import MacAddress, PciAddress

macs = st.binary(min_size=6, max_size=6).map(MacAddress)
numbers = st.integers(0, 2**32 - 1)
attributes = st.builds(
    VfAttributes,
    mac=st.none() | macs,
    vlan=st.none() | st.builds(VlanTag, st.integers(0, 4094), st.integers(0, 7), st.sampled_from(VlanProtocol)),
    spoofchk=st.none() | st.booleans(),
    trust=st.none() | st.booleans(),
    link_state=st.none() | st.sampled_from(LinkState),
    rates=st.none() | st.builds(Rates, numbers, numbers),
)
records = st.builds(
    Record,
    attachment=st.builds(AttachmentId, st.text(), st.text()),
    network=st.text(),
    vf=st.builds(PciAddress, st.integers(0, 65535), st.integers(0, 255), st.integers(0, 31), st.integers(0, 7)),
    netns=st.text(),
    netns_inode=numbers,
    phase=st.sampled_from(Phase),
    boot=st.text(),
    home=st.builds(
        Home, numbers, st.text(min_size=1), st.lists(st.text()).map(tuple), macs, numbers, st.booleans(), st.booleans()
    ),
    attributes=attributes,
    call=st.builds(Call, st.none() | st.text(), st.text(), st.text(), st.text(), st.text()),
    mac=st.text(),
    ips=st.lists(st.text()).map(tuple),
)


@given(records)
def test_a_record_is_read_back_as_it_was_written(record: Record) -> None:
    assert parse_record(render_record(record)) == record


@given(st.binary())
def test_other_bytes_are_refused(text: bytes) -> None:
    with pytest.raises(InputError):
        parse_record(text)


@given(records, st.integers(0, 400))
def test_a_truncated_record_is_refused(record: Record, cut: int) -> None:
    with pytest.raises(InputError):
        parse_record(render_record(record).rstrip()[: -cut - 1])


@given(records)
def test_a_later_format_is_refused_and_called_so(record: Record) -> None:
    document = json.loads(render_record(record)) | {"format": 2}
    with pytest.raises(InputError, match="another version wrote it"):
        parse_record(json.dumps(document).encode())


NEEDED = [
    ("containerID",), ("ifname",), ("network",), ("vf",), ("netns",), ("phase",), ("boot",), ("home",), ("attributes",),
    ("call",), ("home", "index"), ("home", "name"), ("home", "mac"), ("home", "mtu"), ("home", "up"), ("home", "tells_parent"),
]  # fmt: skip


@given(records, st.sampled_from(NEEDED))
def test_a_record_that_lacks_what_restoring_needs_is_refused(record: Record, keys: tuple[str, ...]) -> None:
    document = json.loads(render_record(record))
    section = document
    for key in keys[:-1]:
        section = section[key]
    del section[keys[-1]]
    with pytest.raises(InputError, match=keys[-1]):
        parse_record(json.dumps(document).encode())


def test_a_finished_record_knows_what_the_pod_has() -> None:
    home = Home(3, "vf0", (), MacAddress(bytes(6)), 1500, up=False, tells_parent=True)
    call = Call(None, "1.0.0", "", "", "")
    vf = PciAddress(0, 3, 16, 0)
    record = Record(AttachmentId("c", "i"), "n", vf, "/x", 1, Phase.PLANNED, "b", home, VfAttributes(), call)
    done = record.finished(index=7, mac="m", ips=("10.0.0.1/24",))
    assert (done.phase, done.home.index, done.home.name, done.ips) == (Phase.DONE, 7, "vf0", ("10.0.0.1/24",))
