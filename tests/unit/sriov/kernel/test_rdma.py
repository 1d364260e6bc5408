"""RDMA devices as the kernel tells of them; moving them needs a kernel with RDMA (the lab's)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sriov.kernel.netlink import pack_number, pack_text
from sriov.kernel.rdma import RdmaDevice, parse_device


def test_a_device_has_a_number_and_a_name() -> None:
    assert parse_device(pack_number(1, 3) + pack_text(2, "mlx5_4") + pack_number(3, 1)) == RdmaDevice(3, "mlx5_4")


def test_a_message_without_a_name_is_left_out() -> None:
    assert parse_device(pack_number(1, 3)) is None


@given(st.binary(max_size=100))
def test_any_octets_are_read_or_left_out(message: bytes) -> None:
    parse_device(message)
