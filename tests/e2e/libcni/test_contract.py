"""Our own runtime for tests sends to plugins what libcni sends: the same conflist, driven by ``cnitool`` and by `Runtime`.

Needs Go (which fetches ``cnitool`` by version through its proxy) and the right to make a mount namespace: ``cnitool`` keeps its
cache in ``/var/lib/cni`` and nowhere else. What cnitool has no word for is not held: GC with a list of valid attachments, VERSION.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import golang
from tests.fakes.runtime import Attachment, Network, PluginError, Runtime

pytestmark = pytest.mark.e2e

RECORDER = """\
#!{python} -IS
import json, os, sys
config = json.load(sys.stdin)
with open({log!r}, "a") as log:
    said = {{key: value for key, value in os.environ.items() if key.startswith("CNI_")}}
    log.write(json.dumps({{"plugin": os.path.basename(sys.argv[0]), "environment": said, "stdin": config}}) + "\\n")
answers = config.get("answers", {{}}).get(os.environ["CNI_COMMAND"])
if answers is not None:
    print(json.dumps(answers))
    sys.exit("code" in answers)
if os.environ["CNI_COMMAND"] == "ADD":
    print(json.dumps(config.get("prevResult") or {{"cniVersion": config["cniVersion"]}}))
"""
INTERFACE = {
    "name": "eth0", "mac": "0a:58:0a:01:01:02", "mtu": 1400, "sandbox": "/run/netns/x", "pciID": "0000:01:10.0",
    "socketPath": "",
}  # fmt: skip
RESULT = {
    "interfaces": [INTERFACE],
    "ips": [{"address": "10.1.1.2/24", "gateway": "10.1.1.1", "interface": 0}, {"address": "fd01::2/64"}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.1.1"}],
    "dns": {},
    "ours": "unknown to libcni",
}
OLD = {"ips": [{"version": "4", "address": "10.1.1.2/24", "interface": 0}, {"version": "6", "address": "fd01::2/64"}]}
REFUSED = {"code": 11, "msg": "not now", "details": "asked to"}


def conflist(version: str = "1.1.0", **more: object) -> dict[str, Any]:
    first = {
        "type": "first", "capabilities": {"mac": True, "ips": False, "deviceID": True}, "key": [1, {"a": None}],
        "answers": {"ADD": {"cniVersion": version, **(RESULT | OLD if version < "1" else RESULT)}},
    }  # fmt: skip
    return {"cniVersion": version, "name": "net", "plugins": [first, {"type": "second"}], **more}


def with_answers(verb: str, position: int, **more: object) -> dict[str, Any]:
    said = conflist(**more)  # type: ignore[arg-type]
    said["plugins"][position].setdefault("answers", {})[verb] = {"cniVersion": said["cniVersion"], **REFUSED}
    return said


CASES: Mapping[str, tuple[dict[str, Any], str]] = {
    "a life": (conflist(), "add check del"),
    "a life in 1.0.0": (conflist("1.0.0"), "add check del"),
    "a life in 0.4.0": (conflist("0.4.0"), "add check del"),
    "a second del": (conflist(), "add del del"),
    "del without add": (conflist(), "del"),
    "check without add": (conflist(), "check"),
    "gc after add": (conflist(), "add gc del"),
    "gc without add": (conflist(), "gc"),
    "gc in 1.0.0": (conflist("1.0.0"), "add gc"),
    "gc that is off": (conflist(disableGC=True), "add gc"),
    "status": (conflist(), "status"),
    "status in 1.0.0": (conflist("1.0.0"), "status"),
    "check that is off": (conflist(disableCheck=True), "add check del"),
    "the newest known version": (conflist("1.0.0", cniVersions=["0.4.0", "1.1.0", "1.0.0", "2.0.0"]), "add del"),
    "no add for the second": (with_answers("ADD", 0), "add del"),
    "an add that fails late": (with_answers("ADD", 1), "add del"),
    "a del that fails": (with_answers("DEL", 1), "add del del"),
    "a check that fails": (with_answers("CHECK", 0), "add check del"),
    "a status that fails": (with_answers("STATUS", 0), "status"),
    "a gc that fails": (with_answers("GC", 0), "add gc del"),
}


SILENT = {"status in 1.0.0"}
"""Cases in which no plugin is called."""


@pytest.fixture(scope="module")
def cnitool() -> Path:
    try:
        return golang.build(golang.CNITOOL)
    except golang.GoError as error:
        pytest.skip(str(error))


@pytest.fixture
def plugins(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("first", "second"):
        text = RECORDER.format(python=os.path.realpath(sys.executable), log=str(tmp_path / "calls"))
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)


def recorded(folder: Path) -> list[dict[str, Any]]:
    """Take the calls that were recorded."""
    file = folder / "calls"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return [json.loads(line) for line in lines]


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("case", CASES)
def test_each_call_is_the_one_that_libcni_makes(case: str, cnitool: Path, tmp_path: Path) -> None:
    config, verbs = CASES[case]
    netns = f"{tmp_path}/netns"
    capabilities = {"mac": "0a:58:0a:01:01:03", "ips": ["10.1.1.9/24"], "deviceID": "0000:01:10.1", "other": 1}
    container = f"cnitool-{hashlib.sha512(netns.encode()).digest()[:10].hex()}"
    attachment = Attachment(container, netns, "net1", (("IgnoreUnknown", "1"), ("K8S_POD_NAME", "a")), capabilities)
    theirs = as_libcni_says(cnitool, tmp_path, config, verbs, attachment), recorded(tmp_path)
    ours = as_we_say(tmp_path, config, verbs, attachment), recorded(tmp_path)
    assert ours == theirs
    assert any(ours[1]) == (case not in SILENT)


def as_libcni_says(cnitool: Path, folder: Path, config: object, verbs: str, attachment: Attachment) -> list[bool]:
    """Let cnitool do it, with a /var/lib/cni of its own. Returns for each verb whether it succeeded."""
    (folder / "net.d").mkdir()
    (folder / "net.d/net.conflist").write_text(json.dumps(config), encoding="utf-8")
    calls = " ".join(f"{cnitool} {verb} net {attachment.netns} >/dev/null 2>&1; echo $?;" for verb in verbs.split())
    environment = {
        "PATH": os.environ["PATH"], "CNI_PATH": str(folder / "bin"), "NETCONFPATH": str(folder / "net.d"),
        "CNI_IFNAME": attachment.ifname, "CNI_ARGS": ";".join(f"{key}={value}" for key, value in attachment.args),
        "CAP_ARGS": json.dumps(attachment.capabilities),
    }  # fmt: skip
    words = ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs tmpfs /var/lib || exit; {calls}"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return [status == "0" for status in done.stdout.split()]


def as_we_say(folder: Path, config: object, verbs: str, attachment: Attachment) -> list[bool]:
    """Let our runtime do it."""
    runtime = Runtime([folder / "bin"], folder / "cache", environment={"PATH": os.environ["PATH"]})
    network = Network.parse(json.dumps(config))
    succeeded = []
    for verb in verbs.split():
        try:
            match verb:
                case "add":
                    runtime.add(network, attachment)
                case "check":
                    runtime.check(network, attachment)
                case "del":
                    runtime.delete(network, attachment)
                case "gc":
                    if errors := runtime.collect(network):
                        raise errors[0]
                case "status":
                    runtime.status(network)
            succeeded.append(True)
        except PluginError:
            succeeded.append(False)
    return succeeded
