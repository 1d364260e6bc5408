"""Render what was observed and planned for people and for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from deviceplugin.model import HostPf, HostVf
from deviceplugin.provision.apply import Outcome
from deviceplugin.provision.plan import PfPlan, Step
from sriov.errors import DpuError
from sriov.model import NetdevState

_COLUMNS = ("PCI ADDRESS", "FUNCTION", "NETDEV", "DRIVER", "NUMA", "ESWITCH", "MTU", "LINK", "VFS")


def _tell_state(state: NetdevState | None) -> Mapping[str, object]:
    return {
        "mtu": state.mtu if state else None,
        "up": state.up if state else None,
        "carrier": state.carrier if state else None,
    }


def _tell_vf(vf: HostVf) -> Mapping[str, object]:
    function = vf.function
    return {
        "address": str(function.address),
        "index": function.index,
        "netdev": function.netdev,
        "driver": function.driver,
        "inOtherNamespace": vf.is_away,
        **_tell_state(vf.state),
    }


def tell_pf(pf: HostPf) -> Mapping[str, object]:
    """Make of a PF and its VFs what JSON and YAML can hold; a value nobody knows is null."""
    function = pf.function
    return {
        "address": str(function.address),
        "netdev": function.netdev,
        "driver": function.driver,
        "vendor": function.vendor,
        "device": function.device,
        "vfDevice": function.vf_device or None,
        "numaNode": function.numa_node,
        "mac": str(function.mac) if function.mac else None,
        "eswitchMode": function.eswitch_mode,
        **_tell_state(pf.state),
        "numVfs": function.num_vfs,
        "totalVfs": function.total_vfs,
        "vfs": [_tell_vf(vf) for vf in pf.vfs],
    }


def render_devices(pfs: Iterable[HostPf]) -> str:
    """Render PFs and VFs as a table; a dash is what nobody knows."""
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for pf in pfs:
        function = pf.function
        rows.append(
            (
                str(pf.address),
                "PF",
                function.netdev or "-",
                function.driver or "-",
                _word(function.numa_node),
                function.eswitch_mode or "-",
                *_state_words(pf.state),
                f"{function.num_vfs}/{function.total_vfs}",
            )
        )
        rows += [_vf_row(vf) for vf in pf.vfs]
    if len(rows) == 1:
        return "no PCI function here can have VFs"
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _vf_row(vf: HostVf) -> tuple[str, ...]:
    function = vf.function
    netdev = "(in a pod)" if vf.is_away else function.netdev or "-"
    words = _state_words(vf.state)
    return f"  {function.address}", f"VF {function.index}", netdev, function.driver or "-", "", "", *words, ""


def _word(value: object) -> str:
    return "-" if value is None else str(value)


def _state_words(state: NetdevState | None) -> tuple[str, str]:
    if state is None:
        return "-", "-"
    link = {True: "up", False: "no carrier", None: "up"}[state.carrier] if state.up else "down"
    return str(state.mtu), link


def render_plan(plans: Iterable[PfPlan]) -> str:
    """Render plans as one line for each step, refusals left out (they are errors)."""
    return "\n".join(_render_steps(plan.pf, plan.steps, none="as desired") for plan in plans if not plan.refusal)


def render_outcomes(outcomes: Iterable[Outcome]) -> str:
    """Render what was done as one line for each step, errors left out."""
    lines = (
        _render_steps(outcome.pf, outcome.done, none="nothing done" if outcome.error else "as desired, nothing written")
        for outcome in outcomes
    )
    return "\n".join(lines)


def _render_steps(pf: HostPf, steps: Sequence[Step], *, none: str) -> str:
    return "\n".join(f"{pf}: {step} - {step.reason}" for step in steps) if steps else f"{pf}: {none}"


def tell_steps(pf: HostPf, steps: Sequence[Step], error: DpuError | None) -> Mapping[str, object]:
    """Make of a PF's plan or outcome what JSON can hold."""
    return {
        "pf": str(pf.address),
        "netdev": pf.function.netdev,
        "steps": [{"step": str(step), "reason": step.reason} for step in steps],
        "error": None if error is None else str(error),
    }
