"""The lab's kernel, from Debian's source package, and its modules: the simulated e-switch, and an RDMA device that does nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.lab.roots import HERE, Tools
from tests.lab.store import LabError, Store, digest, run_logged

CONFIG = HERE / "kernel.config"
MODULE = HERE / "dpusim"
_SET = re.compile(r"(CONFIG_\w+)=(.*)")
_UNSET = re.compile(r"# (CONFIG_\w+) is not set")

CONFIGURE = """
tar -C /mnt -xJf /usr/src/linux-source-6.12.tar.xz
cd /mnt/linux-source-6.12
make tinyconfig
cat /mnt/kernel.config >> .config
make olddefconfig
"""
COMPILE = """
cd /mnt/linux-source-6.12
export KBUILD_BUILD_USER=dpukit KBUILD_BUILD_HOST=lab
make -j"$(nproc)" bzImage modules
make run-command KBUILD_RUN_COMMAND='srctree=. $(srctree)/scripts/package/install-extmod-build /mnt/devel'
"""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A bootable kernel and what a module needs to be built for it."""

    folder: Path
    key: str

    @property
    def image(self) -> Path:
        """What QEMU boots."""
        return self.folder / "bzImage"


def parse_config(text: str) -> dict[str, str]:
    """Read a kernel configuration; an option that is off has the value n."""
    options: dict[str, str] = {}
    for line in text.splitlines():
        if found := _SET.fullmatch(line.strip()):
            options[found[1]] = found[2]
        elif found := _UNSET.fullmatch(line.strip()):
            options[found[1]] = "n"
    return options


def missing(wanted: Mapping[str, str], got: Mapping[str, str]) -> list[str]:
    """Options that did not come out as asked: olddefconfig drops what depends on something that is off, and says nothing."""
    return [
        f"{name}={value} came out as {got.get(name, 'n')}"
        for name, value in wanted.items()
        if got.get(name, "n") != value
    ]


def get_kernel(store: Store, tools: Tools) -> Kernel:
    """Return the kernel, compiled the first time."""
    key = digest((tools.key, CONFIG.read_bytes(), CONFIGURE, COMPILE))

    def make(folder: Path) -> None:
        work = folder / "work"
        work.mkdir()
        shutil.copy(CONFIG, work / "kernel.config")
        with store.progress.step("kernel: unpack and configure"):
            run_logged(tools.enter(work, ["sh", "-ec", CONFIGURE]), store.log("kernel-configure"))
        source = work / "linux-source-6.12"
        if problems := missing(parse_config(CONFIG.read_text()), parse_config((source / ".config").read_text())):
            raise LabError(f"kernel.config asks for what the kernel does not give: {'; '.join(problems)}")
        with store.progress.step("kernel: compile (some 5 to 7 minutes on 2 cores)"):
            run_logged(tools.enter(work, ["sh", "-ec", COMPILE]), store.log("kernel-compile"))
        shutil.copy(source / "arch/x86/boot/bzImage", folder / "bzImage")
        (work / "devel").rename(folder / "devel")
        shutil.rmtree(work)

    return Kernel(store.get("kernel", key, make), key)


def get_module(store: Store, tools: Tools, kernel: Kernel) -> Path:
    """Return the folder with dpusim.ko and rdmasim.ko, compiled when their sources or the kernel changed."""
    sources = [path for path in sorted(MODULE.iterdir()) if path.suffix in {".c", ".h"} or path.name == "Kbuild"]
    key = digest((kernel.key, *(part for path in sources for part in (path.name, path.read_bytes()))))

    def make(folder: Path) -> None:
        # The build writes beside the sources and wants the kernel's folder at a path of its own: both go under one work folder.
        work = folder / "work"
        shutil.copytree(kernel.folder / "devel", work / "devel", symlinks=True)
        (work / "dpusim").mkdir()
        for path in sources:
            shutil.copy(path, work / "dpusim")
        command = ["make", "-C", "/mnt/devel", "M=/mnt/dpusim", "W=1", "modules"]
        with store.progress.step("dpusim: compile"):
            run_logged(tools.enter(work, command), store.log("dpusim"))
        for name in ("dpusim.ko", "rdmasim.ko"):
            shutil.copy(work / "dpusim" / name, folder / name)
        shutil.rmtree(work)

    return store.get("dpusim", key, make)
