"""A flow table that can be asked where a packet goes. It knows the flow model, and nothing of Open vSwitch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from offload.flow import IN_PORT, Flow, Move, Output, Resubmit, SetField, UnknownAction


@dataclass(frozen=True)
class Sent:
    """A packet that left, by which port, with which fields."""

    port: int
    fields: Mapping[str, int]


class FakeFlowTable:
    """The flows of one bridge.

    Args:
        flows: of two with the same table, priority and match the later one counts.
    """

    def __init__(self, flows: Iterable[Flow]) -> None:
        self._flows = list({flow.key: flow for flow in flows}.values())

    def send(self, packet: Mapping[str, int]) -> list[Sent]:
        """Return where a packet goes; nowhere when it is dropped. `packet` has the fields it really has, and in_port."""
        found: list[Sent] = []
        self._pass(0, {"reg0": 0, **packet}, found)
        return found

    def matching(self, table: int, packet: Mapping[str, int]) -> list[Flow]:
        """Return the flows of the highest priority that match; more than one is a fault of whoever made them."""
        fits = [flow for flow in self._flows if flow.table == table and _matches(flow, packet)]
        most = max((flow.priority for flow in fits), default=0)
        return [flow for flow in fits if flow.priority == most]

    def _pass(self, table: int, packet: dict[str, int], found: list[Sent]) -> None:
        for flow in self.matching(table, packet)[:1]:
            for action in flow.actions:
                match action:
                    case SetField(field, value):
                        packet[field] = value
                    case Move(source, target):
                        packet[target] = packet[source]
                    case Resubmit(number):
                        self._pass(number, packet, found)
                    case Output(port):
                        out = packet["in_port"] if port == IN_PORT else port
                        # As a switch does: back through the own port only when told so by that word.
                        if out != packet["in_port"] or port == IN_PORT:
                            found.append(Sent(out, dict(packet)))
                    case UnknownAction():
                        raise AssertionError(flow)


def _matches(flow: Flow, packet: Mapping[str, int]) -> bool:
    return all(
        term.field in packet and (packet[term.field] & (-1 if term.mask is None else term.mask)) == term.value
        for term in flow.match
    )
