"""Read a network configuration as ADD and CHECK need it: sriov-cni's keys in any case, and ours besides.

Pure. Keys nobody reads are left alone (the runtime adds its own); those that look like a misspelt one of ours are named
in `NetworkConfig.suspicious`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from cni.request import Request, find_ipam
from cni.result import EnvironmentInputError, FieldError, Result, parse_result, parse_version
from sriov.document import Address, Faults, Network, Section, parse_network
from sriov.errors import InputError
from sriov.link import LinkState, Rates, VfAttributes, VlanProtocol, VlanTag
from sriov.model import MTU_MAX, MTU_MIN, VLAN_MAX, MacAddress, PciAddress

QOS_MAX = 7
RATE_MAX = 2**32 - 1

_KEYS = (
    "cniVersion", "name", "type", "ipam", "dns", "prevResult", "runtimeConfig", "capabilities", "args",
    "deviceID", "vlan", "vlanQoS", "vlanProto", "mac", "spoofchk", "trust", "link_state", "min_tx_rate", "max_tx_rate",
    "logLevel", "logFile", "mtu", "routes", "dpu",
)  # fmt: skip
_CANONICAL = {key.lower(): key for key in _KEYS}

_ARGS = ("IgnoreUnknown", "K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_INFRA_CONTAINER_ID", "K8S_POD_UID", "MAC")

# What templates render for "none" where a word is expected.
_MAY_BE_EMPTY = frozenset({"mac", "spoofchk", "trust", "link_state", "vlanProto"})

_GATEWAY = IPv4Address("169.254.1.1")
_GATEWAY6 = IPv6Address("fe80::1")
_GATEWAY_MAC = MacAddress(bytes.fromhex("0a58a9fe0101"))

_NO_DEVICE = (
    "the NetworkAttachmentDefinition lacks the k8s.v1.cni.cncf.io/resourceName annotation, "
    "or the pod does not request the resource"
)


@dataclass(frozen=True, slots=True)
class RoutedMode:
    """How a pod reaches everything through its gateway, asking nobody for an address.

    The pod has a host address; the gateway's MAC address is a permanent neighbour; MTU is a matter of the routes, so that
    packets to outside the tunnel may be larger.
    """

    gateway: IPv4Address = _GATEWAY
    gateway6: IPv6Address = _GATEWAY6
    gateway_mac: MacAddress = _GATEWAY_MAC
    mtu: int | None = None
    to: tuple[Network, ...] | None = None
    """None: everything, of each family the pod has an address of."""

    def gateway_of(self, version: int) -> Address:
        """Return the gateway of IP version 4 or 6."""
        return self.gateway if version == 4 else self.gateway6


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What the network's author, the runtime and the pod's author want together."""

    vf: PciAddress
    mac: MacAddress | None
    mtu: int | None
    attributes: VfAttributes
    """What the PF shall keep of the VF, its MAC address included."""
    routed: RoutedMode | None
    ipam: str | None
    dns: Mapping[str, object]
    previous: Result | None
    suspicious: tuple[str, ...]
    """One sentence for each key that looks like a misspelt one of ours."""


def parse_network_config(request: Request) -> NetworkConfig:
    """Read the configuration of one call.

    Raises:
        InputError: fields are wrong; all of them are named.
        FieldError: it asks for what we do not offer.
        EnvironmentInputError: CNI_ARGS is malformed.
    """
    document = _canonical(request.document)
    faults = Faults()
    section = Section(document, path="", faults=faults)
    arguments = _parse_args(request.args)
    _refuse_what_is_not_offered(document)
    vf = section.required("deviceID", section.parsed("deviceID", PciAddress.parse), hint=_NO_DEVICE)
    mac = _parse_mac(section, document, arguments)
    routed = _parse_routed(section)
    ipam = find_ipam(request)
    if routed is not None and ipam is None:
        faults.add("routes", "needs addresses, and there is no ipam", hint="add an ipam, or take routes away")
    if ipam is None and parse_version(request.version) < (0, 3, 0):
        faults.add("ipam", f"is missing, and a result of CNI {request.version} cannot be without address")
    config = NetworkConfig(
        # A configuration without deviceID is at fault, and does not leave this function.
        vf=vf or PciAddress(0, 0, 0, 0),
        mac=mac,
        mtu=section.integer("mtu", minimum=MTU_MIN, maximum=MTU_MAX),
        attributes=_parse_attributes(section, mac),
        routed=routed,
        ipam=ipam,
        dns=_parse_dns(document),
        previous=_parse_previous(document),
        suspicious=tuple(_suspicious(document)),
    )
    faults.raise_if_any()
    return config


def _canonical(document: Mapping[str, object]) -> Mapping[str, object]:
    named = {_CANONICAL.get(key.lower(), key): value for key, value in document.items()}
    return {key: value for key, value in named.items() if value != "" or key not in _MAY_BE_EMPTY}


def _refuse_what_is_not_offered(document: Mapping[str, object]) -> None:
    dpu = document.get("dpu")
    mode = dpu.get("mode", "off") if isinstance(dpu, Mapping) else dpu
    if mode not in (None, "off"):
        raise FieldError(
            "dpu.mode", f"unsupported field: dpu.mode is {mode!r}", hint="only 'off' until the two-cluster mode comes"
        )
    runtime = document.get("runtimeConfig")
    if isinstance(runtime, Mapping) and runtime.get("infinibandGUID"):
        raise FieldError(
            "runtimeConfig.infinibandGUID",
            f"unsupported field: it is {runtime['infinibandGUID']!r}",
            hint="dpukit attaches Ethernet VFs",
        )


