"""The agent's configuration: where Open vSwitch is, which bridge to keep, where the desired state comes from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from offload.model import BridgeWish
from sriov.document import Faults, Section, parse_interface
from sriov.errors import InputError
from sriov.source import parse_document, read_text

_NETDEV = re.compile(r"[^\s/:]{1,15}")
_DATAPATH_TYPES = ("system", "netdev")
_SWITCH_ID = re.compile(r"[0-9a-f]+")
_REMOTE = re.compile(r"unix:/.+|(tcp|ssl):.+:[0-9]+")
_STATE_SCHEME = "file:"


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """What the agent was told. Every key may be left out."""

    ovsdb: str = "unix:/var/run/openvswitch/db.sock"
    run_dir: Path = Path("/var/run/openvswitch")
    bridge: BridgeWish = field(default_factory=BridgeWish)
    uplink: str = "auto"
    switch_id: str | None = None
    state: Path | None = None

    @classmethod
    def parse(cls, text: str, *, source: str) -> Self:
        """Read a configuration document; `source` names it in errors.

        Raises:
            InputError: it has faults; the text has one line for each.
        """
        document = parse_document(text, source=source)
        faults = Faults()
        root = Section({} if document is None else document, path=f"{source}:", faults=faults)
        default = cls()
        found = cls(
            ovsdb=root.parsed("ovsdb", _parse_remote) or default.ovsdb,
            run_dir=root.parsed("runDir", _parse_absolute) or default.run_dir,
            bridge=_parse_bridge(root),
            uplink=root.parsed("uplink", parse_netdev) or default.uplink,
            switch_id=root.parsed("switchId", _parse_switch_id),
            state=root.parsed("state", parse_state_source),
        )
        root.finish()
        faults.raise_if_any()
        return found

    def choose_state(self, source: str | None) -> Path:
        """Return the file of desired state: that of `source` (``--state``) when given, else the configuration's.

        Raises:
            InputError: neither names one, or `source` is no source of desired state.
        """
        path = self.state if source is None else parse_state_source(source)
        if path is None:
            raise InputError(
                "state", "is not given", hint="name it with --state file:PATH, or as state in the configuration"
            )
        return path


def read_config(path: Path | None) -> AgentConfig:
    """Read the configuration file at `path`; all defaults when None.

    Raises:
        InputError: it has faults, or cannot be read.
    """
    if path is None:
        return AgentConfig()
    text = read_text(path, hint="name the agent's configuration with --config")
    return AgentConfig.parse(text, source=str(path))


def _parse_bridge(root: Section) -> BridgeWish:
    section = root.section("bridge")
    if section is None:
        return BridgeWish()
    bridge = BridgeWish(
        name=section.parsed("name", parse_netdev) or BridgeWish().name,
        datapath_type=section.choice("datapathType", _DATAPATH_TYPES) or "system",
        addresses=section.parsed_list("addresses", parse_interface),
    )
    section.finish()
    return bridge


def parse_state_source(text: str) -> Path:
    """Read ``file:/path/to/state.yaml``.

    Raises:
        InputError: `text` names another kind of source, or no absolute path.
    """
    if not text.startswith(_STATE_SCHEME + "/"):
        raise InputError(
            "state", f"{text!r} is no source of desired state", hint="write it as file:/path/to/state.yaml"
        )
    return Path(text.removeprefix(_STATE_SCHEME))


def parse_netdev(text: str) -> str:
    """Read the name of a network device.

    Raises:
        InputError: the kernel would not take it (15 characters, no slash, colon or space).
    """
    if not _NETDEV.fullmatch(text) or text in (".", ".."):
        raise InputError("name", f"{text!r} cannot be the name of a network device", hint="at most 15 characters")
    return text


def _parse_absolute(text: str) -> Path:
    if not text.startswith("/"):
        raise InputError("path", f"{text!r} is not an absolute path")
    return Path(text)


def _parse_remote(text: str) -> str:
    if not _REMOTE.fullmatch(text):
        raise InputError(
            "ovsdb", f"{text!r} is no address of a database", hint="write it as unix:/var/run/openvswitch/db.sock"
        )
    return text


def _parse_switch_id(text: str) -> str:
    if not _SWITCH_ID.fullmatch(text):
        raise InputError("switchId", f"{text!r} is no switch id", hint="see /sys/class/net/<uplink>/phys_switch_id")
    return text
