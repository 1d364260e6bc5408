"""Look at a VF and at the pod's namespace; change nothing.

A VF is its PCI address. At home sysfs names its network device; in a pod, where sysfs does not reach, the link says of
which device it is (``IFLA_PARENT_DEV_NAME``). Where links do not say (before Linux 5.14) it is recognised by its number.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from cni.attachment import Phase, Record
from cni.plan import FoundVf, Place, UserspaceVf
from cni.result import NetnsInputError, UnknownContainerError
from sriov.errors import BusyError, InputError, UnsupportedError
from sriov.kernel import netns as namespaces
from sriov.kernel.address import Addressing
from sriov.kernel.link import Links, open_rtnetlink, watch_links
from sriov.kernel.sysfs import Sysfs
from sriov.link import Link, VfAttributes
from sriov.model import PciAddress, Vf

USERSPACE_DRIVERS = ("vfio-pci", "uio_pci_generic", "igb_uio")
"""They hand a function to a program; it has no network device while one of them is bound."""

HOMECOMING_S = 10
"""The kernel takes a dead namespace apart in its own time; its VFs come home when it gets there."""


@dataclass(frozen=True, slots=True)
class Pod:
    """The pod's namespace, opened."""

    netns: int
    links: Links
    addressing: Addressing


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where one call works: on this VF, in the node's namespace and perhaps in a pod's. Not for several threads."""

    vf: Vf
    pf_index: int | None
    """The link number of the PF's own device; None when it has none here."""
    home: Links
    home_netns: int
    pod: Pod | None
    pf_address: PciAddress | None = None
    pf_driver: str = ""
    """The driver that is asked to set the VF's attributes, for its refusals."""

    @property
    def pf(self) -> int:
        """The link number of the PF's device, on which its VFs' attributes are set.

        Raises:
            UnsupportedError: it has no device here.
        """
        if self.pf_index is None:
            raise UnsupportedError(
                f"VF {self.vf.address}", "its PF has no network device here, so nothing can be set on it"
            )
        return self.pf_index


@contextmanager
def open_workplace(address: PciAddress, *, sysfs: Sysfs, netns: int | None) -> Iterator[Workplace]:
    """Give the place where a call about one VF works.

    Args:
        address: the VF.
        sysfs: where to look it up.
        netns: a descriptor of the pod's namespace; stays the caller's. None when there is no such namespace (any more).

    Raises:
        NotFoundError: there is no such VF.
        InputError: the function there is no VF.
        KernelError: a namespace cannot be entered.
    """
    subject = f"VF {address}"
    pf, vf = sysfs.read_vf(address)
    with ExitStack() as stack:
        home = Links(stack.enter_context(open_rtnetlink(subject=subject)))
        home_netns = stack.enter_context(namespaces.open_netns(namespaces.OWN))
        pod = None
        if netns is not None:
            netlink = stack.enter_context(open_rtnetlink(subject=subject, netns=netns))
            pod = Pod(netns, Links(netlink), Addressing(netlink))
        netdev = sysfs.find_pf_netdev(pf)
        pf_link = home.find(netdev) if netdev else None
        driver = sysfs.find_driver(pf) or ""
        yield Workplace(vf, pf_link.index if pf_link else None, home, home_netns, pod, pf_address=pf, pf_driver=driver)


def find_at_home(work: Workplace, *, sysfs: Sysfs) -> FoundVf | None:
    """Return the VF if its device is in the node's own namespace."""
    netdev = sysfs.find_netdev(work.vf.address)
    link = work.home.find(netdev) if netdev else None
    if link is None or link.parent not in (None, str(work.vf.address)):
        return None
    return FoundVf(link, Place.HOME, read_attributes(work))


def find_free(work: Workplace, *, sysfs: Sysfs) -> FoundVf | UserspaceVf:
    """Return the VF as one that a pod may have.

    Raises:
        UnsupportedError: no driver is bound to it.
        BusyError: it should have a network device, and has none here.
    """
    found = find_at_home(work, sysfs=sysfs)
    if found is not None:
        return found
    subject, driver = f"VF {work.vf.address}", work.vf.driver
    if driver is None:
        raise UnsupportedError(
            subject, "no driver is bound to it", hint="bind its network driver or vfio-pci, or provision it again"
        )
    if driver in USERSPACE_DRIVERS:
        return UserspaceVf(driver, read_attributes(work))
    raise BusyError(
        subject, "has no network device here", hint="another network namespace has it, or its driver is starting"
    )


