"""See a pod's addresses into use: let IPv6 have asked for them, and tell the neighbours.

Everything here waits for the kernel's events, never for the clock alone.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable

from cni.observe import Pod
from cni.plan import Layer3
from sriov.document import Address
from sriov.errors import BusyError, DpuError, KernelError, VerifyError
from sriov.kernel.address import await_addresses
from sriov.kernel.announce import announce
from sriov.kernel.link import Links, open_rtnetlink, watch_links
from sriov.kernel.sysctl import ensure_switch
from sriov.link import Link
from sriov.log import fields

logger = logging.getLogger(__name__)

CARRIER_S = 0.2
"""How long to wait for a carrier before the announcement; frames sent without one are lost."""
LATER_S = 3
"""The same, where nobody waits for it."""
IPV6_CARRIER_S = 2
"""How long to wait for a carrier when IPv6 has to ask: it begins when there is one."""
DUPLICATES_S = 10
"""The kernel asks for one to two seconds; a busy node may take longer."""


def prepare_ipv6(layer3: Layer3, pod: Pod, ifname: str) -> None:
    """Switch IPv6 on where the pod's runtime has switched it off, and let addresses survive a link set down.

    Raises:
        KernelError: the kernel has no IPv6, or the switches cannot be written.
    """
    if not any(address.version == 6 for address in layer3.addresses):
        return
    for device in ("lo", ifname):
        ensure_switch("ipv6", device, "disable_ipv6", 0, netns=pod.netns)
    try:
        ensure_switch("ipv6", ifname, "keep_addr_on_down", 1, netns=pod.netns)
    except KernelError as error:
        # The pod works without it, until somebody sets the link down.
        logger.warning("IPv6 addresses go when the link is set down", extra=fields(link=ifname, reason=error))


def settle(layer3: Layer3, pod: Pod, link: Link, *, stays: bool) -> None:
    """Wait until every address can be used, then announce them all.

    In the routed mode nothing is done: nobody on the link is asked, and nobody asks.

    Args:
        layer3: what the link has been given.
        pod: where.
        link: as it was when it was up.
        stays: whether this process outlives the call, so that a carrier which takes its time can be waited for afterwards.

    Raises:
        BusyError: somebody else on the network has one of the addresses.
        VerifyError: IPv6 does not come to an end.
    """
    if not layer3.detect_duplicates or not layer3.addresses:
        return
    addresses = tuple(address.ip for address in layer3.addresses)
    if any(address.version == 6 for address in addresses):
        link = _await_carrier(pod.links, pod.netns, link, timeout_s=IPV6_CARRIER_S)
        _await_ipv6(pod, link)
    if stays and not link.carrier:
        _announce_later(link, addresses, netns=pod.netns)
        return
    _announce(_await_carrier(pod.links, pod.netns, link, timeout_s=CARRIER_S), addresses, netns=pod.netns)


def _announce(link: Link, addresses: Iterable[Address], *, netns: int) -> None:
    try:
        announce(link, addresses, netns=netns)
    except DpuError as error:
        logger.warning("the pod's addresses are not announced", extra=fields(link=link.name, reason=error))


def _announce_later(link: Link, addresses: Iterable[Address], *, netns: int) -> None:
    """Announce when there is a carrier; the call is answered meanwhile. If none comes soon nobody is told."""
    descriptor = os.dup(netns)

    def wait_and_announce() -> None:
        # Our descriptor keeps the pod's namespace alive, and the VF in it: not for long.
        try:
            with open_rtnetlink(subject=f"link {link.name}", netns=descriptor) as netlink:
                ready = _await_carrier(Links(netlink), descriptor, link, timeout_s=LATER_S)
            if ready.carrier:
                _announce(ready, addresses, netns=descriptor)
        except DpuError as error:
            logger.warning("the pod's addresses are not announced", extra=fields(link=link.name, reason=error))
        finally:
            os.close(descriptor)

    threading.Thread(target=wait_and_announce, name="announce", daemon=True).start()


def _await_carrier(links: Links, netns: int, link: Link, *, timeout_s: float) -> Link:
    """Wait until a link has a carrier, is gone, or time is over. Returns it as it was seen last."""
    if link.carrier:
        return link
    deadline = time.monotonic() + timeout_s
    with watch_links(netns) as wait:
        while (found := links.find_index(link.index)) is not None and not found.carrier:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            wait(left)
    return found or link


def _await_ipv6(pod: Pod, link: Link) -> None:
    if not link.carrier:
        # Whoever asked for a link without carrier, or pulled the cable, gets a pod all the same.
        logger.warning("no carrier: IPv6 addresses become usable when there is one", extra=fields(link=link.name))
        return
    found = await_addresses(pod.addressing, link.index, netns=pod.netns, timeout_s=DUPLICATES_S)
    for entry in found:
        if entry.duplicate:
            raise BusyError(
                f"address {entry.address}",
                "somebody else on this network has it already",
                hint="find that machine, or take the address out of the range IPAM gives from",
            )
    waiting = [str(entry.address) for entry in found if entry.tentative]
    if waiting:
        raise VerifyError(
            f"address {', '.join(waiting)}",
            f"is not usable {DUPLICATES_S} s after it was added, though the link has a carrier",
            hint="IPv6 duplicate detection does not end: see the pod's sysctls and the VF's driver",
        )
