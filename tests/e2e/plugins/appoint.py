"""A stand-in for Multus: appoints the pod's device, then becomes the plugin it delegates to.

Multus gets the device from the pod's annotations and what kubelet allocated, writes it into the delegate's configuration as
``deviceID``, and remembers the delegate for DEL, which comes without annotations. So does this, with the annotation
`ANNOTATION`. It notes each call in `CALLS` of its folder, as it came. Run with ``python -IS``.
"""

# pathlib would cost each call some milliseconds, and becoming another program is the point.
# ruff: noqa: PTH100, PTH118, PTH120, PTH123, S606

import json
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ANNOTATION = "dpukit.test/device"
CALLS = "calls"


def main() -> None:
    """Note the call, find the device, and hand the call on; this process becomes the delegate."""
    text = sys.stdin.buffer.read()
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dpukit")
    if os.environ.get("CNI_COMMAND") == "VERSION":
        os.execv(program, [program])
    said = json.loads(text)
    folder = said.pop("folder")
    note(folder, said)
    document = said.pop("delegate") | {key: said[key] for key in ("name", "cniVersion", "prevResult") if key in said}
    device = find_device(folder, said)
    if device:
        document["deviceID"] = device
    descriptor = os.memfd_create("stdin")
    os.write(descriptor, json.dumps(document).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.dup2(descriptor, 0)
    os.execv(program, [program])


def note(folder: str, said: "dict[str, Any]") -> None:
    """Add the call to the list, in one write."""
    environment = {key: value for key, value in os.environ.items() if key.startswith("CNI_")}
    line = json.dumps({"at": time.time(), "environment": environment, "stdin": said})
    descriptor = os.open(f"{folder}/{CALLS}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line.encode() + b"\n")
    os.close(descriptor)


def find_device(folder: str, said: "dict[str, Any]") -> "str | None":
    """Return the device of this container: at ADD from its annotations, later from memory."""
    memory = f"{folder}/{os.environ['CNI_CONTAINERID']}"
    if os.environ["CNI_COMMAND"] == "ADD":
        device: str = said["runtimeConfig"]["io.kubernetes.cri.pod-annotations"][ANNOTATION]
        with open(memory, "w", encoding="ascii") as file:
            file.write(device)
        return device
    try:
        with open(memory, encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    main()
