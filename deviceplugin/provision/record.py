"""What must be remembered about provisioning: how each PF was found, and that one process at a time changes them.

Files under the state folder: ``provision/lock``; ``provision/<PF address>.json``, the PF as it was before the first
change, written before that change and kept until it was restored. Of the CNI plugin's files there, ``attachments/*.json``
are read (keys ``vf``, the VF's PCI address, and ``boot``, the boot it was given away in), and ``locks/<VF address>`` are
taken while VFs are removed, so that no pod is given one at that moment.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deviceplugin.model import HostPf
from deviceplugin.provision.desired import DesiredPf
from sriov.durable import replace_file
from sriov.errors import BusyError, DpuError, InputError, KernelError
from sriov.model import PciAddress

_VERSION = 1


@dataclass(frozen=True, slots=True)
class InitialState:
    """A PF as it was before dpukit changed it; `mtu` in octets, None when it had no network device here."""

    pf: PciAddress
    num_vfs: int
    mtu: int | None
    vf_autoprobe: bool = True

    @classmethod
    def of(cls, pf: HostPf) -> InitialState:
        """Take what is to be remembered from the PF as observed."""
        return cls(
            pf.address, pf.function.num_vfs, pf.state.mtu if pf.state else None, vf_autoprobe=pf.function.vf_autoprobe
        )

    @classmethod
    def parse(cls, text: str, *, source: str) -> InitialState:
        """Read a record's text.

        Raises:
            InputError: it is no such record; nobody but dpukit writes them.
        """
        try:
            found: dict[str, Any] = json.loads(text)
            mtu = found["mtu"]
            return cls(
                PciAddress.parse(found["pf"]),
                int(found["numVfs"]),
                None if mtu is None else int(mtu),
                vf_autoprobe=bool(found["vfAutoprobe"]),
            )
        except (ValueError, KeyError, TypeError, DpuError) as error:
            hint = "somebody else wrote it: restore the PF by hand and remove the file"
            raise InputError(source, "is not a record of dpukit's", hint=hint) from error

    def desire(self) -> DesiredPf:
        """Make this state the desired one."""
        return DesiredPf.restoring(self.pf, num_vfs=self.num_vfs, mtu=self.mtu, vf_autoprobe=self.vf_autoprobe)

    def render(self) -> str:
        """Render the record's text."""
        found = {
            "version": _VERSION,
            "pf": str(self.pf),
            "numVfs": self.num_vfs,
            "mtu": self.mtu,
            "vfAutoprobe": self.vf_autoprobe,
        }
        return json.dumps(found) + "\n"


class Records:
    """The records under the state folder.

    Args:
        state: the folder (``DPUKIT_STATE``); made when something is first written.
        boot: the id of this boot; an attachment of another one has no VF any more.
    """

    def __init__(self, state: Path, *, boot: str = "") -> None:
        self._boot = boot
        self._locks = state / "locks"
        self._folder = state / "provision"
        self._attachments = state / "attachments"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only process that provisions, for as long as the context lasts.

        Raises:
            BusyError: another process is at it.
            KernelError: the state folder cannot be written.
        """
        with _locked(self._folder / "lock", busy="another dpukit provision is at work on this host"):
            yield

    @contextmanager
    def hold(self, vfs: Iterable[PciAddress]) -> Iterator[None]:
        """Keep the CNI plugin from giving these VFs to pods, for as long as the context lasts.

        Raises:
            BusyError: it is at work on one.
            KernelError: the state folder cannot be written.
        """
        with ExitStack() as locks:
            for vf in vfs:
                locks.enter_context(
                    _locked(self._locks / str(vf), busy="a pod is being given this VF, or gives it back")
                )
            yield

    def remember(self, pf: HostPf) -> None:
        """Record how `pf` was found, unless an earlier record says so.

        Raises:
            KernelError: the record cannot be written.
        """
        path = self._path(pf.address)
        if path.exists():
            return
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(path, InitialState.of(pf).render())
        except OSError as error:
            raise KernelError.from_oserror(error, subject=str(path), operation="write it") from error

    def read_initial_states(self) -> tuple[InitialState, ...]:
        """Read the record of every PF that has one, in the order of their addresses.

        Raises:
            InputError: a record was damaged.
        """
        paths = sorted(self._folder.glob("*.json"))
        return tuple(InitialState.parse(path.read_text(encoding="utf-8"), source=str(path)) for path in paths)

    def forget(self, pf: PciAddress) -> None:
        """Remove the record of a PF; nothing happens when there is none."""
        self._path(pf).unlink(missing_ok=True)

    def read_attached(self) -> Mapping[PciAddress, str]:
        """Read which VFs pods have, each with words about its user.

        Raises:
            InputError: a record cannot be read; then nobody knows whether its VF is free.
        """
        found = {}
        for path in sorted(self._attachments.glob("[!.]*.json")):
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                if record.get("boot") in {None, "", self._boot}:
                    found[PciAddress.parse(record["vf"])] = f"attachment {path.stem} has it"
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, TypeError, AttributeError, DpuError) as error:
                raise InputError(
                    str(path), "is not an attachment record", hint="look which VF it is about, then remove the file"
                ) from error
        return found

    def _path(self, pf: PciAddress) -> Path:
        return self._folder / f"{pf}.json"


@contextmanager
def _locked(path: Path, *, busy: str) -> Iterator[None]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KernelError.from_oserror(error, subject=str(path), operation="open it", hint="run as root") from error
    try:
        _take(descriptor, path, busy)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, busy: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError(str(path), busy, hint="let it finish and try again") from error
