"""A kernel without RDMA says none, and is no error; one that has it tells its devices (moving them: the lab's cases)."""

from __future__ import annotations

import pytest

from sriov.kernel.rdma import NetnsMode, open_rdma

pytestmark = pytest.mark.netns


def test_whatever_this_kernel_has_is_told_without_an_error() -> None:
    with open_rdma(subject="test") as rdma:
        if rdma is None:
            return
        assert rdma.read_mode() in NetnsMode
        for device in rdma.read_all():
            assert rdma.find(device.name) == device
        assert rdma.find_of_link(2**31 - 1) is None


def test_no_such_device_is_none() -> None:
    with open_rdma(subject="test") as rdma:
        assert rdma is None or rdma.find("no_such_device") is None
