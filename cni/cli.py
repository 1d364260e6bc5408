"""``dpukit attachments``: the VFs that are in pods, as their records tell."""

from __future__ import annotations

import json
import os

import click

from cni.attachment import Record
from cni.record import Records
from cni.result import RecordError
from sriov import program

_COLUMNS = ("VF", "INTERFACE", "CONTAINER", "NETWORK", "PHASE", "MAC", "ADDRESSES", "HOME")


@click.command("attachments")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def command(output: str) -> None:
    """List the VFs that are in pods."""
    records = Records(program.Roots.of_environment(os.environ).state).read_all()
    known = [record for record in records if isinstance(record, Record)]
    if output == "json":
        click.echo(json.dumps([describe(record) for record in known], indent=2))
    else:
        for row in table(known):
            click.echo(row)
    for error in records:
        if isinstance(error, RecordError):
            click.echo(f"error: {error}", err=True)


def describe(record: Record) -> dict[str, object]:
    """Render one attachment for programs."""
    return {
        "vf": str(record.vf),
        "ifname": record.attachment.ifname,
        "containerID": record.attachment.container,
        "network": record.network,
        "netns": record.netns,
        "phase": record.phase,
        "mac": record.mac,
        "ips": list(record.ips),
        "home": record.home.name,
        "kind": record.kind,
    }


def table(records: list[Record]) -> list[str]:
    """Render attachments as lines of a table, its heading first."""
    rows = [_COLUMNS, *(_row(record) for record in records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(record: Record) -> tuple[str, ...]:
    said = describe(record)
    addresses = ",".join(record.ips) or "-"
    container = record.attachment.container[:13]
    return (
        str(said["vf"]), str(said["ifname"]), container, record.network, record.phase, record.mac or "-", addresses,
        record.home.name or "-",
    )  # fmt: skip
