"""Run the plugin to which addresses are delegated, as the runtime would: same environment, same input, with a deadline.

CNI specification 1.1.0, "Section 4: Plugin Delegation". A plugin is a program of CNI_PATH. It is started at once and
waited for later, so that other work goes on meanwhile; whoever started it always waits or kills it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cni.request import Verb
from cni.result import DelegateError, Result, parse_result
from sriov.errors import InputError, KernelError, NotFoundError, UnreachableError

DEADLINE_S = 60
"""Runtimes give a pod two minutes and more; behind a plugin may be a DHCP server or a database."""


@dataclass(frozen=True, slots=True)
class Delegation:
    """One plugin, and what it is told in every verb."""

    kind: str
    path: str
    """CNI_PATH: folders, with ``:`` between them."""
    environment: Mapping[str, str]
    stdin: bytes
    deadline_s: float = DEADLINE_S
    """How long it may take."""
    lock: int | None = None
    """The descriptor of the VF's lock. The plugin inherits it: if we die, whoever undoes our work waits until it has ended."""

    @contextmanager
    def start(self, verb: Verb) -> Iterator[Running]:
        """Start the plugin; at the end of the block it has ended, or is killed once its deadline is over.

        Raises:
            InputError: its name is none.
            NotFoundError: it is in no folder of CNI_PATH.
            KernelError: it cannot be started.
        """
        program = self.find_program()
        with _input(self.stdin) as stdin:
            try:
                process = subprocess.Popen(
                    [program],
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env={**self.environment, "CNI_COMMAND": verb.value},
                    pass_fds=() if self.lock is None else (self.lock,),
                    process_group=0,  # a plugin that hangs is killed with what it started
                )
            except OSError as error:
                subject = f"IPAM {self.kind}"
                raise KernelError.from_oserror(error, subject=subject, operation=f"start {program}") from error
        with process:
            try:
                yield Running(process, self.kind, self.deadline_s)
            finally:
                # Killed in the middle it might leave half an allocation behind.
                with suppress(UnreachableError, DelegateError):
                    if process.returncode is None:
                        Running(process, self.kind, self.deadline_s).wait()

    def run(self, verb: Verb) -> bytes:
        """Run the plugin and return what it answers.

        Raises:
            As `start` and `Running.wait` do.
        """
        with self.start(verb) as running:
            return running.wait()

    def find_program(self) -> str:
        """Return the plugin's path.

        Raises:
            InputError: its name is none.
            NotFoundError: it is in no folder of CNI_PATH.
        """
        if "/" in self.kind or self.kind in (".", "..") or not self.kind.isprintable():
            raise InputError("ipam.type", f"{self.kind!r} is not the name of a plugin")
        for folder in self.path.split(":"):
            program = Path(folder) / self.kind
            if folder and os.access(program, os.X_OK) and program.is_file():
                return str(program)
        raise NotFoundError(
            f"IPAM {self.kind}", f"there is no such program in CNI_PATH, {self.path!r}", hint="install it on this node"
        )


class Running:
    """A plugin at work."""

    def __init__(self, process: subprocess.Popen[bytes], kind: str, deadline_s: float) -> None:
        self._process = process
        self._kind = kind
        self._deadline_s = deadline_s
        self._began = time.monotonic()

    def wait(self) -> bytes:
        """Wait for its answer.

        Raises:
            UnreachableError: it took longer than it may since it was started, and was killed.
            DelegateError: it failed; with its own words.
        """
        try:
            left = self._began + self._deadline_s - time.monotonic()
            answer, said = self._process.communicate(timeout=max(left, 0.001))
        except subprocess.TimeoutExpired:
            _kill(self._process)
            raise UnreachableError(
                f"IPAM {self._kind}",
                f"gave no answer in {self._deadline_s:g} s and was killed",
                hint="see its own logs",
            ) from None
        if self._process.returncode != 0:
            raise _read_error(answer, said, kind=self._kind, status=self._process.returncode)
        return answer

    def wait_for_addresses(self) -> Result:
        """Wait for the answer to ADD.

        Raises:
            As `wait` does, and
            DelegateError: the answer is no result, or has no address.
        """
        answer = self.wait()
        subject = f"IPAM {self._kind}"
        try:
            result = parse_result(json.loads(answer), path=subject)
        except (ValueError, RecursionError) as error:
            raise DelegateError(subject, f"its answer is not JSON: {error}", code=0) from None
        except InputError as error:
            raise DelegateError(subject, f"its answer is no CNI result: {error}", code=0) from None
        if not result.ips:
            raise DelegateError(subject, "it gave no address", code=0, hint="see its configuration, under ipam")
        return result


@contextmanager
def _input(text: bytes) -> Iterator[int]:
    # A file, not a pipe: nobody has to feed it while the plugin starts.
    descriptor = os.memfd_create("cni-stdin", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(text)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read_error(answer: bytes, said: bytes, *, kind: str, status: int) -> DelegateError:
    subject = f"IPAM {kind}"
    with suppress(ValueError, RecursionError):
        document = json.loads(answer)
        if isinstance(document, dict) and isinstance(document.get("msg"), str):
            code, details = document.get("code"), document.get("details")
            words = f"{document['msg']}: {details}" if details else document["msg"]
            return DelegateError(subject, words, code=code if isinstance(code, int) else 0)
    words = said.decode("utf-8", "replace").strip()[-500:] or "without a word"
    return DelegateError(subject, f"failed with status {status}: {words}", code=0)
