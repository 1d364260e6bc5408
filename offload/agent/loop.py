"""The agent's one loop: observe, plan, apply, and again on every wake-up.

Level-triggered and in one thread. Every round starts from what is, so nothing depends on which event caused it; a round
that finds nothing to do costs a few reads and says nothing. What fails is tried again, ever more rarely.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from offload.agent.config import AgentConfig
from offload.agent.watch import StateFile, StopSignal, Wakeups, stop_signals
from offload.apply import FlowProgram, address_bridge, bring_up
from offload.model import DpuState, SwitchSnapshot, Wiring
from offload.observe import find_mac, read_switch_ports
from offload.plan import UPLINK_OWNER, choose_uplink, locate, plan_switch, wire, wish_ports
from offload.rules import FlowsByOwner, compile_state
from offload.vswitch.database import Database, open_database
from sriov.errors import DpuError
from sriov.kernel.sysfs import Sysfs
from sriov.log import fields
from sriov.representor import SwitchPort

logger = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often the state file's stamp is looked at: a file written in place makes no event in its folder."""

RESYNC_S = 30.0
"""How often everything is looked at though nobody said anything."""

RETRY_FIRST_S, RETRY_MOST_S = 0.25, 8.0


@dataclass(frozen=True, slots=True)
class Round:
    """What one round found and did. `problems` are by owner; the other owners' share was done all the same."""

    wiring: Wiring
    desired: FlowsByOwner
    ports_changed: int = 0
    links_raised: int = 0
    addresses_added: int = 0
    flows_added: int = 0
    flows_deleted: int = 0
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def changes(self) -> int:
        """How many things this round changed."""
        return self.ports_changed + self.links_raised + self.addresses_added + self.flows_added + self.flows_deleted


@dataclass(frozen=True, slots=True)
class Switch:
    """The two sides of Open vSwitch: its database and its flows."""

    database: Database
    program: FlowProgram


def reconcile(state: DpuState, *, config: AgentConfig, sysfs: Sysfs, switch: Switch) -> Round:
    """Bring the switch from what it is to what `state` says, as far as it can be brought.

    Raises:
        DpuError: the switch, its database or the kernel cannot be worked with at all.
    """
    database = switch.database
    ports = read_switch_ports(sysfs)
    located = locate(state.attachments, ports, switch_id=config.switch_id)
    problems = {place.attachment.key: place.problem for place in located if place.problem}
    uplink = _find_uplink(ports, config, problems)
    wishes = wish_ports(state, located, uplink=uplink)
    database.refresh()
    snapshot = database.read_switch(config.bridge.name)
    plan = plan_switch(
        config.bridge, wishes, snapshot, uplink_mac=find_mac(uplink) if uplink else "", keep=frozenset(problems)
    )
    if plan.steps:
        for step in plan.steps:
            logger.debug("switch step", extra=fields(step=step, reason=step.reason))
        database.apply(plan.steps)
        snapshot = database.read_switch(config.bridge.name)
    problems |= {refusal.owner: str(refusal.error) for refusal in plan.refusals}
    problems |= _port_errors(snapshot)
    # Up only now: a representor that is up before it is in the bridge lets the pod talk to nobody.
    raised = bring_up([wish.name for wish in wishes if not wish.kind and wish.owner not in problems])
    addresses = address_bridge(config.bridge)
    wiring = wire(snapshot, wishes)
    desired = compile_state(state, wiring)
    added, deleted = switch.program.converge(desired)
    return Round(wiring, desired, len(plan.steps), len(raised), len(addresses), added, deleted, problems)


def _find_uplink(ports: tuple[SwitchPort, ...], config: AgentConfig, problems: dict[str, str]) -> str | None:
    try:
        return choose_uplink(ports, wanted=config.uplink, switch_id=config.switch_id)
    except DpuError as error:
        problems[UPLINK_OWNER] = str(error)
        return None


def _port_errors(snapshot: SwitchSnapshot) -> dict[str, str]:
    return {
        port.owner: f"Open vSwitch cannot use port {port.name}: {port.error}"
        for port in snapshot.ports
        if port.owner and port.error
    }


