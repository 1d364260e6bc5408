"""The commands of this package for people: ``dpukit devices`` and ``dpukit provision``.

Errors leave as `DpuError`, for the front door to print. A PF that could not be brought to what a policy wants is
printed here, one line each on standard error, and the exit code is 1; the others are done nevertheless.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import yaml

from deviceplugin.observe import read_host
from deviceplugin.provision.apply import Provisioner
from deviceplugin.provision.desired import DesiredPf, merge_policies
from deviceplugin.provision.policy import parse_policies
from deviceplugin.provision.record import InitialState, Records
from deviceplugin.report import render_devices, render_outcomes, render_plan, tell_pf, tell_steps
from sriov.errors import DpuError, NotFoundError
from sriov.kernel.devlink import Devlink
from sriov.kernel.sysfs import Sysfs
from sriov.program import Roots
from sriov.source import read_documents

_BOOT = Path("/proc/sys/kernel/random/boot_id")

_policy = click.option(
    "--policy",
    "policy_path",
    type=click.Path(path_type=Path),
    required=True,
    help="SriovNetworkNodePolicy objects: YAML documents, or a List.",
)
_output = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)


@click.command()
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True)
def devices(*, output: str) -> None:
    """List PFs and VFs as this host sees them."""
    pfs = read_host(Sysfs(Roots.of_environment(os.environ).sysfs), Devlink())
    told = [tell_pf(pf) for pf in pfs]
    match output:
        case "json":
            click.echo(json.dumps(told, indent=2))
        case "yaml":
            click.echo(yaml.safe_dump(told, sort_keys=False), nl=False)
        case _:
            click.echo(render_devices(pfs))


@click.group()
def provision() -> None:
    """Create VFs as policies ask; look first, change only what differs."""


@provision.command()
@_policy
@_output
def plan(*, policy_path: Path, output: str) -> None:
    """Say what apply would do, and why; change nothing."""
    provisioner, _ = _open()
    plans = provisioner.plan(_read_desired(policy_path, provisioner))
    if output == "json":
        click.echo(json.dumps([tell_steps(plan.pf, plan.steps, plan.refusal) for plan in plans], indent=2))
    else:
        _say(render_plan(plans))
    _end(plan.refusal for plan in plans)


@provision.command()
@_policy
@_output
def apply(*, policy_path: Path, output: str) -> None:
    """Bring the PFs to what the policies want; a second run writes nothing."""
    provisioner, records = _open()
    desired = _read_desired(policy_path, provisioner)
    with records.lock():
        outcomes = provisioner.apply(desired)
    if output == "json":
        click.echo(json.dumps([tell_steps(one.pf, one.done, one.error) for one in outcomes], indent=2))
    else:
        _say(render_outcomes(outcomes))
    _end(outcome.error for outcome in outcomes)


@provision.command()
@_policy
def verify(*, policy_path: Path) -> None:
    """Exit with 0 if apply would do nothing, else with 1 and what it would do; change nothing."""
    provisioner, _ = _open()
    plans = provisioner.plan(_read_desired(policy_path, provisioner))
    _say(render_plan(plans))
    _end(plan.refusal for plan in plans)
    if any(plan.steps for plan in plans):
        click.get_current_context().exit(1)


@provision.command()
def restore() -> None:
    """Bring every PF that apply changed back to the number of VFs and the MTU it had before."""
    provisioner, records = _open()
    with records.lock():
        initial = records.read_initial_states()
        outcomes = provisioner.apply([one.desire() for one in initial])
        for outcome in outcomes:
            if outcome.error is None:
                records.forget(outcome.pf.address)
    _say(render_outcomes(outcomes) if initial else "no PF was changed by dpukit")
    found = {outcome.pf.address for outcome in outcomes}
    _end([*(outcome.error for outcome in outcomes), *(_say_absent(one) for one in initial if one.pf not in found)])


def _open() -> tuple[Provisioner, Records]:
    roots = Roots.of_environment(os.environ)
    records = Records(roots.state, boot=_BOOT.read_text(encoding="ascii").strip())
    return Provisioner(Sysfs(roots.sysfs), eswitches=Devlink(), memory=records), records


def _read_desired(path: Path, provisioner: Provisioner) -> Sequence[DesiredPf]:
    policies = parse_policies(read_documents(path), source=str(path))
    return merge_policies(policies, [pf.function for pf in provisioner.observe()])


def _say_absent(initial: InitialState) -> DpuError:
    hint = "if it is gone for good, remove its record in the state folder, under provision"
    return NotFoundError(f"PF {initial.pf}", "is not on this host, it cannot be restored", hint=hint)


def _say(text: str) -> None:
    if text:
        click.echo(text)


def _end(errors: Iterable[DpuError | None]) -> None:
    """Tell the errors of single PFs, and exit with 1 if there is one."""
    found = [error for error in errors if error is not None]
    for error in found:
        click.echo(f"error: {error}", err=True)
    if found:
        click.get_current_context().exit(1)
