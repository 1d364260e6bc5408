"""Do what plans say: links up, addresses on the bridge's device, flows into the bridge.

(The database's own steps are performed by `offload.vswitch.database.Database.apply`.) Every function may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from offload.flow import Flow, FlowKey
from offload.model import BridgeWish
from offload.observe import read_addresses
from offload.plan import plan_flows
from offload.rules import FlowsByOwner
from offload.step import AddFlow
from offload.vswitch.openflow import FlowConnection, open_flows
from sriov.document import Interface
from sriov.errors import DpuError
from sriov.kernel.address import Addressing
from sriov.kernel.link import Links, open_rtnetlink
from sriov.link import LinkChange


def bring_up(netdevs: Iterable[str]) -> tuple[str, ...]:
    """Set network devices up that are down. Returns those that were; one that is not there is left out.

    Raises:
        KernelError: the kernel refused.
    """
    changed = []
    with open_rtnetlink(subject="ports") as netlink:
        links = Links(netlink)
        for name in netdevs:
            link = links.find(name)
            if link is not None and not link.up:
                links.change(link.index, LinkChange(up=True))
                changed.append(name)
    return tuple(changed)


def address_bridge(bridge: BridgeWish) -> tuple[Interface, ...]:
    """Give the bridge's own device its addresses, and set it up. Returns the addresses it lacked.

    Addresses that others put there stay.

    Raises:
        KernelError: the kernel refused.
    """
    if not bridge.addresses:
        return ()
    with open_rtnetlink(subject=bridge.name) as netlink:
        links, addressing = Links(netlink), Addressing(netlink)
        link = links.find(bridge.name)
        if link is None:
            return ()
        if not link.up:
            links.change(link.index, LinkChange(up=True))
        present = read_addresses(netlink, link.index)
        missing = tuple(address for address in bridge.addresses if address not in present)
        for address in missing:
            addressing.add_address(link.index, address, detect_duplicates=False)
    return missing


class FlowProgram:
    """The flows of one bridge: a connection to it, and a mirror of what is in there.

    The mirror is read anew with each connection. So a restarted agent takes over what is right, and a restarted
    ovs-vswitchd, which starts empty, is filled again. A context manager: leaving it hangs up and changes no flow.

    Args:
        run_dir: ovs-vswitchd's run directory.
        bridge: the bridge's name.
    """

    def __init__(self, run_dir: Path, bridge: str) -> None:
        self._run_dir = run_dir
        self._bridge = bridge
        self._stack = ExitStack()
        self._connection: FlowConnection | None = None
        self._installed: dict[FlowKey, Flow] = {}
        self._is_fresh = False

    def __enter__(self) -> FlowProgram:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    def filenos(self) -> list[int]:
        """Return the descriptors to wait on; none while there is no connection."""
        return [] if self._connection is None else [self._connection.fileno()]

    def is_connected(self) -> bool:
        """Tell whether ovs-vswitchd is still there; when it is not, its flows are gone and the mirror with them."""
        if self._connection is not None and not self._connection.is_alive():
            self.hang_up()
        return self._connection is not None

    def forget(self) -> None:
        """Have the mirror read anew before the next change, in case somebody else changed flows."""
        self._is_fresh = False

    def converge(self, desired: FlowsByOwner) -> tuple[int, int]:
        """Make the bridge's flows of ours the `desired` ones, at once. Returns how many were added and deleted.

        Raises:
            UnreachableError: ovs-vswitchd is not there.
            InputError: it refused a flow, which the text shows; nothing was changed.
        """
        try:
            connection = self._connection or self._connect()
            if not self._is_fresh:
                self._installed = {flow.key: flow for flow in connection.read_flows()}
                self._is_fresh = True
            steps = plan_flows(desired, self._installed)
            if steps:
                connection.apply(steps)
        except DpuError:
            # Whether the change was made is unknown, or part of the answer is still under way.
            self.hang_up()
            raise
        added = 0
        for step in steps:
            if isinstance(step, AddFlow):
                self._installed[step.flow.key] = step.flow
                added += 1
            else:
                del self._installed[step.flow.key]
        return added, len(steps) - added

    def hang_up(self) -> None:
        """Close the connection and forget the mirror."""
        self._stack.close()
        self._connection = None
        self._is_fresh = False

    def _connect(self) -> FlowConnection:
        self._connection = self._stack.enter_context(open_flows(self._run_dir, self._bridge))
        return self._connection
