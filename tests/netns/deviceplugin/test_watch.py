"""The loop's sleep ends for each reason it is meant to, and for no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deviceplugin.watch import Watch, open_watch
from sriov.errors import KernelError

pytestmark = pytest.mark.netns


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    with open_watch(tmp_path) as watch:
        yield watch


def slept(watch: Watch, seconds: float = 5.0) -> float:
    began = time.monotonic()
    watch.sleep(seconds)
    return time.monotonic() - began


def test_a_call_of_wake_ends_the_sleep_even_before_it_began(watch: Watch) -> None:
    watch.wake()
    assert slept(watch) < 1
    threading.Timer(0.05, watch.wake).start()
    assert slept(watch) < 1


def test_time_ends_the_sleep(watch: Watch) -> None:
    assert slept(watch, -1) < 1
    assert slept(watch, 0.1) > 0.05


def test_a_file_that_comes_or_goes_ends_the_sleep(tmp_path: Path, watch: Watch) -> None:
    (tmp_path / "kubelet.sock").write_text("")
    assert slept(watch) < 1
    (tmp_path / "kubelet.sock").unlink()
    assert slept(watch) < 1


def test_a_folder_made_anew_is_watched_after_a_renewal(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    with open_watch(folder) as watch:
        folder.rmdir()
        assert slept(watch) < 1
        folder.write_text("")
        with pytest.raises(KernelError, match="make the folder"):
            watch.renew()
        folder.unlink()
        watch.renew()
        watch.renew()
        watch.sleep(0)
        (folder / "kubelet.sock").write_text("")
        assert slept(watch) < 1
