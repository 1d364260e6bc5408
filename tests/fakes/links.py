"""Two network namespaces and a PF that behave as rtnetlink does, as far as plans need it: what moves, what is refused.

`FakeKernel.refuse_after` lets the n-th change fail, after half of it is done where the kernel's would be.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, fields, replace

from sriov.errors import KernelError
from sriov.link import Link, LinkChange, VfAttributes

HOME, POD = 101, 102
"""The descriptors by which the two namespaces are known here."""


@dataclass
class FakeKernel:
    """The links of each namespace by their numbers, and the attributes of VF 0."""

    namespaces: dict[int, dict[int, Link]] = field(default_factory=lambda: {HOME: {}, POD: {}})
    attributes: VfAttributes | None = None
    refuse_after: int | None = None
    changes: int = 0

    def count(self) -> None:
        """Count a change; refuse it when it is the chosen one."""
        self.changes += 1
        if self.refuse_after is not None and self.changes > self.refuse_after:
            self.refuse_after = None
            raise KernelError("fake", "do this", errno.EIO)


class FakeLinks:
    """The links of one namespace; the methods are `sriov.kernel.link.Links`' own."""

    def __init__(self, kernel: FakeKernel, netns: int) -> None:
        self._kernel = kernel
        self._netns = netns

    @property
    def _links(self) -> dict[int, Link]:
        return self._kernel.namespaces[self._netns]

    def find(self, name: str) -> Link | None:
        return next((link for link in self._links.values() if name in (link.name, *link.altnames)), None)

    def find_index(self, index: int) -> Link | None:
        return self._links.get(index)

    def read_all(self) -> tuple[Link, ...]:
        return tuple(self._links.values())

    def find_vf_attributes(self, pf: int, vf: int) -> VfAttributes | None:
        del pf
        return self._kernel.attributes if vf == 0 else None

    def change(self, index: int, change: LinkChange) -> None:
        self._kernel.count()
        link = self._read(index)
        if change.name is not None and self.find(change.name) is not None:
            raise KernelError(link.name, f"name it {change.name}", errno.EEXIST)
        self._links[index] = _changed(link, change)

    def move(self, index: int, *, netns: int, change: LinkChange) -> None:
        self._kernel.count()
        link, target = self._read(index), FakeLinks(self._kernel, netns)
        if any(target.find(name) for name in link.altnames):
            raise KernelError(link.name, "move it", errno.EEXIST)
        if change.name is None and target.find(link.name):
            raise KernelError(link.name, "move it", errno.EEXIST)
        del self._links[index]
        number = index if index not in target._links else max(target._links) + 1
        moved = replace(link, index=number, up=False)
        target._links[number] = moved
        if change.name is not None and change.name != link.name:
            others = [other for other in target._links.values() if other.index != number]
            if change.name in link.altnames or any(change.name in (o.name, *o.altnames) for o in others):
                # Refused only now: the link has moved.
                raise KernelError(link.name, f"name it {change.name}", errno.EEXIST)
        target._links[number] = _changed(moved, change)

    def add_altname(self, index: int, name: str) -> None:
        self._kernel.count()
        if self.find(name) is not None:
            raise KernelError(name, "add the alternative name", errno.EEXIST)
        link = self._read(index)
        self._links[index] = replace(link, altnames=(*link.altnames, name))

    def drop_altname(self, index: int, name: str) -> None:
        self._kernel.count()
        link = self._read(index)
        if name not in link.altnames:
            raise KernelError(name, "drop the alternative name", errno.ENOENT)
        self._links[index] = replace(link, altnames=tuple(other for other in link.altnames if other != name))

    def change_vf(self, pf: int, vf: int, change: VfAttributes) -> None:
        del pf, vf
        self._kernel.count()
        if self._kernel.attributes is None:
            raise KernelError("PF", "set it", errno.EOPNOTSUPP)
        given = {part.name: value for part in fields(change) if (value := getattr(change, part.name)) is not None}
        self._kernel.attributes = replace(self._kernel.attributes, **given)

    def _read(self, index: int) -> Link:
        if index not in self._links:
            raise KernelError(f"link {index}", "change it", errno.ENODEV)
        return self._links[index]


def _changed(link: Link, change: LinkChange) -> Link:
    given = {part.name: value for part in fields(change) if (value := getattr(change, part.name)) is not None}
    return replace(link, **given)
