"""Read what the runtime asks: the CNI_* variables, and of the network configuration what every verb needs.

Pure. Order of the checks, codes and fixed texts are those of the reference implementation's plugin skeleton
(containernetworking/cni, libcni 1.3.0): runtimes and operators have grown used to these answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from cni.result import (
    SUPPORTED_VERSIONS,
    DecodeError,
    EnvironmentInputError,
    StandardInputError,
    VersionError,
    parse_version,
)
from sriov.errors import InputError
from sriov.model import PciAddress

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_IFNAME_MAX = 15

CHECK_SINCE = (0, 4, 0)
GC_SINCE = (1, 1, 0)


class Verb(StrEnum):
    """What a runtime may ask for."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"
    VERSION = "VERSION"


_ATTACHING = frozenset({"ADD", "CHECK", "DEL"})
_NEEDED_BY: Mapping[str, frozenset[str]] = {
    "CNI_CONTAINERID": _ATTACHING,
    "CNI_NETNS": frozenset({"ADD", "CHECK"}),
    "CNI_IFNAME": _ATTACHING,
    "CNI_PATH": _ATTACHING | {"GC", "STATUS"},
}


@dataclass(frozen=True, slots=True, order=True)
class AttachmentId:
    """What tells one attachment from another: the container, and the interface in it."""

    container: str
    ifname: str

    def __str__(self) -> str:
        return f"{self.container}-{self.ifname}"


@dataclass(frozen=True, slots=True)
class Request:
    """One call, as far as all verbs are alike."""

    verb: Verb
    attachment: AttachmentId
    """Empty texts for verbs that are about no attachment."""
    netns: str
    """CNI_NETNS as it was given; may be empty. The path may exist in the caller's mount namespace only."""
    args: str
    path: str
    version: str
    network: str
    document: Mapping[str, object]
    stdin: bytes
    environment: Mapping[str, str]


def parse_request(environment: Mapping[str, str], stdin: bytes | None) -> Request:
    """Read one call.

    Args:
        environment: the caller's variables.
        stdin: what came on standard input; None when it could not be read.

    Raises:
        EnvironmentInputError: a variable is missing or malformed, or the verb is none.
        StandardInputError: `stdin` is None and the verb needs it.
        DecodeError: it is no JSON object, or its version is no version.
        VersionError: we, or this verb, do not go with its version.
        InputError: it has no usable name.
    """
    command = environment.get("CNI_COMMAND", "")
    _check_environment(environment, command)
    document = {} if command == Verb.VERSION else _decode(stdin)
    if command != Verb.VERSION:
        _check_name(document)
    if command not in Verb.__members__:
        _refuse_environment(f"unknown CNI_COMMAND: {command}")
    verb = Verb(command)
    version = _text(document, "cniVersion") or SUPPORTED_VERSIONS[0]
    _check_version(verb, version)
    return Request(
        verb=verb,
        attachment=AttachmentId(environment.get("CNI_CONTAINERID", ""), environment.get("CNI_IFNAME", "")),
        netns=environment.get("CNI_NETNS", ""),
        args=environment.get("CNI_ARGS", ""),
        path=environment.get("CNI_PATH", ""),
        version=version,
        network=_text(document, "name"),
        document=document,
        stdin=stdin or b"",
        environment=environment,
    )


def find_version(stdin: bytes | None) -> str:
    """Return the version an error should be told in, whatever else is wrong with the input. Never fails."""
    try:
        version = _text(_decode(stdin), "cniVersion")
    except (InputError, StandardInputError):
        version = ""
    return version if version in SUPPORTED_VERSIONS else SUPPORTED_VERSIONS[-1]


def find_ipam(request: Request) -> str | None:
    """Return the name of the plugin to which addresses are delegated; None when the network has none."""
    ipam = _lower_keys(request.document).get("ipam")
    kind = _lower_keys(ipam).get("type") if isinstance(ipam, Mapping) else None
    return kind if isinstance(kind, str) and kind else None


