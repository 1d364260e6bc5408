"""The steps a plan may hold, a closed set. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from offload.flow import Flow
from offload.model import PortWish


@dataclass(frozen=True, slots=True)
class EnsureBridge:
    """Create the bridge, or give it what it lacks. `hwaddr` is empty when it is to be left alone."""

    name: str
    datapath_type: str
    protocols: frozenset[str]
    hwaddr: str
    reason: str


@dataclass(frozen=True, slots=True)
class ChangePort:
    """Put a port into the bridge, or make one of ours there what `wish` says."""

    bridge: str
    wish: PortWish
    reason: str


@dataclass(frozen=True, slots=True)
class RemovePort:
    """Take a port of ours out of the bridge."""

    bridge: str
    name: str
    reason: str


SwitchStep = EnsureBridge | ChangePort | RemovePort


@dataclass(frozen=True, slots=True)
class AddFlow:
    """Add a flow; one with the same table, priority and match is replaced by it."""

    flow: Flow


@dataclass(frozen=True, slots=True)
class DeleteFlow:
    """Delete the one flow with this table, priority and match."""

    flow: Flow


FlowStep = AddFlow | DeleteFlow
