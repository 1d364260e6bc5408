"""Results and errors as CNI JSON, in the version the caller speaks; which error has which code.

Pure. Formats: CNI specification 1.1.0, "Section 5: Result Types", and for older versions its earlier editions.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from sriov.document import (
    Address,
    Faults,
    Interface,
    Network,
    Section,
    parse_address,
    parse_interface,
    parse_network,
)
from sriov.errors import (
    BusyError,
    DpuError,
    InputError,
    KernelError,
    NotFoundError,
    UnreachableError,
    UnsupportedError,
    VerifyError,
)
from sriov.link import Route

SUPPORTED_VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
CURRENT_VERSION = SUPPORTED_VERSIONS[-1]

_INTERFACES_SINCE = (0, 3, 0)
_WITHOUT_IP_VERSION_SINCE = (1, 0, 0)


class VersionError(InputError):
    """The configuration speaks a version of CNI in which this cannot be answered."""


class FieldError(UnsupportedError):
    """The configuration asks for something we do not offer."""


class UnknownContainerError(NotFoundError):
    """The container is not there; the runtime has nothing to clean up."""


class EnvironmentInputError(InputError):
    """A CNI_* variable is missing or malformed."""


class StandardInputError(DpuError):
    """Standard input cannot be read."""


class DecodeError(InputError):
    """What came on standard input is no JSON of the right shape."""


class NetnsInputError(InputError):
    """CNI_NETNS is not a network namespace that a container may have."""


class DelegateError(DpuError):
    """The delegated plugin failed and said why.

    Args:
        subject: the plugin.
        what: its own words.
        code: its own code; 11 is passed on, for it is an order to the runtime.
    """

    def __init__(self, subject: str, what: str, *, code: int, hint: str = "") -> None:
        super().__init__(subject, what, hint=hint)
        self.code = code


class RecordError(DpuError):
    """The record of an attachment cannot be understood."""


TRY_AGAIN_LATER = 11
NOT_AVAILABLE = 50
CONNECTIVITY_LIMITED = 51
INTERNAL = 999

# The most special class of an error decides. 100 and above are ours (CNI specification 1.1.0, "Error").
CODES: Mapping[type[DpuError], int] = {
    VersionError: 1,
    FieldError: 2,
    UnknownContainerError: 3,
    EnvironmentInputError: 4,
    StandardInputError: 5,
    DecodeError: 6,
    InputError: 7,
    NetnsInputError: 8,
    BusyError: TRY_AGAIN_LATER,
    UnreachableError: TRY_AGAIN_LATER,
    NotFoundError: 100,
    UnsupportedError: 101,
    KernelError: 102,
    VerifyError: 103,
    DelegateError: 104,
    RecordError: 105,
    DpuError: INTERNAL,
}

# What the kernel answers while a device or its driver is being reset.
_PASSING = (errno.EBUSY, errno.EAGAIN, errno.ENODEV)


def choose_code(error: DpuError) -> int:
    """Return the CNI code of an error."""
    if isinstance(error, KernelError) and error.errno in _PASSING:
        return TRY_AGAIN_LATER
    if isinstance(error, DelegateError) and error.code == TRY_AGAIN_LATER:
        return TRY_AGAIN_LATER
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


@dataclass(frozen=True, slots=True)
class ResultInterface:
    """One network device of the result; `sandbox` is empty for one of the host."""

    name: str
    mac: str = ""
    mtu: int | None = None
    sandbox: str = ""
    pci_id: str = ""
    socket_path: str = ""


@dataclass(frozen=True, slots=True)
class ResultIp:
    """One address of the result, and which of its interfaces has it."""

    address: Interface
    gateway: Address | None = None
    interface: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What an ADD has made; also what a delegated plugin answers, and what earlier plugins of a chain did."""

    interfaces: tuple[ResultInterface, ...] = ()
    ips: tuple[ResultIp, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Mapping[str, object] = field(default_factory=dict)


def parse_version(text: str) -> tuple[int, ...]:
    """Read ``1.0.0``.

    Raises:
        DecodeError: `text` is no version.
    """
    parts = text.split(".")
    if not 1 <= len(parts) <= 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise DecodeError("cniVersion", f"{text!r} is not a version", hint="write it as 1.0.0")
    return tuple(int(part) for part in (*parts, "0", "0"))[:3]


# -- reading -----------------------------------------------------------------------------------------------------------


def parse_result(document: object, *, path: str) -> Result:
    """Read a result of any version.

    Args:
        document: decoded JSON.
        path: whose it is, for errors.

    Raises:
        InputError: it is no result.
    """
    faults = Faults()
    section = Section(document, path=path, faults=faults)
    old = [part for name in ("ip4", "ip6") if (part := section.section(name)) is not None]
    dns = document.get("dns") if isinstance(document, Mapping) else None
    result = Result(
        interfaces=tuple(_parse_interface(part) for part in section.sections("interfaces")),
        ips=tuple(ip for part in (*section.sections("ips"), *old) if (ip := _parse_ip(part)) is not None),
        routes=tuple(
            route
            for part in (section, *old)
            for entry in part.sections("routes")
            if (route := _parse_route(entry)) is not None
        ),
        dns={str(key): value for key, value in dns.items() if value} if isinstance(dns, Mapping) else {},
    )
    faults.raise_if_any()
    return result


def _parse_interface(section: Section) -> ResultInterface:
    return ResultInterface(
        name=section.text("name") or "",
        mac=section.text("mac") or "",
        mtu=section.integer("mtu"),
        sandbox=section.text("sandbox") or "",
        pci_id=section.text("pciID") or "",
        socket_path=section.text("socketPath") or "",
    )


def _parse_ip(section: Section) -> ResultIp | None:
    key = "address" if section.has("address") else "ip"
    address: Interface | None = section.parsed(key, parse_interface)
    section.required(key, address)
    gateway = section.parsed("gateway", parse_address)
    return None if address is None else ResultIp(address, gateway, section.integer("interface"))


def _parse_route(section: Section) -> Route | None:
    to: Network | None = section.parsed("dst", parse_network)
    section.required("dst", to)
    if to is None:
        return None
    return Route(
        to,
        gateway=section.parsed("gw", parse_address),
        mtu=section.integer("mtu"),
        advmss=section.integer("advmss"),
        priority=section.integer("priority"),
        table=section.integer("table"),
        scope=section.integer("scope"),
    )


# -- writing -----------------------------------------------------------------------------------------------------------


def render_result(result: Result, version: str) -> bytes:
    """Render a result for whoever speaks CNI `version`."""
    number = parse_version(version)
    said: dict[str, object] = {"cniVersion": version}
    if number < _INTERFACES_SINCE:
        said |= _render_by_family(result)
    else:
        modern = number >= _WITHOUT_IP_VERSION_SINCE
        said["interfaces"] = [_render_interface(interface, modern=modern) for interface in result.interfaces]
        if result.ips:
            said["ips"] = [_render_ip(ip, modern=modern) for ip in result.ips]
        if result.routes:
            said["routes"] = [_render_route(route, modern=modern) for route in result.routes]
    if result.dns:
        said["dns"] = dict(result.dns)
    return _encode(said)


def _render_interface(interface: ResultInterface, *, modern: bool) -> dict[str, object]:
    said: dict[str, object] = {"name": interface.name, "mac": interface.mac, "sandbox": interface.sandbox}
    if modern:
        said |= {"mtu": interface.mtu, "pciID": interface.pci_id, "socketPath": interface.socket_path}
    return {key: value for key, value in said.items() if value or key == "name"}


def _render_ip(ip: ResultIp, *, modern: bool) -> dict[str, object]:
    said: dict[str, object] = {} if modern else {"version": str(ip.address.version)}
    said["address"] = str(ip.address)
    if ip.gateway is not None:
        said["gateway"] = str(ip.gateway)
    if ip.interface is not None:
        said["interface"] = ip.interface
    return said


def _render_route(route: Route, *, modern: bool) -> dict[str, object]:
    said: dict[str, object | None] = {"dst": str(route.to)}
    said["gw"] = None if route.gateway is None else str(route.gateway)
    if modern:
        said |= {"mtu": route.mtu, "advmss": route.advmss}
        said |= {"priority": route.priority, "table": route.table, "scope": route.scope}
    return {key: value for key, value in said.items() if value is not None}


def _render_by_family(result: Result) -> dict[str, object]:
    said: dict[str, object] = {}
    for ip in reversed(result.ips):  # of several addresses of one family, the first stays
        family: dict[str, object] = {"ip": str(ip.address)}
        if ip.gateway is not None:
            family["gateway"] = str(ip.gateway)
        routes = [route for route in result.routes if route.to.version == ip.address.version]
        if routes:
            family["routes"] = [_render_route(route, modern=False) for route in routes]
        said[f"ip{ip.address.version}"] = family
    return said


def render_error(error: DpuError, *, version: str, code: int | None = None) -> bytes:
    """Render an error for whoever speaks CNI `version`.

    An error without subject is one whose words the reference implementation has fixed: they stay as they are, and its
    hint is CNI's ``details``.
    """
    message, _, more = str(error).partition("\n")
    if not error.subject:
        message, more = error.what, error.hint
    said = {"cniVersion": version, "code": choose_code(error) if code is None else code, "msg": message}
    return _encode(said | ({"details": more} if more else {}))


def render_versions() -> bytes:
    """Render the answer to VERSION."""
    return _encode({"cniVersion": CURRENT_VERSION, "supportedVersions": list(SUPPORTED_VERSIONS)})


def _encode(said: Mapping[str, object]) -> bytes:
    # ASCII: a path of any bytes comes through, as escapes.
    return json.dumps(said, separators=(",", ":")).encode("ascii") + b"\n"
