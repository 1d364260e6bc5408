"""The executable as a runtime meets it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.netns.cni.conftest import Node

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("ipam")]


def test_the_client_imports_three_modules_and_no_more(idle_node: Node) -> None:
    """Every module is paid for by every pod on the node."""
    idle_node.start_daemon()
    program = idle_node.executable.read_text().replace(
        "os._exit(main(perform_here))",
        'status = main(perform_here)\nos.write(2, " ".join(sorted(set(sys.modules) - bare)).encode())\nos._exit(status)',
    )
    idle_node.executable.write_text(
        program.replace("\nimport _socket", "\nimport sys\nbare = set(sys.modules)\nimport _socket", 1)
    )
    for verb, config in (("VERSION", b""), ("STATUS", idle_node.config() | {"cniVersion": "1.1.0"})):
        said = idle_node.call(verb, config)
        assert said.status == 0, said
        assert set(said.log.split()) == {"_socket", *_modules_of_os()}


def _modules_of_os() -> set[str]:
    """Name what ``import os`` brings to an interpreter that was started with -S."""
    script = "import sys; bare = set(sys.modules); import os; print(*set(sys.modules) - bare)"
    command = [os.path.realpath(sys.executable), "-I", "-S", "-c", script]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_the_executable_says_its_versions_without_anybody(idle_node: Node) -> None:
    said = idle_node.call("VERSION", b"", DPUKIT_RUN="/nowhere", CNI_CONTAINERID="")
    assert said.json["supportedVersions"][-1] == "1.1.0"


def test_the_executable_introduces_itself_to_a_person(idle_node: Node) -> None:
    said = subprocess.run([idle_node.executable], capture_output=True, check=False, env={"PATH": os.environ["PATH"]})
    assert (said.returncode, said.stdout) == (0, b"")
    assert b"CNI protocol versions supported: 0.1.0" in said.stderr
