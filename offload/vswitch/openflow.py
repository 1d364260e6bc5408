"""Read and change the flows of a bridge: OpenFlow 1.5 on the bridge's own management socket.

``<run dir>/<bridge>.mgmt`` is there as long as ovs-vswitchd runs; end of file on it means that ovs-vswitchd died and its
flows with it. A connection is for one thread. It never asks for packets.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from offload.flow import Flow
from offload.step import AddFlow, FlowStep
from offload.vswitch.message import (
    HEADER,
    VERSION,
    BundleControl,
    Command,
    Kind,
    decode_flows,
    describe_error,
    encode,
    encode_bundle_add,
    encode_bundle_control,
    encode_flow_mod,
    encode_flow_request,
    encode_hello,
    is_last_part,
)
from sriov.errors import InputError, UnreachableError

DEADLINE_S = 10.0


class FlowConnection:
    """An open connection to one bridge.

    Args:
        connection: a connected stream socket.
        bridge: the bridge's name, for errors.
    """

    def __init__(self, connection: socket.socket, *, bridge: str) -> None:
        self._connection = connection
        self._subject = f"bridge {bridge}"
        self._buffer = b""
        self._xid = 0
        self._deadline = 0.0

    def fileno(self) -> int:
        """Return the descriptor to wait on: readable means `is_alive` has something to look at."""
        return self._connection.fileno()

    def greet(self) -> None:
        """Agree on OpenFlow 1.5.

        Raises:
            UnreachableError: the switch does not answer.
            InputError: the bridge does not allow this version.
        """
        self._begin()
        self._send(encode_hello(self._next_xid()))
        self._read()

    def read_flows(self) -> tuple[Flow, ...]:
        """Read every flow of the bridge, ours or not.

        Raises:
            UnreachableError: the switch does not answer, or hung up.
        """
        self._begin()
        wanted = self._next_xid()
        self._send(encode_flow_request(wanted))
        flows: list[Flow] = []
        while True:
            kind, xid, body = self._read()
            if xid != wanted:
                continue
            if kind == Kind.ERROR:
                raise InputError(self._subject, f"refuses to show its flows: {describe_error(body)}")
            try:
                flows.extend(decode_flows(body))
                is_last = is_last_part(body)
            except struct.error as error:
                raise UnreachableError(self._subject, f"sent flows that cannot be read: {error}") from error
            if is_last:
                return tuple(flows)

    def apply(self, changes: Sequence[FlowStep]) -> None:
        """Make all changes at once, in one atomic bundle; on error none of them.

        Raises:
            InputError: the switch refused one; the text shows that flow.
            UnreachableError: the switch does not answer, or hung up; whether the changes were made is unknown.
        """
        self._begin()
        bundle = self._next_xid()
        sent: dict[int, FlowStep] = {}
        parts = [encode_bundle_control(BundleControl.OPEN_REQUEST, bundle, bundle)]
        for change in changes:
            xid = self._next_xid()
            sent[xid] = change
            command = Command.ADD if isinstance(change, AddFlow) else Command.DELETE_STRICT
            parts.append(encode_bundle_add(encode_flow_mod(command, change.flow, xid), bundle, xid))
        # A part the switch cannot read is left out of the bundle, and the rest would be committed: look first.
        refusal = self._ask(bundle, BundleControl.CLOSE_REQUEST, sent, before=b"".join(parts))
        if refusal is None:
            refusal = self._ask(bundle, BundleControl.COMMIT_REQUEST, sent)
        else:
            self._ask(bundle, BundleControl.DISCARD_REQUEST, sent)
        if refusal is not None:
            raise refusal

    def _ask(
        self, bundle: int, control: BundleControl, sent: dict[int, FlowStep], *, before: bytes = b""
    ) -> InputError | None:
        """Ask one thing of the bundle and read up to the answer. Returns the first refusal of one of its flows."""
        wanted = self._next_xid()
        self._send(before + encode_bundle_control(control, bundle, wanted))
        refusal: InputError | None = None
        while True:
            kind, xid, body = self._read()
            if kind == Kind.ERROR and refusal is None:
                flow = str(sent[xid].flow) if xid in sent else "the bundle as a whole"
                said = describe_error(body)
                refusal = InputError(self._subject, f"refused {flow!r}: {said}", hint="no flow was changed")
            if xid == wanted:
                return refusal

    def is_alive(self) -> bool:
        """Take what the switch sent by itself (it probes now and then); False when it has hung up."""
        self._begin()
        try:
            while self._has_input():
                self._receive()
        except UnreachableError:
            return False
        return True

    def _has_input(self) -> bool:
        if len(self._buffer) >= HEADER.size:
            return True
        try:
            self._connection.settimeout(0)
            octets = self._connection.recv(1 << 16)
        except BlockingIOError:
            return False
        except OSError:
            octets = b""
        if not octets:
            raise UnreachableError(self._subject, "ovs-vswitchd has hung up")
        self._buffer += octets
        return True

    # -- one message ---------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._deadline = time.monotonic() + DEADLINE_S

    def _next_xid(self) -> int:
        self._xid = self._xid % 0xFFFFFFFE + 1
        return self._xid

    def _send(self, octets: bytes) -> None:
        try:
            self._connection.settimeout(DEADLINE_S)
            self._connection.sendall(octets)
        except OSError as error:
            raise self._unreachable(error) from error

    def _read(self) -> tuple[int, int, bytes]:
        """Read the next message that is not a probe."""
        while True:
            message = self._receive()
            if message is not None:
                return message

    def _receive(self) -> tuple[int, int, bytes] | None:
        """Read one message; None when it was a probe, which is answered."""
        version, kind, length, xid = HEADER.unpack(self._take(HEADER.size))
        if length < HEADER.size:
            raise UnreachableError(self._subject, f"sent a message that says it is {length} octets long")
        if version < VERSION:
            # A switch says hello with the newest version it may speak.
            raise InputError(
                self._subject, "does not speak OpenFlow 1.5", hint="add OpenFlow15 to the bridge's protocols"
            )
        body = self._take(length - HEADER.size) if length > HEADER.size else b""
        if kind == Kind.ECHO_REQUEST:
            self._send(encode(Kind.ECHO_REPLY, xid, body))
            return None
        return kind, xid, body

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            try:
                self._connection.settimeout(max(0.01, self._deadline - time.monotonic()))
                octets = self._connection.recv(1 << 18)
            except OSError as error:
                raise self._unreachable(error) from error
            if not octets:
                raise UnreachableError(self._subject, "ovs-vswitchd has hung up", hint="it was stopped or crashed")
            self._buffer += octets
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _unreachable(self, error: OSError) -> UnreachableError:
        if isinstance(error, TimeoutError):
            return UnreachableError(self._subject, f"ovs-vswitchd did not answer within {DEADLINE_S:g} s")
        return UnreachableError(self._subject, f"lost ovs-vswitchd: {error.strerror}")


@contextmanager
def open_flows(run_dir: Path, bridge: str) -> Iterator[FlowConnection]:
    """Connect to `bridge`.

    Raises:
        UnreachableError: ovs-vswitchd is not there, or has no such bridge (yet).
    """
    path = run_dir / f"{bridge}.mgmt"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        try:
            connection.settimeout(DEADLINE_S)
            connection.connect(str(path))
        except OSError as error:
            raise UnreachableError(
                f"bridge {bridge}",
                f"no answer at {str(path)!r}: {error.strerror}",
                hint="start ovs-vswitchd; if it runs, its run directory is another one (runDir)",
            ) from error
        flows = FlowConnection(connection, bridge=bridge)
        flows.greet()
        yield flows
