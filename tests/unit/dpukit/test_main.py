"""The front door: help without imports, errors as sentences, exit codes by who must act."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from dpukit import __main__ as front_door


def test_help_names_every_command() -> None:
    said = CliRunner().invoke(front_door.dpukit, ["--help"]).output
    assert all(name in said for name in ("attachments", "devices", "offload", "provision"))


def test_a_wrong_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(front_door.dpukit, ["device"]).exit_code == 2


@pytest.mark.parametrize("name", ["attachments", "devices", "offload", "provision"])
def test_each_name_leads_to_a_command(name: str) -> None:
    assert CliRunner().invoke(front_door.dpukit, [name, "--help"]).exit_code == 0
