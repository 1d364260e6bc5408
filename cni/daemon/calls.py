"""Perform calls: those for one VF one after the other, in the order in which they came; others side by side.

What may wait is bounded. A call whose caller is gone before its turn is not begun; an ADD whose caller is gone when it
stands is undone, for no DEL may come any more.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from cni.client import NOT_PERFORMED
from cni.daemon.frame import render_answer
from cni.pace import Pace
from cni.perform import Answer, Caller, answer_bug
from cni.request import Verb, find_device, parse_request
from sriov.errors import DpuError
from sriov.model import PciAddress

logger = logging.getLogger(__name__)

_SEND_TIMEOUT_S = 10
_OF_ONE_VF = frozenset({Verb.ADD.value, Verb.DEL.value, Verb.CHECK.value})

NOT_HERE = render_answer(b"", NOT_PERFORMED)
"""The answer to a call that its client has to perform by itself."""


class Perform(Protocol):
    """Performs one call."""

    def __call__(self, caller: Caller, *, pace: Pace) -> Answer:
        """Return the answer; whatever goes wrong is one, but for bugs."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken on."""

    workers: int
    """Calls performed at the same time."""
    queue: int
    """Calls that may wait besides, or be on their way in."""
    deadline_s: float
    """How long each may take, its waiting included."""


@dataclass(frozen=True, slots=True)
class Finished:
    """One call that was answered."""

    verb: str
    """As the caller wrote it: any text at all."""
    code: int
    """The CNI error code; 0 for success."""
    seconds: float
    phases: Mapping[str, float]
    """Seconds, by phase."""
    restored: int
    """How many VFs it brought home."""


class Calls:
    """The calls that are taken on and not answered yet.

    Args:
        perform: performs one.
        limits: how many.
        finished: is told of each.
    """

    def __init__(self, perform: Perform, *, limits: Limits, finished: Callable[[Finished], None]) -> None:
        self.limits = limits
        self._perform = perform
        self.finished = finished
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="call")
        self._lock = threading.Lock()
        self._lines: dict[PciAddress, deque[_Call]] = {}
        self._taken = self._working = 0
        self.is_stopping = False
        """Whether none is begun any more."""

    @property
    def working(self) -> int:
        """How many are at work."""
        return self._working

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return max(0, self._taken - self._working)

    def reserve(self) -> bool:
        """Take a place for a call that is on its way in. Returns whether there was one."""
        with self._lock:
            if self._taken >= self.limits.workers + self.limits.queue:
                return False
            self._taken += 1
            return True

    def free(self) -> None:
        """Give a place back."""
        with self._lock:
            self._taken -= 1

    def take(self, connection: socket.socket, caller: Caller, descriptors: list[int]) -> None:
        """Have a call performed and answered; place, connection and descriptors are given back then."""
        call = _Call(connection, caller, descriptors, Pace(deadline_s=self.limits.deadline_s))
        vf = _find_vf(caller)
        if vf is None:
            self._pool.submit(self._answer, call)
            return
        with self._lock:
            line = self._lines.setdefault(vf, deque())
            line.append(call)
            if len(line) > 1:
                return
        self._pool.submit(self._answer_line, vf)

    def stop(self) -> None:
        """Finish what is begun; let the clients of all others do it themselves."""
        self.is_stopping = True
        self._pool.shutdown(wait=True)

    def _answer_line(self, vf: PciAddress) -> None:
        """Answer the calls in a VF's line until there is none."""
        call: _Call | None = self._lines[vf][0]
        while call is not None:
            self._answer(call)
            with self._lock:
                line = self._lines[vf]
                line.popleft()
                call = line[0] if line else None
                if call is None:
                    del self._lines[vf]

    def _answer(self, call: _Call) -> None:
        with self._lock:
            self._working += 1
        try:
            self._answer_call(call)
        except Exception:
            # Those behind it get their turn all the same.
            logger.exception("a call was not answered")
        finally:
            call.close()
            with self._lock:
                self._working -= 1
                self._taken -= 1

    def _answer_call(self, call: _Call) -> None:
        if self.is_stopping:
            call.send(NOT_HERE)
            return
        if call.is_abandoned():
            return
        call.pace.lap("queue")
        answer = self._perform_call(call.caller, call.pace)
        if _verb_of(call.caller) == Verb.ADD and answer.status == 0 and call.is_abandoned():
            logger.warning("the caller of an ADD is gone; undoing it")
            undo = replace(call.caller, environment={**call.caller.environment, "CNI_COMMAND": Verb.DEL.value})
            self._perform_call(undo, Pace(deadline_s=self.limits.deadline_s))
            return
        call.send(render_answer(answer.text, answer.status))

    def _perform_call(self, caller: Caller, pace: Pace) -> Answer:
        try:
            answer = self._perform(caller, pace=pace)
        except Exception as error:
            logger.exception("a call went wrong")
            answer = answer_bug(caller, error)
        self.finished(Finished(_verb_of(caller), answer.code, pace.elapsed_s, pace.phases, pace.restored))
        return answer


@dataclass(frozen=True, slots=True)
class _Call:
    """One call that is taken on."""

    connection: socket.socket
    caller: Caller
    descriptors: list[int]
    pace: Pace

    def is_abandoned(self) -> bool:
        return is_gone(self.connection)

    def send(self, answer: bytes) -> None:
        # The caller may be gone: then nobody wants the answer.
        with suppress(OSError):
            self.connection.settimeout(_SEND_TIMEOUT_S)
            self.connection.sendall(answer)

    def close(self) -> None:
        close_all(self.connection, self.descriptors)


def is_gone(connection: socket.socket) -> bool:
    """Tell whether the client has closed its end."""
    connection.settimeout(0)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def close_all(connection: socket.socket, descriptors: list[int]) -> None:
    """Close a connection, and the descriptors that came over it."""
    connection.close()
    while descriptors:
        with suppress(OSError):
            os.close(descriptors.pop())


def _verb_of(caller: Caller) -> str:
    return caller.environment.get("CNI_COMMAND", "")


def _find_vf(caller: Caller) -> PciAddress | None:
    """Return the VF that a call works on; None when it works on none, or when nobody can tell."""
    if _verb_of(caller) not in _OF_ONE_VF:
        return None
    try:
        return find_device(parse_request(caller.environment, caller.stdin))
    except DpuError:
        # Its answer says what is wrong with it; it changes nothing.
        return None
