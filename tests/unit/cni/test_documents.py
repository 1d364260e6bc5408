"""The tables for users say what the code says: every code, every key, every field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cni import network
from cni.attachment import render_record
from cni.result import CODES, CONNECTIVITY_LIMITED, NOT_AVAILABLE
from sriov.link import LinkState, Rates, VfAttributes, VlanTag
from sriov.model import MacAddress
from tests.unit.cni.test_record import RECORD

DOCS = Path(__file__).parents[3] / "docs/cni"

WHOLE = replace(
    RECORD,
    attributes=VfAttributes(
        MacAddress(bytes(6)), VlanTag(5), spoofchk=True, trust=False, link_state=LinkState.AUTO, rates=Rates(0, 0)
    ),
)


def first_cells(name: str, *, heading: str) -> list[str]:
    """Read the first column of the table that has this heading."""
    lines = (DOCS / name).read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    cells = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells.append(line.split("|")[1].strip().strip("`"))
    return cells


def paths(document: dict[str, object], before: str = "") -> Iterator[str]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from paths(value, f"{before}{key}.")
        else:
            yield f"{before}{key}"


def test_every_code_has_its_row() -> None:
    codes = {str(code) for code in {*CODES.values(), NOT_AVAILABLE, CONNECTIVITY_LIMITED}}
    assert set(first_cells("errors.md", heading="code")) == codes


def test_every_row_of_the_codes_has_an_example() -> None:
    lines = (DOCS / "errors.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if re.match(r"\| \d+ \|", line)]
    assert all(len(row.split(" | ")) == 4 and "`" in row.split(" | ")[3] for row in rows)


def test_every_key_of_a_network_has_its_row() -> None:
    assert sorted(first_cells("migration-from-sriov-cni.md", heading="key")) == sorted(network.KEYS)


def test_every_field_of_a_record_has_its_row() -> None:
    said: dict[str, object] = json.loads(render_record(WHOLE))
    assert sorted(first_cells("files.md", heading="field")) == sorted(paths(said))
