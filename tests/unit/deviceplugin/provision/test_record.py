"""What is remembered, and who may provision."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deviceplugin.model import HostPf
from deviceplugin.provision.record import InitialState, Records
from sriov.errors import BusyError, InputError, KernelError
from sriov.model import NetdevState, PciAddress, Pf

ADDRESS = PciAddress(0, 1, 0, 0)
VF = PciAddress(0, 1, 0x10, 0)


def make_pf(num_vfs: int = 0, mtu: int | None = 1500) -> HostPf:
    pf = Pf(ADDRESS, "ens0", "igb", "8086", "10c9", None, None, mtu, True, None, num_vfs, 7, (), "10ca")
    return HostPf(pf, NetdevState("ens0", mtu, up=True, carrier=True) if mtu else None, ())


@pytest.mark.parametrize("mtu", [1500, None])
@pytest.mark.parametrize("autoprobe", [True, False])
def test_a_record_reads_as_it_was_written(mtu: int | None, autoprobe: bool) -> None:
    state = InitialState(ADDRESS, 3, mtu, vf_autoprobe=autoprobe)
    assert InitialState.parse(state.render(), source="r") == state


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"pf": "x", "numVfs": 1, "mtu": 1}', '{"pf": 5, "numVfs": 1, "mtu": 1}']
)
def test_another_text_is_no_record(text: str) -> None:
    with pytest.raises(InputError, match="is not a record"):
        InitialState.parse(text, source="r")


def test_only_the_first_state_is_remembered(tmp_path: Path) -> None:
    records = Records(tmp_path)
    with records.lock():
        records.remember(make_pf(0))
        records.remember(make_pf(5, 9000))
    assert records.read_initial_states() == (InitialState(ADDRESS, 0, 1500),)
    records.forget(ADDRESS)
    records.forget(ADDRESS)
    assert records.read_initial_states() == ()


def test_one_process_at_a_time_provisions(tmp_path: Path) -> None:
    records = Records(tmp_path)
    with (
        records.lock(),
        pytest.raises(BusyError, match="another dpukit provision is at work"),
        Records(tmp_path).lock(),
    ):
        raise AssertionError("locked twice")
    with records.lock():
        pass


def test_what_is_raised_under_the_lock_is_not_taken_for_its_refusal(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), Records(tmp_path).lock():
        raise BlockingIOError


def test_a_state_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(KernelError, match="open it"), Records(tmp_path / "state").lock():
        raise AssertionError("locked")


def attach(state: Path, name: str, record: object) -> None:
    (state / "attachments").mkdir(exist_ok=True)
    (state / "attachments" / name).write_text(record if isinstance(record, str) else json.dumps(record))


def test_vfs_of_this_boots_attachments_are_in_use(tmp_path: Path) -> None:
    attach(tmp_path, "abc-net1.json", {"vf": str(VF), "boot": "now", "netns": {}})
    attach(tmp_path, "old-net1.json", {"vf": "0000:01:10.1", "boot": "before"})
    attach(tmp_path, ".abc-net2.json", "half writ")
    assert Records(tmp_path, boot="now").read_attached() == {VF: "attachment abc-net1 has it"}


def test_no_attachments_means_no_vf_in_use(tmp_path: Path) -> None:
    assert Records(tmp_path).read_attached() == {}


@pytest.mark.parametrize("record", ["", "[]", {"boot": "now"}, {"vf": 5}, {"vf": "eth0"}])
def test_a_damaged_attachment_record_is_told(tmp_path: Path, record: object) -> None:
    attach(tmp_path, "abc-net1.json", record)
    with pytest.raises(InputError, match=r"abc-net1\.json: is not an attachment record"):
        Records(tmp_path, boot="now").read_attached()


def test_held_vfs_cannot_be_held_by_another(tmp_path: Path) -> None:
    other = PciAddress(0, 1, 0x10, 1)
    with Records(tmp_path).hold([VF]):
        with Records(tmp_path).hold([other]):
            pass
        with pytest.raises(BusyError, match=r"locks/0000:01:10\.0"), Records(tmp_path).hold([other, VF]):
            raise AssertionError("held twice")
    with Records(tmp_path).hold([VF, other]):
        pass
