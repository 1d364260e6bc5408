"""The two Debian folders: `tools` with compiler and QEMU, used from outside, and `guest`, the system inside the virtual machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.store import LabError, Store, digest, run_logged

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
SUITE = "trixie"
"""One release for all of it: QEMU >= 10.0.4 (an igb with VFs that work), OVS 3.5, Linux 6.12."""
MIRROR = "http://deb.debian.org/debian"

TOOLS = """
    gcc libc6-dev make flex bison bc libelf-dev libssl-dev xz-utils perl python3-minimal rsync kmod cpio linux-source-6.12
    qemu-system-x86 e2fsprogs libarchive13t64
"""
GUEST = """
    python3 python3-venv openvswitch-switch containernetworking-plugins iproute2 iperf3 iputils-ping tcpdump
    ethtool conntrack procps kmod nftables pciutils less strace socat ca-certificates
    containerd runc rdma-core
"""
PYTHON = "pyroute2 grpcio protobuf kubernetes click ovs PyYAML pytest hypothesis pytest-timeout"
CONSTRAINTS = REPOSITORY / "packaging" / "constraints.txt"
PIP_DEFAULTS = {"PIP_CERT": "/etc/ssl/certs/ca-certificates.crt", "PIP_CONFIG_FILE": "/etc/pip.conf"}
UNWANTED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
IMAGE_SIZE = "2G"
"""Of the guest's file system; the file is sparse."""

ENTER = """
PATH=$PATH:/usr/sbin:/sbin  # an ordinary user's may not have chroot in it
for folder in proc dev; do mount --rbind "/$folder" "$ROOT/$folder"; done
mount --bind "$WORK" "$ROOT/mnt"
exec chroot "$ROOT" "$@"
"""


@dataclass(frozen=True, slots=True)
class Tools:
    """The folder with compiler and QEMU."""

    root: Path
    key: str

    def enter(self, work: Path, command: Sequence[str]) -> list[str]:
        """Word a command that runs in the folder with `work` at /mnt. A mount namespace keeps the mounts to itself."""
        user = [] if os.geteuid() == 0 else ["--map-root-user", "--map-auto"]
        return [
            "unshare",
            "--mount",
            *user,
            "env",
            f"ROOT={self.root}",
            f"WORK={work}",
            "sh",
            "-ec",
            ENTER,
            "sh",
            *command,
        ]

    def program(self, path: str) -> list[str]:
        """Word a command that runs one program of the folder without entering it: needs no root and sees the machine's paths."""
        libraries = self.root / "usr/lib/x86_64-linux-gnu"
        return [str(self.root / "lib64/ld-linux-x86-64.so.2"), "--library-path", str(libraries), str(self.root / path)]


def get_tools(store: Store) -> Tools:
    """Return the tools, made with mmdebstrap the first time."""
    key = digest((SUITE, *TOOLS.split(), *UNWANTED))

    def make(folder: Path) -> None:
        archive, root = folder / "root.tar", folder / "root"
        with store.progress.step("tools: Debian folder with compiler and QEMU"):
            _mmdebstrap(store, "tools", TOOLS.split(), archive)
            root.mkdir()
            # No device files: only real root may make them, and `Tools.enter` brings the machine's.
            unpack = ["tar", "-C", str(root), "--exclude=./dev/*", "-xf", str(archive)]
            run_logged([*as_root(), *unpack], store.log("tools-unpack"))
            archive.unlink()

    return Tools(store.get("tools", key, make) / "root", key)


