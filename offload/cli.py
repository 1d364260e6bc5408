"""The commands for people: ``dpukit offload …``. They read, and run beside Open vSwitch in the DPU's network namespace."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from offload.agent.config import read_config
from offload.agent.watch import read_state
from offload.status import Place, Status, read_status
from offload.verdict import ClassVerdict
from sriov.kernel.sysfs import Sysfs
from sriov.program import Roots

_COLUMNS = ("ATTACHMENT", "REPRESENTOR", "CLASS", "VERDICT", "IN_HW", "REASON")


@click.group("offload")
def command() -> None:
    """See what of the pods' traffic runs in hardware."""


@command.command("status")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="The agent's configuration (YAML).")
@click.option("--state", "state_source", help="The desired state; the configuration's when left out.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(config_path: Path | None, state_source: str | None, output: str) -> None:
    """Show for each attachment and class of traffic: hardware, or software and why."""
    config = read_config(config_path)
    state = read_state(config.choose_state(state_source))
    place = Place(config.ovsdb, config.run_dir, config.bridge, config.switch_id)
    found = read_status(state, place, sysfs=Sysfs(Roots.of_environment(os.environ).sysfs))
    click.echo(render_json(found) if output == "json" else render_table(found.verdicts))
    if found.unknown_flows:
        click.echo(f"warning: {found.unknown_flows} datapath flows could not be read", err=True)


def render_json(found: Status) -> str:
    """Render the verdicts for programs."""
    return json.dumps([_as_object(verdict) for verdict in found.verdicts], indent=2)


def _as_object(verdict: ClassVerdict) -> dict[str, object]:
    return {
        "pod": verdict.attachment.pod,
        "network": verdict.attachment.network,
        "vf": str(verdict.attachment.vf),
        "representor": verdict.representor or None,
        "class": verdict.flow_class.value,
        "verdict": verdict.verdict.value,
        "reason": verdict.reason or None,
        "inHw": verdict.in_hw,
        "total": verdict.total,
    }


def render_table(verdicts: Iterable[ClassVerdict]) -> str:
    """Render the verdicts for people, one line each."""
    rows = [_COLUMNS, *(_row(verdict) for verdict in verdicts)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_COLUMNS))]
    return "\n".join(_line(row, widths) for row in rows)


def _row(verdict: ClassVerdict) -> tuple[str, ...]:
    name = verdict.attachment.pod
    if verdict.attachment.network != "default":
        name = f"{name} ({verdict.attachment.network})"
    counts = f"{verdict.in_hw}/{verdict.total}"
    return name, verdict.representor or "-", verdict.flow_class.value, verdict.verdict.value, counts, verdict.reason


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
