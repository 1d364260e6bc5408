"""The door every program has: roots, YAML, errors by exit code."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from sriov import program
from sriov.errors import InputError, NotFoundError


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
        program.run(failing, [], name="x")
    assert caught.value.code == code
    assert capsys.readouterr().err == f"error: {error}\n"


def test_the_environment_moves_the_roots_and_empty_means_default() -> None:
    roots = program.Roots.of_environment({"DPUKIT_SYSFS": "/x/sys", "DPUKIT_RUN": ""})
    assert (roots.sysfs, roots.run) == (Path("/x/sys"), Path("/run/dpukit"))


def test_every_daemon_option_arrives() -> None:
    @click.command()
    @program.daemon_options
    def daemon(config: Path | None, *, check_config: bool, log_format: str) -> None:
        click.echo(f"{config} {check_config} {log_format}")

    from click.testing import CliRunner

    assert CliRunner().invoke(daemon, ["--config", "a.yaml", "--check-config"]).output == "a.yaml True text\n"
