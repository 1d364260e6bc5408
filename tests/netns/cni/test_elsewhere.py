"""Every network namespace that a process or a mount keeps is found. What is done with a VF in there needs a real one: the lab's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cni.elsewhere import find_elsewhere, list_netns
from cni.observe import open_workplace
from sriov.kernel import netns as namespaces
from sriov.kernel.netns import NetnsId
from sriov.kernel.sysfs import Sysfs
from sriov.model import PciAddress
from tests.fakes.sysfs import FakePf, FakeSysfs, FakeVf
from tests.netns.cni.conftest import PF, VFS, Namespace
from tests.unit.cni.test_record import RECORD

pytestmark = pytest.mark.netns


def identity_of(path: str) -> NetnsId:
    found = os.stat(path)
    return NetnsId(found.st_dev, found.st_ino)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    if subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("cannot make network namespaces here")
    made = Namespace.make()
    yield made
    made.end()


def test_a_namespace_of_a_process_is_found(namespace: Namespace) -> None:
    found = list_netns()
    assert identity_of(found[identity_of(namespace.path)]) == identity_of(namespace.path)
    assert namespaces.identify_own() in found


def test_a_namespace_that_only_a_mount_keeps_is_found(namespace: Namespace, tmp_path: Path) -> None:
    place = tmp_path / "with blank\\and backslash"
    place.touch()
    subprocess.run(["mount", "--bind", namespace.path, place], check=True)
    try:
        identity = identity_of(namespace.path)
        namespace.end()
        assert list_netns().get(identity) == str(place)
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_vf_that_is_in_none_is_not_found(namespace: Namespace, tmp_path: Path) -> None:
    sysfs = Sysfs(FakeSysfs(tmp_path / "sys", FakePf(PF, None, (FakeVf(VFS[0]),))).root)
    with open_workplace(PciAddress.parse(VFS[0]), sysfs=sysfs, netns=None) as work, ExitStack() as stack:
        assert find_elsewhere(work, RECORD, stack) is None
