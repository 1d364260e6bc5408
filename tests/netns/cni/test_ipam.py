"""Delegated plugins as they are: good, failing, hanging, saying nothing, saying nonsense."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from cni.ipam import Delegation
from cni.request import Verb
from cni.result import DelegateError
from sriov.errors import KernelError, NotFoundError, UnreachableError

pytestmark = pytest.mark.netns


def delegation(folder: Path, script: str, stdin: bytes = b"{}") -> Delegation:
    plugin = folder / "ipam"
    plugin.write_text(f"#!/bin/sh\n{script}\n")
    plugin.chmod(0o755)
    return Delegation("ipam", f"/nowhere::{folder}", {"CNI_COMMAND": "ADD", "A": "b", "PATH": "/usr/bin:/bin"}, stdin)


def test_a_plugin_gets_the_call_as_it_came_with_its_own_verb(tmp_path: Path) -> None:
    stdin = b"x" * 200_000
    said = delegation(tmp_path, 'echo "$CNI_COMMAND $A"; wc -c', stdin).run(Verb.DEL)
    assert said.split() == [b"DEL", b"b", b"200000"]


def test_its_addresses_are_read(tmp_path: Path) -> None:
    script = """echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}],"dns":{"domain":"x"}}'"""
    with delegation(tmp_path, script).start(Verb.ADD) as running:
        result = running.wait_for_addresses()
    assert ([str(ip.address) for ip in result.ips], result.dns) == (["10.0.0.2/24"], {"domain": "x"})


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            """echo '{"code":11,"msg":"no addresses","details":"in 10.0.0.0/24"}'; exit 1""",
            "no addresses: in 10.0.0.0/24",
        ),
        ("echo broken >&2; exit 3", "failed with status 3: broken"),
        ("exit 4", "failed with status 4: without a word"),
        ("exit 0", "its answer is not JSON"),
        ("echo '[]'", "its answer is no CNI result"),
        ("echo '{}'", "it gave no address"),
    ],
)
def test_its_failure_is_told_in_its_own_words(tmp_path: Path, script: str, words: str) -> None:
    with delegation(tmp_path, script).start(Verb.ADD) as running, pytest.raises(DelegateError) as caught:
        running.wait_for_addresses()
    assert words in str(caught.value)
    assert caught.value.code == (11 if "code" in script else 0)


def test_one_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    script = f"sleep 100 & echo $! > {tmp_path}/child; wait"
    late = pytest.raises(UnreachableError, match=r"gave no answer in 0\.5 s and was killed")
    with replace(delegation(tmp_path, script), deadline_s=0.5).start(Verb.ADD) as running, late:
        running.wait()
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10
    while _lives(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_one_that_is_not_waited_for_ends_all_the_same(tmp_path: Path) -> None:
    with delegation(tmp_path, f"sleep 0.2; touch {tmp_path}/done").start(Verb.ADD):
        pass
    assert (tmp_path / "done").exists()


def test_one_that_is_not_there_or_cannot_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no such program in CNI_PATH"):
        Delegation("none", str(tmp_path), {}, b"").run(Verb.ADD)
    bad = delegation(tmp_path, "")
    (tmp_path / "ipam").write_text("#!/no/such/interpreter\n")
    with pytest.raises(KernelError, match="kernel refused to start"):
        bad.run(Verb.ADD)