def find_in_pod(work: Workplace, record: Record) -> FoundVf | None:
    """Return the VF if its device is in the pod, under whatever name."""
    if work.pod is None:
        return None
    link = work.pod.links.find(record.attachment.ifname)
    if link is None or not _is_it(link, record):
        link = next((other for other in work.pod.links.read_all() if _is_it(other, record)), None)
    return None if link is None else FoundVf(link, Place.POD, read_attributes(work))


def _is_it(link: Link, record: Record) -> bool:
    if record.home.tells_parent or link.parent is not None:
        return link.parent == str(record.vf)
    # Its number in the pod is known for sure only once the ADD was done; another link may have the one it had at home.
    known = record.phase is Phase.DONE or link.name == record.attachment.ifname
    return known and link.index == record.home.index


def find_again(work: Workplace, place: Place, index: int) -> FoundVf | None:
    """Return the VF if its device still is where it was seen, under this link number; None: look everywhere."""
    links = work.home if place is Place.HOME or work.pod is None else work.pod.links
    link = links.find_index(index)
    if link is None or link.parent not in (None, str(work.vf.address)):
        return None
    return FoundVf(link, place, read_attributes(work))


def await_homecoming(work: Workplace, *, sysfs: Sysfs, timeout_s: float = HOMECOMING_S) -> FoundVf | None:
    """Return the VF once it is at home; None when it has not come in time."""
    deadline = time.monotonic() + timeout_s
    with watch_links() as wait:
        while (found := find_at_home(work, sysfs=sysfs)) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            wait(left)
    return found


def read_attributes(work: Workplace) -> VfAttributes:
    """Read what the PF keeps of the VF; nothing at all when it does not tell."""
    if work.pf_index is None:
        return VfAttributes()
    return work.home.find_vf_attributes(work.pf_index, work.vf.index) or VfAttributes()


def find_taken(links: Links, names: tuple[str, ...]) -> frozenset[str]:
    """Tell which of these names some link has."""
    return frozenset(name for name in names if links.find(name) is not None)


def check_pod_netns(descriptor: int | None, path: str, *, override: bool) -> int:
    """Return the descriptor of the namespace at CNI_NETNS, if a pod can be there.

    Args:
        descriptor: what the caller opened; None when it could not.
        path: CNI_NETNS, for errors.
        override: whether CNI_NETNS_OVERRIDE is set; it does not help, and the error says so.

    Raises:
        UnknownContainerError: there is nothing.
        NetnsInputError: it is no network namespace, or the node's own, in which a VF is at home and nowhere else.
    """
    if descriptor is None:
        raise UnknownContainerError(
            "CNI_NETNS", f"cannot open {path!r}", hint="the pod's sandbox is gone: the runtime makes a new one"
        )
    try:
        namespaces.check_is_netns(descriptor, path=path)
    except InputError as error:
        raise NetnsInputError("CNI_NETNS", error.what, hint=error.hint) from error
    if namespaces.identify(descriptor) == namespaces.identify_own():
        hint = "CNI_NETNS_OVERRIDE does not help: a VF is at home there" if override else "it must be a pod's"
        raise NetnsInputError("CNI_NETNS", f"{path!r} is the node's own network namespace", hint=hint)
    return descriptor


def find_pod_netns(descriptor: int | None) -> int | None:
    """Return the descriptor of the pod's namespace; None when what stands at CNI_NETNS is none, or the node's own."""
    try:
        return check_pod_netns(descriptor, "CNI_NETNS", override=False)
    except (UnknownContainerError, NetnsInputError):
        return None


def is_same_netns(path: str, inode: int) -> bool:
    """Tell whether the namespace at `path` is the one that had this inode number."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (namespaces.identify_own().device, inode)