class Agent:
    """The running agent.

    Args:
        config: what it was told.
        state_file: where the desired state is read.
        sysfs: where it looks for representors when devlink is silent.
    """

    def __init__(self, config: AgentConfig, *, state_file: StateFile, sysfs: Sysfs) -> None:
        self._config = config
        self._state_file = state_file
        self._sysfs = sysfs
        self._desired: FlowsByOwner = {}
        self._problems: Mapping[str, str] = {}
        self._failure = ""
        self._retry_s = RETRY_FIRST_S

    def run(self) -> None:
        """Work until SIGTERM or SIGINT. Ports and flows stay as they are: traffic needs no agent.

        Raises:
            InputError: there is no state to begin with.
        """
        state = self._state_file.read()
        with stop_signals() as stop, Wakeups.open(self._config.run_dir, self._state_file.folder) as wakeups:
            while not stop.has_come(within_s=0):
                try:
                    with (
                        open_database(self._config.ovsdb) as database,
                        FlowProgram(self._config.run_dir, self._config.bridge.name) as program,
                    ):
                        self._serve(Switch(database, program), state, wakeups, stop)
                except DpuError as error:
                    self._note_failure(error)
                    stop.has_come(within_s=self._next_retry())

    def _serve(self, switch: Switch, state: DpuState, wakeups: Wakeups, stop: StopSignal) -> None:
        seen, due = -1, 0.0
        while not stop.has_come(within_s=0):
            newer = self._take_state()
            state = newer or state
            refilled = self._refill(switch.program)
            woken = wakeups.drain() or switch.database.refresh() != seen
            # While ovs-vswitchd is away a wake-up is a reason to try its socket again, and nothing slower.
            away = bool(self._desired) and not switch.program.is_connected()
            now = time.monotonic()
            if newer or refilled or (woken and not away) or now >= due:
                if now >= due:
                    switch.program.forget()
                due = now + (RESYNC_S if self._round(switch, state) else self._next_retry())
                seen = switch.database.refresh()
            descriptors = [*wakeups.filenos(), stop.fileno(), *switch.program.filenos()]
            switch.database.wait(descriptors, timeout_s=min(LOOK_S, max(0.0, due - time.monotonic())))

    def _take_state(self) -> DpuState | None:
        """Return the new version of the state file; None when there is none, or it cannot be used."""
        if not self._state_file.has_changed():
            return None
        try:
            return self._state_file.read()
        except DpuError as error:
            logger.error("the new state is not used, the one before stays in force: %s", error)  # noqa: TRY400 - its author needs no traceback
            return None

    def _refill(self, program: FlowProgram) -> bool:
        """Give a restarted ovs-vswitchd its flows back, before anything else is looked at. Returns whether it did."""
        if program.is_connected() or not self._desired:
            return False
        begin = time.monotonic()
        try:
            added, _ = program.converge(self._desired)
        except DpuError as error:
            logger.debug("ovs-vswitchd is not back yet: %s", error)
            return False
        logger.info("ovs-vswitchd is back and has its flows", extra=fields(flows=added, ms=_milliseconds(begin)))
        return True

    def _round(self, switch: Switch, state: DpuState) -> bool:
        """Do one round and say what it changed. Returns whether it went through."""
        begin = time.monotonic()
        try:
            done = reconcile(state, config=self._config, sysfs=self._sysfs, switch=switch)
        except DpuError as error:
            self._note_failure(error)
            return False
        except Exception:
            # One of the five places where whatever went wrong is logged and the program goes on.
            logger.exception("this round failed by a fault of dpukit itself; it is tried again")
            return False
        if self._failure:
            logger.info("works again", extra=fields(after=self._failure))
        self._failure, self._retry_s, self._desired = "", RETRY_FIRST_S, done.desired
        self._note_problems(done.problems)
        if done.changes:
            logger.info("reconciled", extra=fields(**_account(done, state), ms=_milliseconds(begin)))
        return True

    def _next_retry(self) -> float:
        now, self._retry_s = self._retry_s, min(2 * self._retry_s, RETRY_MOST_S)
        return now

    def _note_failure(self, error: DpuError) -> None:
        if str(error) != self._failure:
            logger.error("cannot work, trying again: %s", error)
        self._failure = str(error)

    def _note_problems(self, problems: Mapping[str, str]) -> None:
        for owner, problem in problems.items():
            if self._problems.get(owner) != problem:
                logger.warning("not connected: %s", problem, extra=fields(owner=owner))
        for owner in self._problems.keys() - problems.keys():
            logger.info("no longer a problem", extra=fields(owner=owner))
        self._problems = problems


def _account(done: Round, state: DpuState) -> dict[str, object]:
    return {
        "attachments": f"{len(done.wiring.representors)}/{len(state.attachments)}",
        "ports": done.ports_changed,
        "links": done.links_raised,
        "addresses": done.addresses_added,
        "flows_added": done.flows_added,
        "flows_deleted": done.flows_deleted,
    }


def _milliseconds(begin: float) -> str:
    return f"{(time.monotonic() - begin) * 1000:.1f}"
