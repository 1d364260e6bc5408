"""Which calls wait for which, and what becomes of them when nobody wants them any more."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from cni.daemon.calls import NOT_HERE, Calls, Finished, Limits
from cni.pace import Pace
from cni.perform import Answer, Caller

pytestmark = pytest.mark.netns

PATIENCE_S = 20
VF, OTHER = "0000:03:10.0", "0000:03:10.1"


def make_caller(verb: str, container: str, vf: str = VF) -> Caller:
    environment = {
        "CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_IFNAME": "net1", "CNI_NETNS": "/x", "CNI_PATH": "/x",
    }  # fmt: skip
    config = {"cniVersion": "1.1.0", "name": "n", "type": "dpukit", "deviceID": vf}
    return Caller(environment, json.dumps(config).encode(), None)


@dataclass
class Work:
    """Performs calls; one whose container has a gate waits there."""

    gates: dict[str, threading.Event] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)

    def __call__(self, caller: Caller, *, pace: Pace) -> Answer:
        name = f"{caller.environment['CNI_COMMAND']} {caller.environment['CNI_CONTAINERID']}"
        self.begun.append(name)
        gate = self.gates.get(caller.environment["CNI_CONTAINERID"])
        assert gate is None or gate.wait(PATIENCE_S)
        if "bug" in name:
            raise ZeroDivisionError
        pace.lap("move")
        self.done.append(name)
        return Answer(name.encode(), 0)


@contextmanager
def running(work: Work, *, workers: int = 4, queue: int = 100) -> Iterator[Calls]:
    calls = Calls(work, limits=Limits(workers, queue, 60), finished=work.finished.append)
    try:
        yield calls
    finally:
        for gate in work.gates.values():
            gate.set()
        calls.stop()


def send(calls: Calls, caller: Caller) -> socket.socket:
    """Hand a call on as the server does; returns the client's end."""
    assert calls.reserve()
    client, ours = socket.socketpair()
    client.settimeout(PATIENCE_S)
    calls.take(ours, caller, [])
    return client


def read(client: socket.socket) -> bytes:
    """Read the answer; without its head."""
    with client:
        answer = b""
        while part := client.recv(1000):
            answer += part
    return answer if answer in (b"", NOT_HERE) else answer[5:]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_calls_for_one_vf_are_performed_in_the_order_in_which_they_came() -> None:
    work = Work({"c0": threading.Event()})
    with running(work, workers=8) as calls:
        clients = [send(calls, make_caller(verb, f"c{n}")) for n in range(20) for verb in ("ADD", "DEL")]
        wait_until(lambda: work.begun == ["ADD c0"])
        work.gates["c0"].set()
        assert [read(client) for client in clients] == [
            f"{verb} c{n}".encode() for n in range(20) for verb in ("ADD", "DEL")
        ]
    assert work.begun == work.done == [f"{verb} c{n}" for n in range(20) for verb in ("ADD", "DEL")]


def test_calls_for_another_vf_and_for_none_do_not_wait_even_when_workers_are_few() -> None:
    """A VF's line takes one worker, however long it is."""
    work = Work({"stuck": threading.Event()})
    with running(work, workers=2) as calls:
        stuck = [send(calls, make_caller("ADD", "stuck")) for _ in range(10)]
        assert read(send(calls, make_caller("ADD", "other", OTHER))) == b"ADD other"
        assert read(send(calls, make_caller("STATUS", "other"))) == b"STATUS other"
        wait_until(lambda: (calls.working, calls.waiting) == (1, 9))
        work.gates["stuck"].set()
        assert {read(client) for client in stuck} == {b"ADD stuck"}


def test_places_are_bounded_and_given_back() -> None:
    work = Work({"stuck": threading.Event()})
    with running(work, workers=1, queue=1) as calls:
        clients = [send(calls, make_caller("ADD", "stuck")) for _ in range(2)]
        assert not calls.reserve()
        work.gates["stuck"].set()
        assert [read(client) for client in clients] == [b"ADD stuck"] * 2
        wait_until(calls.reserve)
        calls.free()


def test_a_call_whose_caller_has_gone_while_it_waited_is_not_begun() -> None:
    work = Work({"first": threading.Event()})
    with running(work) as calls:
        first, second, third = (send(calls, make_caller("ADD", name)) for name in ("first", "second", "third"))
        second.close()
        work.gates["first"].set()
        assert (read(first), read(third)) == (b"ADD first", b"ADD third")
    assert work.begun == ["ADD first", "ADD third"]


def test_an_add_whose_caller_has_gone_when_it_stands_is_undone_before_the_next_call_for_its_vf() -> None:
    work = Work({"gone": threading.Event()})
    with running(work) as calls:
        gone, after = send(calls, make_caller("ADD", "gone")), send(calls, make_caller("ADD", "after"))
        wait_until(lambda: work.begun == ["ADD gone"])
        gone.close()
        work.gates["gone"].set()
        assert read(after) == b"ADD after"
    assert work.done == ["ADD gone", "DEL gone", "ADD after"]


def test_a_bug_costs_its_caller_an_error_and_those_behind_it_nothing() -> None:
    work = Work()
    with running(work) as calls:
        assert json.loads(read(send(calls, make_caller("ADD", "bug"))))["code"] == 999
        assert read(send(calls, make_caller("ADD", "after"))) == b"ADD after"
    assert [(finished.verb, finished.code) for finished in work.finished] == [("ADD", 999), ("ADD", 0)]


def test_every_call_is_told_of_with_its_phases() -> None:
    work = Work()
    with running(work) as calls:
        read(send(calls, make_caller("DEL", "c1")))
    (finished,) = work.finished
    assert (finished.verb, finished.code, list(finished.phases)) == ("DEL", 0, ["queue", "move"])
    assert finished.seconds >= sum(finished.phases.values()) >= 0


def test_a_stop_finishes_what_is_begun_and_sends_the_others_away() -> None:
    work = Work({"begun": threading.Event()})
    with running(work) as calls:
        begun, waiting = send(calls, make_caller("ADD", "begun")), send(calls, make_caller("ADD", "waiting"))
        wait_until(lambda: work.begun == ["ADD begun"])
        stopping = threading.Thread(target=calls.stop)
        stopping.start()
        wait_until(lambda: calls.is_stopping)
        work.gates["begun"].set()
        assert (read(begun), read(waiting)) == (b"ADD begun", NOT_HERE)
        stopping.join(PATIENCE_S)
        assert not stopping.is_alive()