def _parse_args(text: str) -> Mapping[str, str]:
    """Read CNI_ARGS: pairs with ``=``, between them ``;``."""
    pairs = [pair.split("=") for pair in text.split(";") if pair]
    for pair in pairs:
        if len(pair) != 2:
            raise EnvironmentInputError("CNI_ARGS", f"{'='.join(pair)!r} is no pair KEY=VALUE")
    arguments = dict(pairs)
    unknown = sorted(set(arguments) - set(_ARGS))
    if unknown and arguments.get("IgnoreUnknown", "").lower() not in ("1", "true"):
        raise EnvironmentInputError("CNI_ARGS", f"unknown args {unknown}", hint="IgnoreUnknown=1 lets them pass")
    return arguments


def _parse_mac(section: Section, document: Mapping[str, object], arguments: Mapping[str, str]) -> MacAddress | None:
    """Choose the MAC address: the runtime's before the pod's before the network's."""
    section.ignore("mac")
    sources = (
        ("runtimeConfig.mac", _lower_keys(document.get("runtimeConfig")).get("mac")),
        ("CNI_ARGS MAC", arguments.get("MAC")),
        ("mac", document.get("mac")),
    )
    chosen = None
    for place, value in sources:
        if value:
            only = Section({place: value}, path="", faults=section.faults)
            chosen = chosen or only.parsed(place, MacAddress.parse_unicast)
    return chosen


def _lower_keys(document: object) -> dict[str, object]:
    return {str(key).lower(): value for key, value in document.items()} if isinstance(document, Mapping) else {}


def _parse_attributes(section: Section, mac: MacAddress | None) -> VfAttributes:
    state = section.choice("link_state", tuple(LinkState))
    return VfAttributes(
        mac=mac,
        vlan=_parse_vlan(section),
        spoofchk=_parse_switch(section, "spoofchk"),
        trust=_parse_switch(section, "trust"),
        link_state=None if state is None else LinkState(state),
        rates=_parse_rates(section),
    )


def _parse_switch(section: Section, key: str) -> bool | None:
    value = section.choice(key, ("on", "off"))
    return None if value is None else value == "on"


def _parse_vlan(section: Section) -> VlanTag | None:
    vlan = section.integer("vlan", maximum=VLAN_MAX)
    qos = section.integer("vlanQoS", maximum=QOS_MAX)
    protocol = (section.text("vlanProto") or VlanProtocol.CUSTOMER).lower()
    if protocol not in tuple(VlanProtocol):
        section.faults.add("vlanProto", f"{protocol!r} is not one of {', '.join(VlanProtocol)}")
        protocol = VlanProtocol.CUSTOMER
    if not vlan and (qos or protocol == VlanProtocol.SERVICE):
        key = "vlanQoS" if qos else "vlanProto"
        section.faults.add(key, f"{qos or protocol!r} needs a VLAN", hint=f"set vlan, from 1 to {VLAN_MAX}")
    return None if vlan is None else VlanTag(vlan, qos or 0, VlanProtocol(protocol))


def _parse_rates(section: Section) -> Rates | None:
    if not section.has("min_tx_rate") and not section.has("max_tx_rate"):
        return None
    rates = Rates(
        section.integer("min_tx_rate", 0, maximum=RATE_MAX) or 0,
        section.integer("max_tx_rate", 0, maximum=RATE_MAX) or 0,
    )
    if rates.maximum and rates.minimum > rates.maximum:
        section.faults.add("min_tx_rate", f"{rates.minimum} is more than max_tx_rate, {rates.maximum} (Mbit/s)")
    return rates


def _parse_routed(section: Section) -> RoutedMode | None:
    routes = section.section("routes")
    if routes is None:
        return None
    default = RoutedMode()
    mode = RoutedMode(
        gateway=routes.parsed("gateway", IPv4Address) or default.gateway,
        gateway6=routes.parsed("gateway6", IPv6Address) or default.gateway6,
        gateway_mac=routes.parsed("gatewayMac", MacAddress.parse_unicast) or default.gateway_mac,
        mtu=routes.integer("mtu", minimum=MTU_MIN, maximum=MTU_MAX),
        to=_parse_destinations(routes),
    )
    routes.finish()
    return mode


def _parse_destinations(routes: Section) -> tuple[Network, ...] | None:
    to: tuple[Network, ...] = routes.parsed_list("to", parse_network)
    return to if routes.has("to") else None


def _parse_dns(document: Mapping[str, object]) -> Mapping[str, object]:
    dns = document.get("dns")
    return {str(key): value for key, value in dns.items() if value} if isinstance(dns, Mapping) else {}


def _parse_previous(document: Mapping[str, object]) -> Result | None:
    previous = document.get("prevResult")
    return None if previous is None else parse_result(previous, path="prevResult")


def _suspicious(document: Mapping[str, object]) -> list[str]:
    found = []
    for key in document:
        close = difflib.get_close_matches(key.lower(), list(_CANONICAL), n=1, cutoff=0.8)
        if key not in _KEYS and close:
            found.append(f"{key!r} is not read: did you mean {_CANONICAL[close[0]]!r}?")
    return found


def check_addresses(config: NetworkConfig, addresses: Result) -> None:
    """Make sure that every destination of the routed mode can be reached from one of the pod's addresses.

    Raises:
        InputError: a destination's family is not among the addresses'.
    """
    families = {ip.address.version for ip in addresses.ips}
    for index, network in enumerate((config.routed.to or ()) if config.routed else ()):
        if network.version not in families:
            raise InputError(
                f"routes.to[{index}]",
                f"{str(network)!r} is IPv{network.version}, and IPAM {config.ipam} gave no such address",
                hint="take it away, or have IPAM give an address of that family",
            )
