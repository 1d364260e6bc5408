"""The executable as a runtime meets it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.netns.cni.conftest import Node, Said

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


# -- daemons that are no help ------------------------------------------------------------------------------------------


def change(node: Node, old: str, new: str) -> None:
    """Make the installed client another version of itself."""
    text = node.executable.read_text()
    assert text.count(old) == 1
    node.executable.write_text(text.replace(old, new))


def is_performed_here(said: Said) -> bool:
    """Whether the client did it itself: then the line about the call is in its own log."""
    return "cni.perform: call" in said.log


@contextmanager
def listening(node: Node, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """Serve the daemon's socket in another manner."""
    node.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(node.socket))
        listener.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def hang(connection: socket.socket) -> None:
    """Take the call, and wait until the client has had enough."""
    while connection.recv(65536):
        pass


def break_off(connection: socket.socket) -> None:
    connection.recv(10)


def answer_half(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"\0\0\0\0\x09half")


def decline(connection: socket.socket) -> None:
    """Say what a daemon of another version says."""
    connection.recv(65536)
    connection.sendall(b"\xff\0\0\0\0")


@pytest.mark.parametrize("version", ["dpukit0", "dpukit2"])
def test_a_client_of_another_version_than_the_daemon_does_it_itself(idle_node: Node, version: str) -> None:
    idle_node.start_daemon()
    change(idle_node, r'MAGIC = b"dpukit1\n"', rf'MAGIC = b"{version}\n"')
    pod = idle_node.pod()
    added = idle_node.call("ADD", idle_node.config(), netns=pod.path)
    removed = idle_node.call("DEL", idle_node.config(), netns=pod.path)
    assert [(said.status, is_performed_here(said)) for said in (added, removed)] == [(0, True), (0, True)]
    assert idle_node.leftovers() == []


def test_a_daemon_of_another_version_has_the_client_do_it_itself(idle_node: Node) -> None:
    with listening(idle_node, decline):
        pod = idle_node.pod()
        said = idle_node.call("ADD", idle_node.config(), netns=pod.path)
        assert (said.status, is_performed_here(said)) == (0, True)
        assert idle_node.call("DEL", idle_node.config(), netns=pod.path).status == 0


@pytest.mark.parametrize("manner", [hang, break_off, answer_half])
def test_a_daemon_that_is_lost_costs_an_add_another_try_and_every_other_verb_nothing(
    idle_node: Node, manner: Callable[[socket.socket], None]
) -> None:
    change(idle_node, "PATIENCE_S = 110", "PATIENCE_S = 0.5")
    with listening(idle_node, manner):
        pod = idle_node.pod()
        added = idle_node.call("ADD", idle_node.config(), netns=pod.path)
        assert (added.code, is_performed_here(added)) == (11, False)
        for verb in ("DEL", "STATUS"):
            said = idle_node.call(verb, idle_node.config() | {"cniVersion": "1.1.0"}, netns=pod.path)
            assert (said.status, is_performed_here(said)) == (0, True), verb
    assert idle_node.leftovers() == []


def test_a_socket_that_may_not_be_entered_is_no_daemon(idle_node: Node) -> None:
    idle_node.socket.parent.mkdir()
    idle_node.socket.symlink_to(idle_node.socket.name)
    said = idle_node.call("STATUS", idle_node.config() | {"cniVersion": "1.1.0"})
    assert (said.status, is_performed_here(said)) == (0, True)


# -- callers that are no help ------------------------------------------------------------------------------------------


def test_closed_standard_streams_are_no_reason_for_a_traceback(node: Node) -> None:
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        for verb in ("VERSION", "STATUS"):
            said = subprocess.run(
                ["nsenter", f"--net={node.home.path}", "sh", "-c", f'exec "$0" {closed}', node.executable],
                input=json.dumps(node.config() | {"cniVersion": "1.1.0"}).encode(), capture_output=True, check=False,
                env=node.environment() | {"CNI_COMMAND": verb, "CNI_PATH": "/x", "CNI_NETNS": "/proc/self/ns/net"},
            )  # fmt: skip
            assert b"Traceback" not in said.stderr
            if "<&-" in closed and verb == "STATUS":
                assert said.returncode == 1
                assert said.stdout == b"" or json.loads(said.stdout)["msg"] == "error reading from stdin"
            else:
                assert said.returncode == 0


def test_a_caller_that_does_not_read_the_answer_harms_nobody(node: Node) -> None:
    pod = node.pod()
    call = node.start("ADD", node.config(), netns=pod.path)
    assert call.stdout is not None
    assert call.stderr is not None
    call.stdout.close()
    call.stdout = None
    assert b"Traceback" not in call.stderr.read()
    call.stderr.close()
    call.wait(50)
    assert node.call("DEL", node.config(), netns=pod.path).status == 0
    assert node.leftovers() == []
