"""The device plugin at work against the kubelet stand-in, over a folder that looks like sysfs."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deviceplugin.config import Config
from deviceplugin.loop import Loop
from deviceplugin.observe import read_pfs
from deviceplugin.watch import Watch, open_watch
from sriov.kernel.sysfs import Sysfs
from tests.fakes.kubelet import Kubelet, running_kubelet
from tests.fakes.sysfs import FakePf, FakeSysfs, FakeVf

PF = "0000:01:00.0"
VFS = ("0000:01:10.0", "0000:01:10.2", "0000:01:10.4", "0000:01:10.6")


@dataclass
class Node:
    """A node's folders, its (fake) sysfs and its kubelet."""

    folder: Path
    sysfs: FakeSysfs
    kubelet: Kubelet
    watch: Watch | None = None

    @property
    def device_files(self) -> Path:
        return self.folder / "devinfo"

    @contextmanager
    def plugin(self, *pools: dict[str, object]) -> Iterator[Loop]:
        """Run the loop in a thread, with the real watch, for as long as the context lasts."""
        document = {"resourceList": list(pools), "deviceInfoDir": str(self.device_files)}
        config = Config.parse(document, source="test")
        with open_watch(self.kubelet.folder) as watch:
            functions = Sysfs(self.sysfs.root)
            loop = Loop(config, observe=lambda: read_pfs(functions, None), folder=self.kubelet.folder, watch=watch)
            self.watch = watch
            thread = threading.Thread(target=loop.run, name="loop")
            thread.start()
            try:
                yield loop
            finally:
                loop.stop()
                thread.join(10)
                assert not thread.is_alive(), "the loop does not stop"


@pytest.fixture
def node() -> Iterator[Node]:
    # Not tmp_path: a socket's path may have 107 octets only.
    folder = Path(tempfile.mkdtemp(prefix="dpk-"))
    vfs = tuple(FakeVf(address, f"ens1f0v{index}") for index, address in enumerate(VFS))
    sysfs = FakeSysfs(folder / "sys", FakePf(PF, "ens1f0", vfs, numa_node=1))
    with running_kubelet(folder / "plugins") as kubelet:
        yield Node(folder, sysfs, kubelet)
    shutil.rmtree(folder)
