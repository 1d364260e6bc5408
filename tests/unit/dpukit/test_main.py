"""The front door: help without imports, errors as sentences, exit codes by who must act."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from dpukit import __main__ as front_door
from sriov.errors import InputError, NotFoundError


def test_help_names_every_command() -> None:
    said = CliRunner().invoke(front_door.dpukit, ["--help"]).output
    assert all(name in said for name in ("attachments", "devices", "offload", "provision"))


def test_a_wrong_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(front_door.dpukit, ["device"]).exit_code == 2


@pytest.mark.parametrize("name", ["attachments", "devices", "offload", "provision"])
def test_each_name_leads_to_a_command(name: str) -> None:
    assert CliRunner().invoke(front_door.dpukit, [name, "--help"]).exit_code == 0


@pytest.mark.parametrize(
    ("error", "code"), [(InputError("numVfs", "is missing"), 2), (NotFoundError("PF", "is gone"), 1)]
)
def test_an_error_is_told_in_a_sentence_and_sorted_by_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def failing() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        front_door.run(failing, [])
    assert caught.value.code == code
    assert capsys.readouterr().err == f"error: {error}\n"