def get_guest(store: Store, tools: Tools) -> Path:
    """Return the guest's root file system, an ext4 image."""
    files = [HERE / "guest" / "init", HERE / "guest" / "python", *([CONSTRAINTS] if CONSTRAINTS.exists() else [])]
    key = digest(
        (SUITE, *GUEST.split(), *PYTHON.split(), *UNWANTED, IMAGE_SIZE, *(path.read_bytes() for path in files))
    )

    def make(folder: Path) -> None:
        archive = folder / "root.tar"
        with store.progress.step("guest: Debian folder with Open vSwitch and Python"), _stage(files) as stage:
            hooks = (str(stage / "python"), f"copy-in {stage / 'init'} /usr/sbin")
            _mmdebstrap(store, "guest", GUEST.split(), archive, hooks, {"LAB_STAGE": str(stage), "LAB_PYTHON": PYTHON})
        with store.progress.step("guest: file system image"):
            _make_image(store, tools, archive, folder / "root.img")
        archive.unlink()

    return store.get("guest", key, make) / "root.img"


def _make_image(store: Store, tools: Tools, archive: Path, image: Path) -> None:
    """From the archive, so that owners and devices are right without root. No journal: it is only ever read."""
    command = [*tools.program("usr/sbin/mke2fs"), "-q", "-t", "ext4", "-O", "^has_journal"]
    command += ["-d", str(archive), str(image), IMAGE_SIZE]
    run_logged(
        command, store.log("guest-image"), env={**os.environ, "MKE2FS_CONFIG": str(tools.root / "etc/mke2fs.conf")}
    )


@contextlib.contextmanager
def _stage(files: Sequence[Path]) -> Iterator[Path]:
    """Lay out what the guest's hooks need where they may read it: in an ordinary user's build they run as somebody else.

    Beside our own files that is the machine's way to the package index: its certificates and pip's settings.
    """
    with tempfile.TemporaryDirectory(prefix="dpukit-lab-") as name:
        stage = Path(name)
        for path in files:
            shutil.copy(path, stage)
        for variable, target in (("PIP_CERT", "ca.crt"), ("PIP_CONFIG_FILE", "pip.conf")):
            candidates = (os.environ.get(variable), PIP_DEFAULTS[variable])
            if source := next((path for path in candidates if path and Path(path).is_file()), None):
                shutil.copyfile(source, stage / target)
        for path in (stage, *stage.iterdir()):
            path.chmod(0o755)
        yield stage


def _mmdebstrap(
    store: Store,
    name: str,
    packages: Sequence[str],
    archive: Path,
    hooks: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> None:
    _need_mmdebstrap(store)
    mode = "root" if os.geteuid() == 0 else "unshare"
    command = ["mmdebstrap", "--variant=minbase", f"--mode={mode}", f"--include={','.join(packages)}"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in UNWANTED]
    command += [f"--customize-hook={hook}" for hook in hooks]
    run_logged(
        [*command, SUITE, str(archive), MIRROR],
        store.log(f"mmdebstrap-{name}"),
        env={**os.environ, **(variables or {})},
    )


def as_root() -> list[str]:
    """Word the beginning of a command that has to be root: an ordinary user is, in a user namespace."""
    return [] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--map-auto"]


def _need_mmdebstrap(store: Store) -> None:
    if shutil.which("mmdebstrap"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise LabError("mmdebstrap is not installed; install it (Debian: apt-get install mmdebstrap) and try again")
    with store.progress.step("mmdebstrap: install the package, the only thing changed on this machine"):
        log = store.log("apt")
        run_logged(["apt-get", "update"], log)
        run_logged(["apt-get", "install", "--yes", "--no-install-recommends", "mmdebstrap"], log)


def check_user_namespaces() -> None:
    """An ordinary user builds in a user namespace; say what is missing when there is none to be had."""
    if os.geteuid() == 0:
        return
    # The plain one first: where it is denied, unshare with --map-auto leaves a helper behind that waits for ever.
    for probe in (["unshare", "--user", "true"], [*as_root(), "unshare", "--mount", "true"]):
        done = subprocess.run(probe, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LabError(
                "an ordinary user needs user namespaces, ranges of ids in /etc/subuid and /etc/subgid, and newuidmap (package "
                f"uidmap), but {' '.join(probe)!r} says {done.stderr.strip()!r}; see to these, or run this as root"
            )
