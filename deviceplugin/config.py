"""The device plugin's configuration: sriov-network-device-plugin's ``resourceList``, and settings of our own. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from deviceplugin.selector import Selector, parse_selector
from sriov.document import Faults, Section
from sriov.errors import InputError

DEFAULT_CONFIG = "/etc/pcidp/config.json"
DEFAULT_PREFIX = "intel.com"
"""Both are sriov-network-device-plugin's, so that its manifests keep their meaning."""

DEFAULT_DEVICE_FILES = PurePosixPath("/var/run/k8s.cni.cncf.io/devinfo/dp")
"""NPWG device-info specification 1.1.0."""

# The kubelet takes an extended resource name whose second half is a label name: Kubernetes API conventions.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Pool:
    """VFs advertised under one resource name.

    `additional` maps a PCI address, or ``*`` for every device, to what a container is told about it.
    """

    prefix: str
    name: str
    selectors: tuple[Selector, ...]
    additional: Mapping[str, Mapping[str, str]]
    exclude_topology: bool

    @property
    def resource(self) -> str:
        """The resource's full name, as a pod asks for it."""
        return f"{self.prefix}/{self.name}"

    @property
    def socket(self) -> str:
        """The name of its socket in the kubelet's folder."""
        return f"{self.prefix}_{self.name}.sock"


@dataclass(frozen=True, slots=True)
class Config:
    """What the device plugin was asked to do."""

    pools: tuple[Pool, ...]
    device_files: PurePosixPath
    """Where DeviceInfo files are written."""

    @classmethod
    def parse(cls, document: object, *, source: str, prefix: str = DEFAULT_PREFIX) -> Config:
        """Read the configuration; `prefix` holds for pools that name none.

        Raises:
            InputError: something in it is wrong; the text names every fault.
        """
        faults = Faults()
        section = Section(_with_selector_lists(document), path=f"{source}:", faults=faults)
        device_files = section.parsed("deviceInfoDir", _parse_folder) or DEFAULT_DEVICE_FILES
        pools = tuple(_parse_pool(entry, prefix=prefix) for entry in section.sections("resourceList"))
        section.required("resourceList", pools, hint="list at least one pool: resourceName and selectors")
        if isinstance(document, Mapping):
            section.finish()
        _check_names_differ(pools, section)
        faults.raise_if_any()
        return cls(pools, device_files)


def _with_selector_lists(document: object) -> object:
    """Write ``selectors: {...}`` as the list of one that it stands for."""
    if not isinstance(document, Mapping) or not isinstance(document.get("resourceList"), list):
        return document
    entries = [
        {**entry, "selectors": [entry["selectors"]]}
        if isinstance(entry, Mapping) and isinstance(entry.get("selectors"), Mapping)
        else entry
        for entry in document["resourceList"]
    ]
    return {**document, "resourceList": entries}


def _parse_folder(text: str) -> PurePosixPath:
    path = PurePosixPath(text)
    if not path.is_absolute():
        raise InputError("folder", f"{text!r} is not an absolute path", hint="begin it with /")
    return path


def _parse_name(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise InputError(
            "resource name",
            f"{text!r} is not a resource name",
            hint="up to 63 letters, digits, hyphens and underscores, with a letter or digit first and last",
        )
    return text


def _parse_prefix(text: str) -> str:
    if _PREFIX.fullmatch(text) is None or len(text) > 253:
        raise InputError("resource prefix", f"{text!r} is not a DNS name", hint="write it as example.com")
    if text == "kubernetes.io" or text.endswith(".kubernetes.io"):
        raise InputError("resource prefix", f"{text!r} is Kubernetes' own", hint="use a domain of yours")
    return text


def _parse_pool(section: Section, *, prefix: str) -> Pool:
    name = section.required("resourceName", section.parsed("resourceName", _parse_name))
    kind = section.text("deviceType", "netDevice")
    if kind in {"accelerator", "auxNetDevice"}:
        section.faults.add(section.at("deviceType"), f"{kind!r} is not supported yet", hint="only netDevice is")
    else:
        section.choice("deviceType", ("netDevice",))
    pool = Pool(
        prefix=section.parsed("resourcePrefix", _parse_prefix) or prefix,
        name=name or "",
        selectors=tuple(parse_selector(entry) for entry in section.sections("selectors")),
        additional=_parse_additional(section),
        exclude_topology=section.boolean("excludeTopology"),
    )
    section.finish()
    return pool


def _parse_additional(section: Section) -> Mapping[str, Mapping[str, str]]:
    outer = section.section("additionalInfo")
    found: dict[str, dict[str, str]] = {}
    for device in outer.keys() if outer else ():
        inner = outer.section(device) if outer else None
        if inner:
            found[device] = {key: inner.text(key) or "" for key in inner.keys()}  # noqa: SIM118
    return found


def _check_names_differ(pools: tuple[Pool, ...], section: Section) -> None:
    seen: set[str] = set()
    for index, pool in enumerate(pools):
        if pool.name and pool.resource in seen:
            section.faults.add(
                f"{section.at('resourceList')}[{index}].resourceName",
                f"{pool.resource!r} stands in the list twice",
                hint="put both selectors into one pool's list of selectors",
            )
        seen.add(pool.resource)
