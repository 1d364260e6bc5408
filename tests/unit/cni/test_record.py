"""Records on disk: whole or not at all, one owner for a VF, one name for an attachment, one call at a time."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.attachment import Call, Home, Phase, Record, render_record
from cni.record import Records, _file_name, _flocked
from cni.request import AttachmentId
from cni.result import RecordError
from sriov.errors import BusyError, KernelError
from sriov.link import VfAttributes
from sriov.model import MacAddress, PciAddress

VF = PciAddress(0, 3, 16, 0)
RECORD = Record(
    AttachmentId("c1", "net1"), "n", VF, "/run/netns/x", 77, Phase.PLANNED, "boot",
    Home(3, "vf0", (), MacAddress(bytes(6)), 1500, up=False, tells_parent=True), VfAttributes(), Call(None, "1.0.0", "", "", "{}"),
)  # fmt: skip
OTHER = replace(RECORD, attachment=AttachmentId("c2", "net1"))


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "state")


def test_a_record_is_found_by_its_attachment_and_by_its_vf(records: Records) -> None:
    assert (records.find(RECORD.attachment), records.find_owner(VF), records.read_all()) == (None, None, ())
    records.write(RECORD)
    assert (records.find(RECORD.attachment), records.find_owner(VF)) == (RECORD, RECORD)
    records.write(replace(RECORD, phase=Phase.DONE))
    assert [record.phase for record in records.read_all() if isinstance(record, Record)] == [Phase.DONE]


def test_only_root_reads_records(records: Records, tmp_path: Path) -> None:
    records.write(RECORD)
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "state").rglob("*.json")} == {0}
    assert (tmp_path / "state/attachments").stat().st_mode & 0o077 == 0


def test_nothing_but_the_record_lies_about(records: Records, tmp_path: Path) -> None:
    records.write(RECORD)
    records.write(RECORD)
    found = {str(path.relative_to(tmp_path / "state")) for path in (tmp_path / "state").rglob("*") if not path.is_dir()}
    assert found == {"attachments/c1-net1.json", f"vfs/{VF}"}
    records.disown(RECORD)
    records.remove(RECORD)
    assert [path for path in (tmp_path / "state").rglob("*") if not path.is_dir()] == []


def test_the_last_who_took_a_vf_owns_it_and_the_first_cannot_disown_it(records: Records) -> None:
    records.write(RECORD)
    records.write(OTHER)
    records.disown(RECORD)
    records.remove(RECORD)
    assert (records.find_owner(VF), records.find(RECORD.attachment)) == (OTHER, None)


def test_an_owner_that_was_never_written_is_none(records: Records, tmp_path: Path) -> None:
    """Power went between the two writes of `Records.write`."""
    records.prepare()
    (tmp_path / "state/vfs" / str(VF)).symlink_to("../attachments/c1-net1.json")
    assert records.find_owner(VF) is None
    records.write(OTHER)
    assert records.find_owner(VF) == OTHER


def test_a_disowned_record_stays_until_its_addresses_are_released(records: Records) -> None:
    records.write(RECORD)
    records.disown(RECORD)
    records.disown(RECORD)
    assert (records.find_owner(VF), records.find(RECORD.attachment)) == (None, RECORD)


def test_a_record_that_cannot_be_understood_stays_and_is_told(records: Records, tmp_path: Path) -> None:
    records.write(RECORD)
    path = tmp_path / "state/attachments/c1-net1.json"
    path.write_bytes(render_record(RECORD)[:40])
    for look in (lambda: records.find(RECORD.attachment), lambda: records.find_owner(VF)):
        with pytest.raises(RecordError, match=r"c1-net1.json: cannot be understood"):
            look()
    assert [type(found) for found in records.read_all()] == [RecordError]
    assert path.read_bytes() == render_record(RECORD)[:40]


def test_a_disk_that_refuses_is_told_with_its_own_words(records: Records, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    for act in (lambda: records.write(RECORD), records.check_writable):
        with pytest.raises(KernelError, match="kernel refused to"):
            act()


def test_a_writable_state_folder_is_left_as_it_was(records: Records, tmp_path: Path) -> None:
    records.check_writable()
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []


containers = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*", fullmatch=True)
ifnames = st.text(st.characters(codec="utf-8", exclude_characters="/:\x00"), min_size=1, max_size=15)
attachments = st.builds(AttachmentId, containers | containers.map(lambda text: text * 30), ifnames)


@given(attachments, attachments)
def test_each_attachment_has_a_file_of_its_own(one: AttachmentId, other: AttachmentId) -> None:
    names = {_file_name(one), _file_name(other)}
    assert len(names) == (1 if one == other else 2)
    for name in names:
        assert os.path.basename(name) == name  # noqa: PTH119 - a name, not a path
        assert len(name.encode()) < 255
        assert not name.startswith(".")


def test_hyphens_do_not_make_two_attachments_one() -> None:
    assert _file_name(AttachmentId("a-b", "c")) != _file_name(AttachmentId("a", "b-c"))


def test_a_second_call_waits_for_the_first(records: Records) -> None:
    order, waiting = [], threading.Event()

    def second() -> None:
        waiting.set()
        with records.lock(VF):
            order.append("second")

    with records.lock(VF):
        thread = threading.Thread(target=second)
        thread.start()
        waiting.wait()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_call_that_waits_too_long_is_told_so_and_takes_nothing(records: Records) -> None:
    late = pytest.raises(BusyError, match=r"another call has worked on it for 0\.05 s")
    with records.lock(VF), late, records.lock(VF, timeout_s=0.05):
        pass
    with records.lock(VF, timeout_s=5):
        pass


def test_calls_for_different_vfs_do_not_wait(records: Records) -> None:
    with records.lock(VF), records.lock(PciAddress(0, 3, 16, 1), timeout_s=0.05):
        pass


def left(tmp_path: Path) -> set[str]:
    state = tmp_path / "state"
    found = (path for path in state.rglob("*") if not path.is_dir() and path.parent.name != "locks")
    return {str(path.relative_to(state)) for path in found}


@pytest.fixture
def drafts(records: Records, tmp_path: Path) -> set[str]:
    """What writers leave that die at one step or the other; beside a record that stands."""
    records.write(OTHER)
    (tmp_path / "state/attachments/.c1-net1.json.abc").write_text("{")
    (tmp_path / "state/vfs/.0000:03:10.1").symlink_to("../attachments/c1-net1.json")
    (tmp_path / "state/vfs/0000:03:10.2").symlink_to("../attachments/c1-net1.json")
    return left(tmp_path)


def test_what_dead_writers_left_is_swept_and_nothing_else(records: Records, tmp_path: Path, drafts: set[str]) -> None:
    records.sweep()
    assert left(tmp_path) == {"attachments/c2-net1.json", f"vfs/{VF}"} < drafts
    assert records.find_owner(VF) == OTHER


def test_nothing_is_swept_while_somebody_writes(records: Records, tmp_path: Path, drafts: set[str]) -> None:
    with _flocked(tmp_path / "state/attachments", fcntl.LOCK_SH):
        records.sweep()
        assert left(tmp_path) == drafts


def test_forgetting_an_attachment_takes_its_own_drafts_along(
    records: Records, tmp_path: Path, drafts: set[str]
) -> None:
    (tmp_path / "state/attachments/.c2-net1.json.abc").write_text("{")
    (tmp_path / f"state/vfs/.{VF}").symlink_to("../attachments/c2-net1.json")
    records.disown(OTHER)
    records.remove(OTHER)
    assert left(tmp_path) == drafts - {"attachments/c2-net1.json", f"vfs/{VF}"}


def test_a_state_folder_that_never_was_has_nothing_to_sweep(records: Records, tmp_path: Path) -> None:
    records.sweep()
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("spoil", [lambda text: text[:40], lambda text: text.replace(b'"format": 1', b'"format": 2')])
def test_a_record_that_cannot_be_understood_is_no_matter_for_other_vfs(
    records: Records, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    other_vf = PciAddress(0, 3, 16, 1)
    records.write(RECORD)
    records.write(replace(OTHER, vf=other_vf))
    path = tmp_path / "state/attachments/c1-net1.json"
    path.write_bytes(spoil(path.read_bytes()))
    records.sweep()
    assert records.find_owner(other_vf) == records.find(OTHER.attachment) == replace(OTHER, vf=other_vf)
    assert [type(found) for found in records.read_all()] == [RecordError, Record]
    with pytest.raises(RecordError, match=rf"record {path}"):
        records.find_owner(VF)


def test_whoever_holds_a_lock_can_hand_it_on(records: Records) -> None:
    assert records.find_lock(VF) is None
    with records.lock(VF):
        held = records.find_lock(VF)
        assert held is not None
        handed = os.dup(held)
    assert records.find_lock(VF) is None
    with pytest.raises(BusyError), records.lock(VF, timeout_s=0.05):
        pass
    os.close(handed)
    with records.lock(VF, timeout_s=30):
        pass