def find_device(request: Request) -> PciAddress | None:
    """Return the VF the configuration names; None when it names none that could be one.

    For DEL, which does what it can with a bad configuration; ADD reads it strictly.
    """
    document = _lower_keys(request.document)
    device = document.get("deviceid") or _lower_keys(document.get("runtimeconfig")).get("deviceid")
    try:
        return PciAddress.parse(device) if isinstance(device, str) else None
    except InputError:
        return None


def find_valid_attachments(request: Request) -> frozenset[AttachmentId]:
    """Read GC's list of the attachments that live.

    Raises:
        InputError: the list is absent or malformed: nothing may be collected then.
    """
    field = "cni.dev/valid-attachments"
    entries = request.document.get(field, request.document.get("cni.dev/attachments"))
    if not isinstance(entries, list):
        raise InputError(field, "is missing, or no list", hint="GC needs to know which attachments live")
    found = set()
    for index, entry in enumerate(entries):
        container, ifname = (
            (entry.get(key) for key in ("containerID", "ifname")) if isinstance(entry, Mapping) else ("",) * 2
        )
        if not isinstance(container, str) or not isinstance(ifname, str) or not container or not ifname:
            raise InputError(f"{field}[{index}]", f"{entry!r} is no pair of containerID and ifname")
        found.add(AttachmentId(container, ifname))
    return frozenset(found)


def _check_environment(environment: Mapping[str, str], command: str) -> None:
    missing = [] if command else ["CNI_COMMAND"]
    checks = {"CNI_CONTAINERID": _check_container, "CNI_IFNAME": _check_ifname}
    for name, verbs in _NEEDED_BY.items():
        value = environment.get(name, "")
        if command in verbs and not value:
            missing.append(name)
        elif command in verbs and name in checks:
            checks[name](value)
    if missing:
        _refuse_environment(f"required env variables [{','.join(missing)}] missing")


def _check_container(value: str) -> None:
    if _NAME.fullmatch(value) is None:
        _refuse_environment("invalid characters in containerID", value)


def _check_ifname(value: str) -> None:
    if value in (".", ".."):
        _refuse_environment("interface name is . or ..")
    try:
        length = len(value.encode())
    except UnicodeEncodeError:
        _refuse_environment("interface name is no UTF-8")
    if length > _IFNAME_MAX:
        _refuse_environment(
            f"interface name is too long; interface name should be less than {_IFNAME_MAX + 1} characters"
        )
    if any(character in "/:" or character.isspace() for character in value):
        _refuse_environment("interface name contains / or : or whitespace characters")


def _refuse_environment(what: str, details: str = "") -> NoReturn:
    raise EnvironmentInputError("", what, hint=details)


def _decode(stdin: bytes | None) -> Mapping[str, object]:
    if stdin is None:
        raise StandardInputError("", "error reading from stdin")
    try:
        document = json.loads(stdin)
    except (ValueError, RecursionError) as error:
        raise DecodeError("network configuration", f"is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise DecodeError("network configuration", "is not a JSON object")
    return document


def _text(document: Mapping[str, object], key: str) -> str:
    value = document.get(key)
    if value is None:
        value = _lower_keys(document).get(key.lower(), "")
    if not isinstance(value, str):
        raise DecodeError(key, f"{value!r} is no text")
    return value


def _check_name(document: Mapping[str, object]) -> None:
    name = _text(document, "name")
    if not name:
        raise InputError("", "missing network name")
    if _NAME.fullmatch(name) is None:
        raise InputError("", "invalid characters found in network name", hint=name)


def _check_version(verb: Verb, version: str) -> None:
    if verb is Verb.VERSION:
        return
    number = parse_version(version)
    since = {Verb.CHECK: CHECK_SINCE, Verb.GC: GC_SINCE, Verb.STATUS: GC_SINCE}.get(verb, ())
    if number < since:
        raise VersionError("", f"config version does not allow {verb}", hint=f"config is {version!r}")
    if version not in SUPPORTED_VERSIONS:
        supported = ", ".join(SUPPORTED_VERSIONS)
        raise VersionError("", "incompatible CNI versions", hint=f"config is {version!r}, plugin supports {supported}")


def _lower_keys(document: object) -> dict[str, object]:
    return {str(key).lower(): value for key, value in document.items()} if isinstance(document, Mapping) else {}
