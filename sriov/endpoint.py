"""Where a daemon answers HTTP: an address and a port, or a UNIX socket. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from sriov.errors import InputError

_UNIX = "unix:"


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """An IP address of this machine and a port."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixEndpoint:
    """A socket in the file system."""

    path: str

    def __str__(self) -> str:
        return f"{_UNIX}{self.path}"


Endpoint = TcpEndpoint | UnixEndpoint


def parse_endpoint(text: str) -> Endpoint:
    """Read ``127.0.0.1:9402``, ``[::1]:9402`` or ``unix:/run/dpukit/metrics.sock``.

    Raises:
        InputError: `text` is anything else.
    """
    if text.startswith(_UNIX):
        path = text.removeprefix(_UNIX)
        if not path.startswith("/") or "\0" in path or len(path.encode()) > 107:
            raise InputError("endpoint", f"{text!r} is no absolute path of at most 107 octets")
        return UnixEndpoint(path)
    address, colon, port = text.rpartition(":")
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    if not colon or not _is_address(bare, bracketed=bare != address) or not _is_port(port):
        raise InputError(
            "endpoint",
            f"{text!r} is no address with a port",
            hint="write it as 127.0.0.1:9402, [::1]:9402 or unix:/run/dpukit/metrics.sock; 0.0.0.0 and [::] are all",
        )
    return TcpEndpoint(bare, int(port))


def _is_address(text: str, *, bracketed: bool) -> bool:
    try:
        return (ip_address(text).version == 6) is bracketed
    except ValueError:
        return False


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535
