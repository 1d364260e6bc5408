"""The thin client: hand one call to `dpukit-node` and pass its answer on.

What is imported here is paid for by every pod on every node: `_socket`, `os` and `sys`, and nothing else, not even
``__future__`` or ``socket``. The text of this file is also the body of the executable that `cni.install` writes.

The call is one message on the daemon's UNIX socket: the word `MAGIC`, the lengths of environment and input (4 octets each,
network order; all ones for an input that could not be read), both as they came, and the pod's namespace as a descriptor
(SCM_RIGHTS). The answer: one octet of exit status, 4 octets of length, the text for standard output.
"""

import _socket
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAGIC = b"dpukit1\n"
UNREADABLE = 0xFFFFFFFF
NOT_PERFORMED = 255
"""The status with which a daemon of another version says: do it yourself."""
PATIENCE_S = 110
"""Longer than the daemon takes for anything. Shorter than kubelet gives a sandbox to go (two minutes), so that a DEL which a
daemon sits on is done here in time."""

SOCKET_NAME = "node.sock"

VERSIONS = b'{"cniVersion":"1.1.0","supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}\n'
ABOUT = (
    b"dpukit: a CNI plugin that moves SR-IOV virtual functions into pods. A container runtime calls it.\n"
    b"CNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n"
)
LOST = b'{"cniVersion":"1.1.0","code":11,"msg":"dpukit-node: ended during this ADD (call DEL, then ADD again)"}\n'


class LostError(Exception):
    """The daemon took the call and did not answer it."""


def main(perform_here: "Callable[[bytes | None, int | None], tuple[bytes, int]]") -> int:
    """Perform the call that this process' environment and input describe. Returns the exit status.

    Args:
        perform_here: performs it in this process, given the input (None: unreadable) and the descriptor of the pod's
            namespace (None: there is none); returns the text for standard output and the exit status.
    """
    command = os.environb.get(b"CNI_COMMAND", b"")
    if not command:
        _write(2, ABOUT)
        return 0
    if command == b"VERSION":
        _write(1, VERSIONS)
        return 0
    stdin, netns = _read_stdin(), _open_netns()
    try:
        answer = ask(_socket_path(), render_call(stdin), netns)
    except LostError:
        answer = (LOST, 1) if command == b"ADD" else None
    text, status = perform_here(stdin, netns) if answer is None else answer
    _write(1, text)
    return status


def render_call(stdin: "bytes | None") -> bytes:
    """Render this process' environment and its input as one message."""
    environment = b"\0".join([key + b"=" + value for key, value in os.environb.items()])
    length = UNREADABLE if stdin is None else len(stdin)
    return MAGIC + len(environment).to_bytes(4, "big") + length.to_bytes(4, "big") + environment + (stdin or b"")


def ask(path: bytes, call: bytes, netns: "int | None") -> "tuple[bytes, int] | None":
    """Let the daemon perform a call. Returns what it says for standard output and its status; None when there is none.

    Raises:
        LostError: it took the call and did not answer.
    """
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(PATIENCE_S)
        try:
            connection.connect(path)
        except OSError:
            return None
        _send(connection, call, netns)
        answer = _receive(connection)
    finally:
        connection.close()
    return None if answer[0] == NOT_PERFORMED else (answer[5:], answer[0])


def _send(connection: _socket.socket, call: bytes, netns: "int | None") -> None:
    rights = [] if netns is None else [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, netns.to_bytes(4, sys.byteorder))]
    try:
        sent = connection.sendmsg([call], rights)
        connection.sendall(call[sent:])
    except OSError:
        # A daemon with too much to do answers without reading: what it said is there to be read.
        return


def _receive(connection: _socket.socket) -> bytes:
    answer = b""
    while len(answer) < 5 or len(answer) < 5 + int.from_bytes(answer[1:5], "big"):
        try:
            part = connection.recv(65536)
        except OSError:
            part = b""
        if not part:
            raise LostError
        answer += part
    return answer


def _socket_path() -> bytes:
    return (os.environb.get(b"DPUKIT_RUN") or b"/run/dpukit") + b"/" + SOCKET_NAME.encode()


def _open_netns() -> "int | None":
    try:
        # Without O_NONBLOCK a pipe in place of a namespace would hold us up.
        return os.open(os.environb.get(b"CNI_NETNS", b""), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None


def _read_stdin() -> "bytes | None":
    text = b""
    try:
        while part := os.read(0, 65536):
            text += part
    except OSError:
        return None
    return text


def _write(descriptor: int, text: bytes) -> None:
    try:
        while text:
            text = text[os.write(descriptor, text) :]
    except OSError:
        # Nobody listens any more: the status is all there is left to say.
        return
