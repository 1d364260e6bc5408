"""``dpukit attachments``: what the records say, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner

from cni.attachment import Home, Kind
from cni.cli import command
from cni.record import Records
from tests.unit.cni.test_record import RECORD


def test_attachments_are_a_table(tmp_path: Path) -> None:
    Records(tmp_path).write(RECORD.finished(index=3, mac="0a:00:00:00:00:01", ips=("10.0.0.2/24", "fd00::2/64")))
    said = CliRunner(env={"DPUKIT_STATE": str(tmp_path)}).invoke(command)
    heading, line = said.output.splitlines()
    assert heading.split() == ["VF", "INTERFACE", "CONTAINER", "NETWORK", "PHASE", "MAC", "ADDRESSES", "HOME"]
    assert line.split() == [
        "0000:03:10.0", "net1", "c1", "n", "done", "0a:00:00:00:00:01", "10.0.0.2/24,fd00::2/64", "vf0",
    ]  # fmt: skip


def test_attachments_are_json(tmp_path: Path) -> None:
    Records(tmp_path).write(RECORD)
    said = json.loads(CliRunner(env={"DPUKIT_STATE": str(tmp_path)}).invoke(command, ["-o", "json"]).output)
    assert [(entry["vf"], entry["containerID"], entry["phase"]) for entry in said] == [
        ("0000:03:10.0", "c1", "planned")
    ]


def test_a_vf_that_a_program_has_is_at_no_home(tmp_path: Path) -> None:
    Records(tmp_path).write(replace(RECORD, kind=Kind.USERSPACE, home=Home.nowhere()))
    said = CliRunner(env={"DPUKIT_STATE": str(tmp_path)}).invoke(command)
    assert said.output.splitlines()[1].split()[-1] == "-"
    said = CliRunner(env={"DPUKIT_STATE": str(tmp_path)}).invoke(command, ["-o", "json"])
    assert json.loads(said.output)[0]["kind"] == "userspace"


def test_no_state_folder_is_no_attachment(tmp_path: Path) -> None:
    said = CliRunner(env={"DPUKIT_STATE": str(tmp_path / "none")}).invoke(command, ["-o", "json"])
    assert (said.exit_code, json.loads(said.output)) == (0, [])


def test_a_record_nobody_understands_is_told_beside_the_others(tmp_path: Path) -> None:
    Records(tmp_path).write(RECORD)
    (tmp_path / "attachments/x-y.json").write_text("{")
    said = CliRunner(env={"DPUKIT_STATE": str(tmp_path)}).invoke(command)
    assert "x-y.json: cannot be understood" in said.stderr
    assert "0000:03:10.0" in said.stdout
