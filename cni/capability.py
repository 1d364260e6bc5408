"""Read what is asked for one attachment alone: the runtime's capabilities, ``args.cni`` and CNI_ARGS. Pure.

The runtime's word (``runtimeConfig``) goes before ``args.cni``, that before CNI_ARGS, and that before the network's own.
Names and shapes: CNI's CONVENTIONS.md, and the device information specification 1.1.0 for ``CNIDeviceInfoFile``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cni.result import EnvironmentInputError, FieldError
from sriov.document import Address, Faults, Section, parse_address
from sriov.model import MacAddress

_KNOWN_ARGS = (
    "IgnoreUnknown", "K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_INFRA_CONTAINER_ID", "K8S_POD_UID", "MAC",
    "IP", "GATEWAY",
)  # fmt: skip
"""The runtimes' own, ours, and those of the reference implementation's plugins for addresses."""

_TRUTH = {"1": True, "true": True, "0": False, "false": False}
_MBIT = 10**6


@dataclass(frozen=True, slots=True)
class Asked:
    """What this attachment is to have, whatever its network says."""

    mac: MacAddress | None = None
    ips: tuple[Address, ...] = ()
    """What IPAM is asked for; it reads that itself, and this is what its answer is held against."""
    device: str | None = None
    max_tx_rate: int | None = None
    """What the pod may send at most, in Mbit/s."""
    device_file: str = ""
    """Where the runtime looks for a description of the device; empty when it does not."""


def parse_asked(document: Mapping[str, object], args: str, *, faults: Faults) -> Asked:
    """Read what is asked for one attachment.

    Args:
        document: the network configuration, its keys as we write them.
        args: CNI_ARGS.
        faults: where faults are noted.

    Raises:
        FieldError: it asks for what we do not offer.
        EnvironmentInputError: CNI_ARGS is malformed.
    """
    config, for_pod = _named(document.get("runtimeConfig")), document.get("args")
    runtime = _section(config, "runtimeConfig", faults)
    cni = _section(for_pod.get("cni") if isinstance(for_pod, Mapping) else None, "args.cni", faults)
    arguments = Section(parse_args(args), path="CNI_ARGS", faults=faults)
    if runtime.asks_for("infinibandGUID"):
        raise FieldError(
            "runtimeConfig.infinibandGUID", "unsupported field: it is set", hint="dpukit attaches Ethernet VFs"
        )
    macs = (_parse_mac(runtime, "mac"), _parse_mac(cni, "mac"), _parse_mac(arguments, "MAC"))
    return Asked(
        mac=next((mac for mac in macs if mac is not None), None),
        ips=runtime.parsed_list("ips", lambda text: parse_address(text.partition("/")[0])),
        device=runtime.text("deviceID") or None,
        max_tx_rate=_parse_bandwidth(config.get("bandwidth") if isinstance(config, Mapping) else None, faults),
        device_file=runtime.text("CNIDeviceInfoFile") or "",
    )


def parse_args(text: str) -> Mapping[str, str]:
    """Read CNI_ARGS: pairs with one ``=`` each, between them ``;``.

    Raises:
        EnvironmentInputError: a pair is none, or unknown and ``IgnoreUnknown`` is not set.
    """
    pairs = [pair.split("=") for pair in text.split(";") if pair]
    for pair in pairs:
        if len(pair) != 2:
            raise EnvironmentInputError("CNI_ARGS", f"{'='.join(pair)!r} is no pair KEY=VALUE")
    # Each pair has two halves by now; of a key that comes twice the last counts.
    arguments = {pair[0]: pair[1] for pair in pairs}
    ignore = arguments.get("IgnoreUnknown", "false").lower()
    if ignore not in _TRUTH:
        raise EnvironmentInputError("CNI_ARGS", f"IgnoreUnknown is {ignore!r}, not one of {', '.join(_TRUTH)}")
    unknown = sorted(set(arguments) - set(_KNOWN_ARGS))
    if unknown and not _TRUTH[ignore]:
        raise EnvironmentInputError("CNI_ARGS", f"unknown args {unknown}", hint="IgnoreUnknown=1 lets them pass")
    return arguments


_CANONICAL = {
    key.lower(): key
    for key in (
        "mac", "ips", "deviceID", "bandwidth", "infinibandGUID", "CNIDeviceInfoFile",
        "ingressRate", "ingressBurst", "egressRate", "egressBurst",
    )
}  # fmt: skip


def _named(value: object) -> object:
    """Give a mapping with its keys as we write them; anything else as it is."""
    if not isinstance(value, Mapping):
        return value
    return {_CANONICAL.get(str(key).lower(), str(key)): entry for key, entry in value.items()}


def _section(value: object, path: str, faults: Faults) -> Section:
    """Give what stands there; nothing is the same as an empty mapping."""
    return Section({} if value is None else _named(value), path=path, faults=faults)


def _parse_mac(section: Section, key: str) -> MacAddress | None:
    # Templates render "none" as an empty text.
    return section.parsed(key, MacAddress.parse_unicast) if section.asks_for(key) else None


def _parse_bandwidth(value: object, faults: Faults) -> int | None:
    """Read how much the pod may send, in Mbit/s; None when nobody says.

    A burst is a permission to send more for a moment, and may go unused. What comes in cannot be limited at a VF.
    """
    given = _section(value, "runtimeConfig.bandwidth", faults)
    incoming, outgoing = given.integer("ingressRate"), given.integer("egressRate")
    if incoming:
        raise FieldError(
            given.at("ingressRate"),
            f"unsupported field: it is {incoming}",
            hint="a VF's traffic can be limited where the pod sends it, and nowhere else",
        )
    if outgoing and outgoing % _MBIT:
        raise FieldError(
            given.at("egressRate"),
            f"unsupported field: it is {outgoing} bit/s",
            hint="a VF is limited in whole Mbit/s: give a multiple of 1000000",
        )
    return outgoing // _MBIT if outgoing else None
