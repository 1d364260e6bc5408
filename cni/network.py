"""Read a network configuration as ADD and CHECK need it: sriov-cni's keys in any case, and ours besides.

Pure. Keys nobody reads are left alone (the runtime adds its own); those that look like a misspelt one of ours are named
in `NetworkConfig.suspicious`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from cni.capability import Asked, parse_asked
from cni.request import Request, find_ipam
from cni.result import DelegateError, FieldError, Result, parse_result, parse_version
from sriov.document import Address, Faults, Network, Section, parse_network
from sriov.errors import InputError
from sriov.link import LinkState, Rates, VfAttributes, VlanProtocol, VlanTag
from sriov.model import MTU_MAX, MTU_MIN, VLAN_MAX, MacAddress, PciAddress

QOS_MAX = 7
RATE_MAX = 2**32 - 1
LOG_LEVELS = ("panic", "error", "warning", "info", "debug")

KEYS = (
    "cniVersion", "name", "type", "ipam", "dns", "prevResult", "runtimeConfig", "capabilities", "args",
    "deviceID", "vlan", "vlanQoS", "vlanProto", "mac", "spoofchk", "trust", "link_state", "min_tx_rate", "max_tx_rate",
    "logLevel", "logFile", "mtu", "routes", "dpu",
)  # fmt: skip
_CANONICAL = {key.lower(): key for key in KEYS}
_OTHERS = ("pciBusID", "cni.dev/valid-attachments", "cni.dev/attachments")
"""What runtimes write in for others: Multus for host-device, beside deviceID; libcni for GC."""

# What templates render for "none" where a word is expected.
_MAY_BE_EMPTY = frozenset({"deviceID", "mac", "spoofchk", "trust", "link_state", "vlanProto", "logLevel"})

_GATEWAY = IPv4Address("169.254.1.1")
_GATEWAY6 = IPv6Address("fe80::1")
_GATEWAY_MAC = MacAddress(bytes.fromhex("0a58a9fe0101"))

NO_DEVICE = (
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
    ips: tuple[Address, ...] = ()
    """What IPAM was asked for by the runtime; its answer must have them."""
    device_file: str = ""
    """Where the runtime looks for a description of the device; empty when it does not."""


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
    _refuse_what_is_not_offered(document)
    asked = parse_asked(document, request.args, faults=faults)
    vf = _parse_device(section, asked)
    own_mac = section.parsed("mac", MacAddress.parse_unicast)
    mac = asked.mac or own_mac
    config = NetworkConfig(
        # A configuration without deviceID is at fault, and does not leave this function.
        vf=vf or PciAddress(0, 0, 0, 0),
        mac=mac,
        mtu=section.integer("mtu", minimum=MTU_MIN, maximum=MTU_MAX),
        attributes=_parse_attributes(section, mac, asked),
        routed=_parse_routed(section),
        ipam=find_ipam(request),
        dns=_parse_dns(document),
        previous=_parse_previous(document),
        suspicious=tuple(_suspicious(document)),
        ips=asked.ips,
        device_file=asked.device_file,
    )
    _check_ipam(config, request.version, faults)
    _check_log(section)
    faults.raise_if_any()
    return config


def _parse_device(section: Section, asked: Asked) -> PciAddress | None:
    """Read which VF it is: the runtime writes it at the top, or into runtimeConfig, or both."""
    if asked.device is None:
        return section.required("deviceID", section.parsed("deviceID", PciAddress.parse), hint=NO_DEVICE)
    again = Section({"deviceID": asked.device}, path="runtimeConfig", faults=section.faults)
    of_runtime, vf = again.parsed("deviceID", PciAddress.parse), section.parsed("deviceID", PciAddress.parse)
    if vf is not None and of_runtime is not None and vf != of_runtime:
        section.faults.add(
            "deviceID", f"{str(vf)!r} is not runtimeConfig.deviceID, {str(of_runtime)!r}", hint="leave one of them out"
        )
    return vf or of_runtime


def _check_ipam(config: NetworkConfig, version: str, faults: Faults) -> None:
    if config.ipam is not None:
        return
    if config.routed is not None:
        faults.add("routes", "needs addresses, and there is no ipam", hint="add an ipam, or take routes away")
    if config.ips:
        asked = ", ".join(str(address) for address in config.ips)
        faults.add("runtimeConfig.ips", f"asks for {asked}, and there is no ipam", hint="add one that can give them")
    if parse_version(version) < (0, 3, 0):
        faults.add("ipam", f"is missing, and a result of CNI {version} cannot be without address")


def _check_log(section: Section) -> None:
    level = section.text("logLevel")
    if level is not None and level.lower() not in LOG_LEVELS:
        section.faults.add("logLevel", f"{level!r} is not one of {', '.join(LOG_LEVELS)}")
    file = section.text("logFile")
    if file and not file.startswith("/"):
        section.faults.add("logFile", f"{file!r} is not an absolute path", hint="the daemon has a folder of its own")


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


def _parse_attributes(section: Section, mac: MacAddress | None, asked: Asked) -> VfAttributes:
    state = section.choice("link_state", tuple(LinkState))
    return VfAttributes(
        mac=mac,
        vlan=_parse_vlan(section),
        spoofchk=_parse_switch(section, "spoofchk"),
        trust=_parse_switch(section, "trust"),
        link_state=None if state is None else LinkState(state),
        rates=_parse_rates(section, asked.max_tx_rate),
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


def _parse_rates(section: Section, asked: int | None) -> Rates | None:
    """Read both rates; one message carries them, so one alone lets the other be without limit."""
    if asked is None and not section.has("min_tx_rate") and not section.has("max_tx_rate"):
        return None
    minimum = section.integer("min_tx_rate", maximum=RATE_MAX) or 0
    limits = [limit for limit in (section.integer("max_tx_rate", maximum=RATE_MAX), asked) if limit]
    # The network and the pod may both set a limit: neither is exceeded.
    maximum = min(limits, default=0)
    if maximum and minimum > maximum:
        section.faults.add("min_tx_rate", f"{minimum} is more than max_tx_rate, {maximum} (Mbit/s)")
    return Rates(minimum, maximum)


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
    for key in (key for key in document if key not in KEYS and key not in _OTHERS):
        import difflib  # for a configuration with keys of others only

        close = difflib.get_close_matches(key.lower(), list(_CANONICAL), n=1, cutoff=0.8)
        if close:
            found.append(f"{key!r} is not read: did you mean {_CANONICAL[close[0]]!r}?")
    return found


def check_addresses(config: NetworkConfig, addresses: Result) -> None:
    """Make sure that IPAM gave what was asked for, and that every destination of the routed mode can be reached.

    Raises:
        InputError: a destination's family is not among the addresses'.
        DelegateError: the runtime asked for an address that is not among them.
    """
    given = {ip.address.ip for ip in addresses.ips}
    for address in config.ips:
        if address not in given:
            raise DelegateError(
                f"IPAM {config.ipam}",
                f"gave {', '.join(str(other) for other in given)}, not {address} which runtimeConfig.ips asks for",
                code=0,
                hint="take an IPAM plugin with the capability ips",
            )
    families = {address.version for address in given}
    for index, network in enumerate((config.routed.to or ()) if config.routed else ()):
        if network.version not in families:
            raise InputError(
                f"routes.to[{index}]",
                f"{str(network)!r} is IPv{network.version}, and IPAM {config.ipam} gave no such address",
                hint="take it away, or have IPAM give an address of that family",
            )
