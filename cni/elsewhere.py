"""Look for a VF in every network namespace of the machine, when it is neither at home nor in its pod.

A program in a pod may have moved it on into a namespace of its own. Namespaces have no list: they are those of processes
(``/proc/<pid>/ns/net``) and those that are mounted somewhere (nsfs in ``/proc/self/mountinfo``; man 7 namespaces). A daemon
in a container sees them all only with the node's PID namespace.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from cni.attachment import Record
from cni.observe import Pod, Workplace, find_in_pod
from cni.plan import FoundVf
from sriov.errors import InputError, KernelError, NotFoundError
from sriov.kernel import netns as namespaces
from sriov.kernel.address import Addressing
from sriov.kernel.link import Links, open_rtnetlink
from sriov.kernel.netns import NetnsId

_PROC = Path("/proc")
_MOUNTS = Path("/proc/self/mountinfo")


def find_elsewhere(work: Workplace, record: Record, stack: ExitStack) -> tuple[Workplace, FoundVf] | None:
    """Return the VF, and the place to work with the namespace it is in as its pod's; None when no namespace has it.

    Only links that tell of which device they are can be recognised (since Linux 5.14).

    Args:
        work: the place where it was not found.
        record: how it was.
        stack: keeps that namespace open.
    """
    if not record.home.tells_parent:
        return None
    known = {namespaces.identify(work.home_netns)} | ({namespaces.identify(work.pod.netns)} if work.pod else set())
    for identity, path in list_netns().items():
        if identity in known:
            continue
        with ExitStack() as opened:
            try:
                there = replace(work, pod=_open(path, opened, subject=f"VF {record.vf}"))
                found = find_in_pod(there, record)
            except (NotFoundError, InputError, KernelError):
                # It died while we looked, or is none of ours to enter: the VF is not in there.
                continue
            if found is not None:
                stack.push(opened.pop_all())
                return there, found
    return None


def _open(path: str, stack: ExitStack, *, subject: str) -> Pod:
    netns = stack.enter_context(namespaces.open_netns(path))
    netlink = stack.enter_context(open_rtnetlink(subject=subject, netns=netns))
    return Pod(netns, Links(netlink), Addressing(netlink))


def list_netns() -> Mapping[NetnsId, str]:
    """Return a path for each network namespace that some process or mount shows, this process' own included."""
    own = namespaces.identify_own()
    found: dict[NetnsId, str] = {}
    for path in _paths():
        try:
            status = os.stat(path)
        except OSError:
            continue
        # Other kinds of namespace are mounted, too: which kind it is shows when it is entered.
        if status.st_dev == own.device:
            found.setdefault(NetnsId(status.st_dev, status.st_ino), path)
    return found


def _paths() -> Iterator[str]:
    for name in os.listdir(_PROC):
        if name.isdigit():
            yield f"{_PROC}/{name}/ns/net"
    for line in _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("nsfs "):
            yield _unescape(before.split(" ")[4])


def _unescape(path: str) -> str:
    """Read a path as mountinfo writes it: blanks and backslashes are octal escapes."""
    for code in ("040", "011", "012", "134"):
        path = path.replace(f"\\{code}", chr(int(code, 8)))
    return path
