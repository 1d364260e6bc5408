from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from offload.cli import command, render_json, render_table
from offload.status import Status
from offload.verdict import ClassVerdict, FlowClass, Verdict
from sriov.errors import InputError
from tests.unit.offload.samples import make_attachment

VERDICTS = (
    ClassVerdict(make_attachment(0), "eth0", FlowClass.POD_POD_LOCAL, Verdict.HARDWARE, "", 2, 2),
    ClassVerdict(make_attachment(1), "", FlowClass.POD_POD_REMOTE, Verdict.UNPLUGGED, "no representor"),
)


def test_the_table_has_one_line_per_verdict_under_its_heads() -> None:
    assert render_table(VERDICTS).splitlines() == [
        "ATTACHMENT    REPRESENTOR  CLASS           VERDICT    IN_HW  REASON",
        "default/pod0  eth0         pod-pod-local   hardware   2/2",
        "default/pod1  -            pod-pod-remote  unplugged  0/0    no representor",
    ]


def test_json_names_what_a_program_needs() -> None:
    first, second = json.loads(render_json(Status(VERDICTS, 0)))
    assert first == {
        "pod": "default/pod0",
        "network": "default",
        "vf": "c1pf0vf0",
        "representor": "eth0",
        "class": "pod-pod-local",
        "verdict": "hardware",
        "reason": None,
        "inHw": 2,
        "total": 2,
    }
    assert (second["representor"], second["reason"]) == (None, "no representor")


def test_without_a_state_the_command_says_how_to_name_one() -> None:
    found = CliRunner().invoke(command, ["status"])
    assert isinstance(found.exception, InputError)
    assert (
        str(found.exception) == "state: is not given (name it with --state file:PATH, or as state in the configuration)"
    )


@pytest.mark.parametrize(
    "words", [["--config", "none.yaml"], ["--state", "file:/none.yaml"], ["--state", "/none.yaml"]]
)
def test_a_file_that_is_not_there_is_an_input_error(tmp_path: Path, words: list[str]) -> None:
    words = [word.replace("none", str(tmp_path / "none")) if word == "none.yaml" else word for word in words]
    assert isinstance(CliRunner().invoke(command, ["status", *words]).exception, InputError)
