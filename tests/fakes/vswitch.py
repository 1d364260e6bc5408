"""Open vSwitch's database as a plan sees it: takes steps, gives numbers to ports, shows a snapshot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from offload.model import OWNER_KEY, Bridge, BridgePort, PortWish, SwitchSnapshot
from offload.step import ChangePort, EnsureBridge, RemovePort, SwitchStep

LOCAL_OFPORT = 65534


class FakeDatabase:
    """Behaves as `offload.vswitch.database.Database` does, for one bridge or several.

    Args:
        missing: names of devices that are not there: their ports get an error and no number.
    """

    def __init__(self, *ports: BridgePort, missing: Iterable[str] = ()) -> None:
        self._bridges: dict[str, Bridge] = {}
        self._ports = {port.name: port for port in ports}
        self._missing = frozenset(missing)
        for port in ports:
            self._bridges.setdefault(port.bridge, Bridge(port.bridge))

    def refresh(self) -> int:
        return 0

    def read_switch(self, bridge: str) -> SwitchSnapshot:
        ports = tuple(self._ports[name] for name in sorted(self._ports))
        return SwitchSnapshot(bridge=self._bridges.get(bridge), ports=ports)

    def apply(self, steps: Iterable[SwitchStep]) -> None:
        for step in steps:
            match step:
                case EnsureBridge():
                    self._ensure(step)
                case ChangePort(bridge, wish):
                    self._ports[wish.name] = self._change(bridge, wish)
                case RemovePort(_, name):
                    del self._ports[name]

    def _ensure(self, step: EnsureBridge) -> None:
        old = self._bridges.get(step.name, Bridge(step.name, step.datapath_type))
        protocols, hwaddr = old.protocols | step.protocols, step.hwaddr or old.hwaddr
        self._bridges[step.name] = replace(old, fail_mode="secure", protocols=protocols, hwaddr=hwaddr)
        local = BridgePort(step.name, step.name, kind="internal", ofport=LOCAL_OFPORT)
        self._ports.setdefault(step.name, local)

    def _change(self, bridge: str, wish: PortWish) -> BridgePort:
        old = self._ports.get(wish.name)
        ids = dict(old.external_ids) if old and old.owner == wish.owner else {}
        ids |= {OWNER_KEY: wish.owner, **dict(wish.external_ids)}
        absent = wish.name in self._missing
        return BridgePort(
            wish.name,
            bridge,
            kind=wish.kind,
            ofport=None if absent else self._number(wish),
            ofport_request=wish.ofport_request,
            error=f"could not open network device {wish.name} (No such device)" if absent else "",
            options=wish.options,
            external_ids=tuple(sorted(ids.items())),
        )

    def _number(self, wish: PortWish) -> int:
        taken = {port.ofport for port in self._ports.values() if port.name != wish.name}
        if wish.ofport_request is not None and wish.ofport_request not in taken:
            return wish.ofport_request
        return next(number for number in range(1, 1 << 15) if number not in taken)
