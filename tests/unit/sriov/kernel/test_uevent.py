"""The text of a uevent."""

from __future__ import annotations

import pytest

from sriov.kernel.uevent import parse_subsystem


@pytest.mark.parametrize(
    ("event", "subsystem"),
    [
        (b"bind@/devices/x\0ACTION=bind\0DEVPATH=/devices/x\0SUBSYSTEM=pci\0DRIVER=igbvf\0", "pci"),
        (b"add@/devices/x\0SUBSYSTEM=net", "net"),
        (b"libudev\0\xfe\xed", None),
        (b"", None),
    ],
)
def test_the_subsystem_is_read_from_an_events_text(event: bytes, subsystem: str | None) -> None:
    assert parse_subsystem(event) == subsystem
