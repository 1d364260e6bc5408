"""Read and change Open vSwitch's database: the bridge, its ports, what ovs-vswitchd said to them.

A `Database` is a replica kept current by the library `ovs` (OVSDB, RFC 7047); reading costs no round trip. It is for
one thread. Every change goes in one transaction, touches only what it names, and waits until ovs-vswitchd has taken it
over (``next_cfg``, ``cur_cfg``). Schema: vswitch.ovsschema of Open vSwitch 3.1 and later.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import ovs.jsonrpc
import ovs.poller
import ovs.stream
from ovs.db import idl

from offload.model import OWNER_KEY, Bridge, BridgePort, SwitchSnapshot
from offload.step import ChangePort, EnsureBridge, RemovePort, SwitchStep
from sriov.errors import InputError, UnreachableError

CONNECT_TIMEOUT_S = 5.0
COMMIT_TIMEOUT_S = 10.0

_TRY_AGAIN_S = 0.05

_DATABASE = "Open_vSwitch"
_COLUMNS = {
    "Open_vSwitch": ["bridges", "cur_cfg", "next_cfg", "other_config"],
    "Bridge": ["name", "ports", "datapath_type", "fail_mode", "protocols", "other_config"],
    "Port": ["name", "interfaces", "external_ids"],
    "Interface": ["name", "type", "options", "external_ids", "ofport", "ofport_request", "error"],
}


class Database:
    """A replica of the database at `remote` (``unix:/var/run/openvswitch/db.sock``)."""

    def __init__(self, replica: idl.Idl, *, remote: str) -> None:
        self._idl = replica
        self._remote = remote

    # -- what is -------------------------------------------------------------------------------------------------------

    def refresh(self) -> int:
        """Take over what has changed. Returns a number that differs when anything did."""
        self._idl.run()
        return int(self._idl.change_seqno)

    def read_switch(self, bridge: str) -> SwitchSnapshot:
        """Read the bridge named `bridge`, every port of every bridge, and the offload settings."""
        root = self._root()
        config = dict(root.other_config)
        found = next((row for row in root.bridges if row.name == bridge), None)
        return SwitchSnapshot(
            bridge=None if found is None else _bridge(found),
            ports=tuple(port for row in root.bridges for port in _ports(row)),
            hw_offload=config.get("hw-offload") == "true",
            tc_policy=config.get("tc-policy", "none"),
        )

    def wait(self, descriptors: Iterable[int], *, timeout_s: float) -> None:
        """Sleep until the database, or one of `descriptors`, has something to say, at most `timeout_s`."""
        poller = ovs.poller.Poller()
        self._idl.wait(poller)
        for descriptor in descriptors:
            poller.fd_wait(descriptor, ovs.poller.POLLIN)
        poller.timer_wait(max(0, int(timeout_s * 1000)))
        poller.block()

    def _root(self) -> idl.Row:
        row = next(iter(self._idl.tables["Open_vSwitch"].rows.values()), None)
        if row is None:
            raise UnreachableError(self._remote, "the database is empty", hint="start Open vSwitch by its own service")
        return row

    # -- changing it ---------------------------------------------------------------------------------------------------

    def apply(self, steps: Iterable[SwitchStep]) -> None:
        """Perform `steps` in one transaction, then wait until ovs-vswitchd has taken it over.

        A port that ovs-vswitchd cannot open is no failure here: its `BridgePort.error` says so.

        Raises:
            InputError: the database refused it (a constraint).
            UnreachableError: the database, or ovs-vswitchd, does not answer; the change may have been made.
        """
        steps = tuple(steps)
        deadline = time.monotonic() + COMMIT_TIMEOUT_S
        while True:
            transaction = idl.Transaction(self._idl)
            try:
                root = self._root()
                for step in steps:
                    self._perform(transaction, root, step)
                root.increment("next_cfg")
                status = self._commit(transaction, deadline)
            except BaseException:
                # The replica takes no second transaction while it knows of this one.
                transaction.abort()
                raise
            if status != idl.Transaction.TRY_AGAIN:
                break
            # The database has moved on, or the connection is being made anew: take over what is there now.
            self._block(ovs.poller.Poller(), deadline, "did not take a change", at_most_s=_TRY_AGAIN_S)
        if status not in (idl.Transaction.SUCCESS, idl.Transaction.UNCHANGED):
            raise InputError(self._remote, f"the database refused the change: {transaction.get_error() or status}")
        if status == idl.Transaction.SUCCESS:
            self._await_vswitchd(transaction.get_increment_new_value(), deadline)

    def _perform(self, transaction: idl.Transaction, root: idl.Row, step: SwitchStep) -> None:
        match step:
            case EnsureBridge():
                self._ensure_bridge(transaction, root, step)
            case ChangePort():
                self._change_port(transaction, root, step)
            case RemovePort(bridge, name):
                row = _named(root.bridges, bridge)
                port = row and _named(row.ports, name)
                if row and port:
                    row.delvalue("ports", port)

    def _ensure_bridge(self, transaction: idl.Transaction, root: idl.Row, step: EnsureBridge) -> None:
        bridge = _named(root.bridges, step.name)
        if bridge is None:
            bridge = transaction.insert(self._idl.tables["Bridge"])
            bridge.name = step.name
            bridge.datapath_type = step.datapath_type
            bridge.ports = [self._insert_port(transaction, step.name, kind="internal")]
            # A row just inserted has no columns to read but those set here.
            bridge.protocols, bridge.other_config = [], {}
            root.addvalue("bridges", bridge)
        bridge.fail_mode = "secure"
        bridge.protocols = sorted({*bridge.protocols, *step.protocols})
        if step.hwaddr:
            bridge.setkey("other_config", "hwaddr", step.hwaddr)

    def _change_port(self, transaction: idl.Transaction, root: idl.Row, step: ChangePort) -> None:
        bridge = _named(root.bridges, step.bridge)
        if bridge is None:
            raise AssertionError(step)
        wish = step.wish
        port = _named(bridge.ports, wish.name)
        if port is None:
            port = self._insert_port(transaction, wish.name, kind=wish.kind)
            bridge.addvalue("ports", port)
        interface = port.interfaces[0]
        # Of another owner nothing stays; beside our own words those of others do (ovn-installed).
        same_owner = dict(port.external_ids).get(OWNER_KEY) == wish.owner
        others = dict(interface.external_ids) if same_owner else {}
        port.external_ids = {OWNER_KEY: wish.owner}
        interface.type = wish.kind
        interface.options = dict(wish.options)
        interface.external_ids = {**others, OWNER_KEY: wish.owner, **dict(wish.external_ids)}
        if wish.ofport_request is not None:
            interface.ofport_request = wish.ofport_request

    def _insert_port(self, transaction: idl.Transaction, name: str, *, kind: str) -> idl.Row:
        interface = transaction.insert(self._idl.tables["Interface"])
        interface.name = name
        interface.type = kind
        interface.external_ids = {}
        port = transaction.insert(self._idl.tables["Port"])
        port.name = name
        port.interfaces = [interface]
        port.external_ids = {}
        return port

    def _commit(self, transaction: idl.Transaction, deadline: float) -> str:
        while True:
            status = transaction.commit()
            if status != idl.Transaction.INCOMPLETE:
                return str(status)
            poller = ovs.poller.Poller()
            transaction.wait(poller)
            self._block(poller, deadline, "did not answer a change")

    def _await_vswitchd(self, number: int, deadline: float) -> None:
        while (self._root().cur_cfg or 0) < number:
            self._block(ovs.poller.Poller(), deadline, "has the change, but ovs-vswitchd did not take it over")

    def _block(
        self, poller: ovs.poller.Poller, deadline: float, what: str, *, at_most_s: float = COMMIT_TIMEOUT_S
    ) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            hint = "look at ovs-vswitchd and ovsdb-server"
            raise UnreachableError(self._remote, f"{what} within {COMMIT_TIMEOUT_S:g} s", hint=hint)
        self._idl.wait(poller)
        poller.timer_wait(int(min(left, at_most_s) * 1000) + 1)
        poller.block()
        self._idl.run()


@contextmanager
def open_database(remote: str, *, timeout_s: float = CONNECT_TIMEOUT_S) -> Iterator[Database]:
    """Connect to the database and take a first replica of it.

    Raises:
        UnreachableError: it is not there, or did not give its contents in time.
    """
    schema = _read_schema(remote, timeout_s=timeout_s)
    columns = idl.SchemaHelper(schema_json=schema)
    for table, names in _COLUMNS.items():
        columns.register_columns(table, names)
    replica = idl.Idl(remote, columns)
    try:
        _await_contents(replica, remote=remote, timeout_s=timeout_s)
        yield Database(replica, remote=remote)
    finally:
        replica.close()


def _await_contents(replica: idl.Idl, *, remote: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    replica.run()
    while not replica.has_ever_connected():
        left = deadline - time.monotonic()
        if left <= 0:
            raise UnreachableError(remote, f"the database gave no contents within {timeout_s:g} s")
        poller = ovs.poller.Poller()
        replica.wait(poller)
        poller.timer_wait(int(left * 1000) + 1)
        poller.block()
        replica.run()


def _read_schema(remote: str, *, timeout_s: float) -> object:
    hint = "start ovsdb-server on this DPU; if it runs, name its socket in the agent's configuration (ovsdb)"
    status, stream = ovs.stream.Stream.open_block(ovs.stream.Stream.open(remote), int(timeout_s * 1000))
    if status or stream is None:
        raise UnreachableError(remote, f"the database does not answer: {os.strerror(status or errno.EIO)}", hint=hint)
    connection = ovs.jsonrpc.Connection(stream)
    try:
        reply = _transact(
            connection, ovs.jsonrpc.Message.create_request("get_schema", [_DATABASE]), timeout_s=timeout_s
        )
    finally:
        connection.close()
    if reply is None or reply.error:
        raise UnreachableError(remote, f"the database gave no schema of {_DATABASE} within {timeout_s:g} s", hint=hint)
    return reply.result


def _transact(
    connection: ovs.jsonrpc.Connection, request: ovs.jsonrpc.Message, *, timeout_s: float
) -> ovs.jsonrpc.Message | None:
    """Return the reply, None when there was none in time. The library's own word for this waits for ever."""
    deadline = time.monotonic() + timeout_s
    status = connection.send(request)
    while not status and (left := deadline - time.monotonic()) > 0:
        connection.run()
        status, message = connection.recv()
        if not status and message is not None and message.id == request.id:
            return message
        if status == errno.EAGAIN:
            status = 0
            poller = ovs.poller.Poller()
            connection.wait(poller)
            connection.recv_wait(poller)
            poller.timer_wait(int(left * 1000) + 1)
            poller.block()
    return None


def _named(rows: Iterable[idl.Row], name: str) -> idl.Row | None:
    return next((row for row in rows if row.name == name), None)


def _bridge(row: idl.Row) -> Bridge:
    return Bridge(
        name=row.name,
        datapath_type=row.datapath_type,
        fail_mode=row.fail_mode[0] if row.fail_mode else "",
        protocols=frozenset(row.protocols),
        hwaddr=dict(row.other_config).get("hwaddr", ""),
    )


def _ports(bridge: idl.Row) -> Iterator[BridgePort]:
    for port in bridge.ports:
        for interface in port.interfaces:
            number = interface.ofport[0] if interface.ofport else None
            yield BridgePort(
                name=interface.name,
                bridge=bridge.name,
                kind=interface.type,
                ofport=number if (number is not None and number > 0) or port.name == bridge.name else None,
                ofport_request=interface.ofport_request[0] if interface.ofport_request else None,
                error=interface.error[0] if interface.error else "",
                options=tuple(sorted(interface.options.items())),
                external_ids=tuple(sorted({**dict(port.external_ids), **dict(interface.external_ids)}.items())),
            )
