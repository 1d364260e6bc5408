"""A node in namespaces: a home with veth ends as VFs, pods, the installed executable, and the daemon when a test wants it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cni.install import find_library, render_executable
from tests.fakes.sysfs import FakePf, FakeSysfs, FakeVf

PF = "0000:03:00.0"
VFS = ("0000:03:10.0", "0000:03:10.1", "0000:03:10.2", "0000:03:10.3")
IPAM_PATH = "/usr/lib/cni"


@dataclass
class Namespace:
    """A network namespace, kept by a process that sleeps in it."""

    keeper: subprocess.Popen[bytes]
    path: str
    kept: int | None = None

    @classmethod
    def make(cls, *, detects_duplicates: bool = False) -> Namespace:
        """Make one. Where IPv6 asks the network for each address, that takes a second or two."""
        switches = "" if detects_duplicates else "".join(
            f"echo 0 >/proc/sys/net/ipv6/conf/{device}/accept_dad; " for device in ("all", "default")
        )  # fmt: skip
        script = f"{switches}echo; exec sleep 900"
        keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE)
        assert keeper.stdout is not None
        keeper.stdout.readline()
        return cls(keeper, f"/proc/{keeper.pid}/ns/net")

    def run(self, *command: str) -> str:
        return subprocess.run(
            ["nsenter", f"--net={self.path}", *command], check=True, capture_output=True, text=True
        ).stdout

    def ip(self, *arguments: str) -> list[dict[str, object]]:
        said = self.run("ip", "-json", *arguments)
        return json.loads(said) if said.strip() else []

    def links(self) -> dict[str, dict[str, object]]:
        return {str(link["ifname"]): link for link in self.ip("-details", "link")}

    def end(self) -> None:
        if self.keeper.poll() is None:
            self.keeper.kill()
            self.keeper.wait()
        assert self.keeper.stdout is not None
        self.keeper.stdout.close()


@dataclass
class Said:
    """What one call answered."""

    status: int
    text: bytes
    log: str

    @property
    def json(self) -> dict[str, object]:
        said: dict[str, object] = json.loads(self.text)
        return said

    @property
    def code(self) -> object:
        return self.json["code"] if self.status else None


@dataclass
class Node:
    """The node under test."""

    folder: Path
    home: Namespace
    sysfs: FakeSysfs
    executable: Path
    pods: list[Namespace] = field(default_factory=list)
    daemon: subprocess.Popen[bytes] | None = None
    enter: tuple[str, ...] = ()
    """Options of nsenter, for calls and daemon in other namespaces besides."""

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def socket(self) -> Path:
        return self.folder / "run/node.sock"

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "DPUKIT_SYSFS": str(self.sysfs.root),
            "DPUKIT_STATE": str(self.state),
            "DPUKIT_RUN": str(self.folder / "run"),
        }

    def pod(self, *, detects_duplicates: bool = False) -> Namespace:
        self.pods.append(Namespace.make(detects_duplicates=detects_duplicates))
        return self.pods[-1]

    def config(self, vf: int = 0, *, ipam: bool = False, **more: object) -> dict[str, object]:
        config: dict[str, object] = {
            "cniVersion": "1.0.0", "name": "net0", "type": "dpukit", "deviceID": VFS[vf], **more,
        }  # fmt: skip
        if ipam:
            config["ipam"] = {
                "type": "host-local",
                "dataDir": str(self.folder / "ipam"),
                "ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd09::/64"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            }
        return config

    def start(
        self, verb: str, config: Mapping[str, object] | bytes, *, container: str = "c1", ifname: str = "net1",
        netns: str | None = None, **variables: str,
    ) -> subprocess.Popen[bytes]:  # fmt: skip
        environment = self.environment() | {
            "CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_IFNAME": ifname, "CNI_PATH": IPAM_PATH,
            "CNI_NETNS": netns if netns is not None else "", **variables,
        }  # fmt: skip
        process = subprocess.Popen(
            ["nsenter", *self.enter, f"--net={self.home.path}", str(self.executable)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        )  # fmt: skip
        assert process.stdin is not None
        # Who needs no input may be gone before it comes.
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(config if isinstance(config, bytes) else json.dumps(config).encode())
        process.stdin = None
        return process

    def call(
        self, verb: str, config: Mapping[str, object] | bytes, *, container: str = "c1", ifname: str = "net1",
        netns: str | None = None, **variables: str,
    ) -> Said:  # fmt: skip
        process = self.start(verb, config, container=container, ifname=ifname, netns=netns, **variables)
        text, log = process.communicate(timeout=50)
        return Said(process.returncode, text, log.decode())

    def run_python(self, script: str, *, netns: str, **variables: str) -> bytes:
        """Run a script of the test's own at home, with the environment of a call."""
        environment = self.environment() | {
            "CNI_CONTAINERID": "c1", "CNI_IFNAME": "net1", "CNI_NETNS": netns, "CNI_PATH": IPAM_PATH,
            "PYTHONPATH": str(Path(__file__).parents[3]), **variables,
        }  # fmt: skip
        command = ["nsenter", f"--net={self.home.path}", sys.executable, "-c", script]
        return subprocess.run(command, env=environment, check=True, capture_output=True, timeout=50).stdout

    def start_daemon(self, *options: str, **variables: str) -> None:
        with (self.folder / "daemon.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                ["nsenter", *self.enter, f"--net={self.home.path}", sys.executable, "-m", "cni.daemon", *options],
                env=self.environment() | {"PYTHONPATH": str(Path(__file__).parents[3])} | variables, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + 20
        while not self.socket.exists():
            assert self.daemon.poll() is None, self.daemon_log()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def daemon_log(self) -> str:
        return (self.folder / "daemon.log").read_text(encoding="utf-8")

    def stop_daemon(self, number: int = signal.SIGTERM) -> int:
        assert self.daemon is not None
        self.daemon.send_signal(number)
        status = self.daemon.wait(timeout=30)
        self.daemon = None
        return status

    def vf_link(self, vf: int = 0) -> dict[str, object] | None:
        return self.home.links().get(f"vf{vf}")

    def leftovers(self) -> list[str]:
        """Name what is still noted about attachments: records, owners, addresses."""
        found = [
            *self.state.glob("attachments/*"),
            *self.state.glob("vfs/*"),
            *self.folder.glob("ipam/net0/[0-9a-f]*[.:]*"),
        ]
        return sorted(path.name for path in found if not path.name.startswith("last_reserved"))


def _can_make_namespaces() -> bool:
    return subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode == 0


@pytest.fixture
def idle_node(tmp_path: Path) -> Iterator[Node]:
    """A node on which no daemon runs yet."""
    if not _can_make_namespaces():
        pytest.skip("cannot make network namespaces here")
    with ExitStack() as stack:
        home = Namespace.make()
        stack.callback(home.end)
        for number in range(len(VFS)):
            home.run("ip", "link", "add", f"vf{number}", "type", "veth", "peer", "name", f"wire{number}")
            home.run("ip", "link", "set", f"wire{number}", "up")
        home.run("ip", "link", "add", "pf0", "type", "veth", "peer", "name", "pf0x")
        vfs = tuple(FakeVf(address, f"vf{number}") for number, address in enumerate(VFS))
        sysfs = FakeSysfs(tmp_path / "sys", FakePf(PF, "pf0", vfs))
        executable = tmp_path / "bin/dpukit"
        executable.parent.mkdir()
        executable.write_bytes(render_executable(python=os.path.realpath(sys.executable), library=find_library()))
        executable.chmod(0o755)
        node = Node(tmp_path, home, sysfs, executable)
        stack.callback(_clean_up, node)
        yield node


def _clean_up(node: Node) -> None:
    if node.daemon is not None:
        node.stop_daemon()
    for pod in node.pods:
        pod.end()


@pytest.fixture(params=["daemon", "in-process"])
def node(request: pytest.FixtureRequest, idle_node: Node) -> Node:
    """A node, once with its daemon running and once without."""
    if request.param == "daemon":
        idle_node.start_daemon()
    return idle_node


@pytest.fixture
def ipam() -> None:
    """Ask for the delegated plugin that the tests use (apt: containernetworking-plugins)."""
    if not shutil.which("host-local", path=IPAM_PATH):
        pytest.skip("host-local is not in /usr/lib/cni")
