"""Ask ovs-vswitchd on its control socket, as ovs-appctl does: JSON-RPC 1.0, one request per connection.

ovs-vswitchd writes its process number to ``<run dir>/ovs-vswitchd.pid`` and listens on
``<run dir>/ovs-vswitchd.<number>.ctl`` (ovs-vswitchd(8)).
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

from sriov.errors import InputError, UnreachableError

_TIMEOUT_S = 10.0
_SUBJECT = "ovs-vswitchd"


def call_vswitchd(run_dir: Path, command: str, *words: str) -> str:
    """Give one command and return what it prints.

    Raises:
        UnreachableError: ovs-vswitchd is not there, or does not answer.
        InputError: it does not take the command.
    """
    request = json.dumps({"id": 0, "method": command, "params": words}).encode()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(_TIMEOUT_S)
            connection.connect(str(_find_socket(run_dir)))
            connection.sendall(request)
            reply = _read_reply(connection)
    except OSError as error:
        raise UnreachableError(
            _SUBJECT,
            f"does not answer in {str(run_dir)!r}: {error.strerror or 'no answer in time'}",
            hint="start ovs-vswitchd; if it runs, its run directory is another one (runDir)",
        ) from error
    if reply.get("error"):
        raise InputError(_SUBJECT, f"does not take {command!r}: {str(reply['error']).strip()}")
    return str(reply.get("result") or "")


def _find_socket(run_dir: Path) -> Path:
    number = (run_dir / "ovs-vswitchd.pid").read_text(encoding="ascii").strip()
    return run_dir / f"ovs-vswitchd.{number}.ctl"


def _read_reply(connection: socket.socket) -> dict[str, object]:
    buffer = b""
    while octets := connection.recv(1 << 18):
        buffer += octets
        # The reply is one object and nothing marks its end but its last brace.
        if octets.rstrip().endswith(b"}"):
            try:
                found = json.loads(buffer)
            except ValueError:
                continue
            if isinstance(found, dict):
                return found
    raise UnreachableError(_SUBJECT, "hung up in the middle of its answer")
