"""Read what the kernel can and may offload: a device's ``hw-tc-offload``, the datapath's recirculation through TC.

Formats: include/uapi/linux/ethtool_netlink.h and openvswitch.h (Linux 6.12).
"""

from __future__ import annotations

import errno
import struct

from sriov.errors import KernelError
from sriov.kernel.netlink import (
    GENERIC,
    NESTED,
    find_family,
    generic,
    open_netlink,
    pack_attribute,
    pack_text,
    parse_attributes,
    read_number,
    read_text,
    walk_attributes,
)

_READ_FEATURES, _REQUEST_HEADER, _DEVICE_NAME = 11, 1, 2
_ACTIVE, _BITS, _BIT_NAME = 4, 3, 2
_TC_OFFLOAD = "hw-tc-offload"

_READ_DATAPATHS, _DATAPATH_VERSION, _USER_FEATURES = 3, 2, 5
_RECIRCULATION_SHARING = 1 << 2  # OVS_DP_F_TC_RECIRC_SHARING


def find_tc_offload(netdev: str) -> bool | None:
    """Tell whether ``hw-tc-offload`` is on for a device; None when there is no such device, or no way to ask.

    Raises:
        KernelError: the kernel refused.
    """
    with open_netlink(GENERIC, subject=netdev) as netlink:
        family = find_family(netlink, "ethtool")
        if family is None:
            return None
        header = pack_attribute(_REQUEST_HEADER | NESTED, pack_text(_DEVICE_NAME, netdev))
        try:
            messages = netlink.request(family, generic(_READ_FEATURES, header), operation="read its features")
        except KernelError as error:
            if error.errno in (errno.ENODEV, errno.EOPNOTSUPP):
                return None
            raise
    return any(_TC_OFFLOAD in parse_active_features(message.payload[4:]) for message in messages)


def parse_active_features(payload: bytes) -> frozenset[str]:
    """Read the names of the features that are on, from an answer with named bits. Pure."""
    active = parse_attributes(parse_attributes(payload).get(_ACTIVE, b""))
    bits = (parse_attributes(bit) for _, bit in walk_attributes(active.get(_BITS, b"")))
    return frozenset(read_text(bit[_BIT_NAME]) for bit in bits if _BIT_NAME in bit)


def find_recirculation_sharing() -> bool | None:
    """Tell whether the kernel datapath and TC share recirculation, without which no ``ct`` flow can be offloaded.

    ovs-vswitchd asks for it whenever it opens the datapath, so a kernel that does not show it cannot do it
    (CONFIG_NET_TC_SKB_EXT). None when there is no kernel datapath.

    Raises:
        KernelError: the kernel refused.
    """
    with open_netlink(GENERIC, subject="datapath") as netlink:
        family = find_family(netlink, "ovs_datapath")
        if family is None:
            return None
        request = generic(_READ_DATAPATHS, struct.pack("=i", 0), version=_DATAPATH_VERSION)
        messages = netlink.dump(family, request, operation="list datapaths")
    found = [parse_attributes(message.payload[8:]).get(_USER_FEATURES, b"") for message in messages]
    return any(read_number(value) & _RECIRCULATION_SHARING for value in found) if found else None
