"""containerd with everything of its own below one folder: started, killed, started again, without an image registry."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc

from tests.e2e import image
from tests.e2e.cri import Cri, connect

CACHE = Path("/var/lib/cni")
"""Where libcni keeps results; the one place that containerd does not let us choose."""
SANDBOXES = Path("/run/netns")
"""Where containerd mounts the namespaces of its sandboxes, as cni-<number>."""
BOOT = Path("/proc/sys/kernel/random/boot_id")
PATIENCE_S = 120
_CONFIG = """
version = 2
root = "{folder}/lib"
state = "{folder}/run"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{folder}/bin"
    conf_dir = "{folder}/net.d"
"""


def wait_for(condition: Callable[[], object], what: str, *, seconds: float = PATIENCE_S) -> None:
    """Wait until something is so; the deadline is for what never comes.

    Raises:
        TimeoutError: it never came.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.02)


@dataclass
class Containerd:
    """One containerd. Its shims, and so the pods, outlive it until `end_pods`."""

    folder: Path
    """On a file system that can carry an overlay: no overlay itself."""
    environment: Mapping[str, str]
    """It is handed on to the CNI plugins."""
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """Where the CRI is served."""
        return self.folder / "containerd.sock"

    def prepare(self) -> None:
        """Write its configuration and the sandboxes' image."""
        for name in ("bin", "net.d", "opt"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        text = _CONFIG.format(folder=self.folder, socket=self.socket, image=image.NAME)
        (self.folder / "config.toml").write_text(text, encoding="utf-8")
        image.write_image(self.folder / "pause.tar")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["containerd", "--config", str(self.folder / "config.toml")],
                stdout=log, stderr=log, env=os.environ | self.environment,
            )  # fmt: skip
        with connect(self.socket) as cri:
            wait_for(lambda: self._answers(cri), "containerd to answer")
            if not cri.has_image(image.NAME):
                self._import_image()
                wait_for(lambda: cri.has_image(image.NAME), "containerd to notice the image")

    def _answers(self, cri: Cri) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"containerd ended with status {self.process.returncode}: see {self.log}"
        with suppress(grpc.RpcError):
            cri.is_network_ready()
            return True
        return False

    def _import_image(self) -> None:
        command = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", "images", "import"]
        subprocess.run([*command, str(self.folder / "pause.tar")], check=True, capture_output=True)

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it with a signal, if it runs. Pods go on."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE_S)
            self.process = None

    def pids(self) -> set[int]:
        """Return the processes that belong to pods: the shims of this containerd, and what they started."""
        found: set[int] = set()
        parents: dict[int, int] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if b"containerd-shim" in words[0] and str(self.socket).encode() in words:
                    found.add(int(folder.name))
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found

    def end_pods(self) -> None:
        """Kill all pods with their shims, as a power cut does."""
        wait_for(self._kill_pods, "the pods' processes to end")

    def _kill_pods(self) -> bool:
        left = self.pids()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left


@contextmanager
def power_cut(runtime: Containerd) -> Iterator[None]:
    """Take a node down as a power cut does; what is done meanwhile happens before it is up again.

    What is below /run is lost, with the pods and their namespaces; what is below /var/lib stays.
    """
    runtime.end(signal.SIGKILL)
    runtime.end_pods()
    for path in SANDBOXES.glob("cni-*"):
        subprocess.run(["umount", str(path)], check=True)
        path.unlink()
    _unmount_below(runtime.folder / "run")
    shutil.rmtree(runtime.folder / "run")
    yield
    runtime.start()


def begin_boot(folder: Path, name: str) -> None:
    """Let the kernel call its boot `name`, until `forget_boot`; the file for that is made in `folder`."""
    file = folder / "boot_id"
    file.write_text(f"{name}\n", encoding="ascii")
    subprocess.run(["mount", "--bind", str(file), str(BOOT)], check=True)


def forget_boot() -> None:
    """Let the boot have its real name again."""
    while str(BOOT) in _mounts():
        subprocess.run(["umount", str(BOOT)], check=True)


def _unmount_below(folder: Path) -> None:
    for mount in reversed(_mounts()):
        if mount.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", mount], check=True)


def _mounts() -> list[str]:
    return [line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
