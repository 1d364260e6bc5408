"""A plugin that does as a test orders: works, refuses, works and dies, or waits.

It stands in two places: at the end of a chain (role ``link``), where its work is to pass on the result; and as IPAM plugin
(role ``ipam``), where its work is host-local's. The order for one role and verb is the file ``<role>-<verb>`` in its folder:
``refuse``, ``die`` (after the work, without a word) or ``wait`` (until there is a file ``go``, then work). That a call has begun is told by
the file ``<role>-<verb>.begun``. Run with ``python -IS``.
"""

# pathlib would cost each call some milliseconds, and becoming another program is the point.
# ruff: noqa: PTH123, S606

import json
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WAIT_MAX_S = 60


def main() -> int:
    """Do the call; return the exit status."""
    text = sys.stdin.buffer.read()
    said = json.loads(text or b"{}")
    role, verb = ("link" if said["type"] == "moody" else "ipam"), os.environ["CNI_COMMAND"]
    folder = (said if role == "link" else said["ipam"])["folder"]
    with open(f"{folder}/{role}-{verb}.begun", "w", encoding="ascii"):
        pass
    order = read_order(f"{folder}/{role}-{verb}")
    if order == "wait":
        await_go(folder)
    status = 0
    if order != "refuse":
        status = pass_on(said, verb) if role == "link" else allocate(text, keep_answer=order != "die")
    if order == "refuse":
        error = {"cniVersion": said["cniVersion"], "code": 11, "msg": f"{role} {verb} refused", "details": "as ordered"}
        print(json.dumps(error))
    return 1 if order in ("refuse", "die") else status


def read_order(path: str) -> str:
    """Return what a test ordered; nothing when it did not."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def await_go(folder: str) -> None:
    """Wait until the test says so."""
    deadline = time.monotonic() + WAIT_MAX_S
    while not os.access(f"{folder}/go", os.F_OK) and time.monotonic() < deadline:
        time.sleep(0.01)


def pass_on(said: "dict[str, Any]", verb: str) -> int:
    """Answer with the result of the plugin before this one."""
    if verb == "ADD":
        print(json.dumps(said["prevResult"] | {"cniVersion": said["cniVersion"]}))
    return 0


def allocate(text: bytes, *, keep_answer: bool) -> int:
    """Let host-local do it."""
    folder = next(part for part in os.environ["CNI_PATH"].split(":") if os.access(f"{part}/host-local", os.X_OK))
    descriptor = os.memfd_create("stdin")
    os.write(descriptor, text)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.dup2(descriptor, 0)
    program = f"{folder}/host-local"
    if keep_answer:
        os.execv(program, [program])
    silence = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    return os.waitstatus_to_exitcode(
        os.waitpid(os.posix_spawn(program, [program], os.environ, file_actions=silence), 0)[1]
    )


if __name__ == "__main__":
    sys.exit(main())
