"""Registering with a kubelet stand-in, on a clock of the test's own."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deviceplugin.config import Pool
from deviceplugin.devicefile import DeviceFiles
from deviceplugin.registration import FIRST_STREAM_S, RETRY_FIRST_S, RETRY_MOST_S, Registration, identify_socket
from deviceplugin.server import PoolServer
from tests.fakes.kubelet import Kubelet, running_kubelet

pytestmark = pytest.mark.netns


class Scene:
    def __init__(self, folder: Path) -> None:
        self.woken = threading.Event()
        pool = Pool("example.com", "vfs", (), {}, exclude_topology=False)
        self.server = PoolServer(pool, folder=folder, device_files=DeviceFiles(folder), on_stream=self.woken.set)
        self.server.publish(())
        self.registration = Registration(self.server, folder=folder, wake=self.woken.set)

    def keep_until_woken(self, now: float) -> float:
        self.woken.clear()
        self.registration.keep(now)
        assert self.woken.wait(5)
        return self.registration.keep(now)


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="dpk-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def kubelet(folder: Path) -> Iterator[Kubelet]:
    with running_kubelet(folder) as kubelet:
        yield kubelet


@pytest.fixture
def scene(folder: Path) -> Iterator[Scene]:
    scene = Scene(folder)
    yield scene
    scene.registration.stop()


def wait_until_done(scene: Scene, now: float = 0.0) -> None:
    for _ in range(50):
        scene.registration.keep(now)
        if scene.registration.is_done and scene.server.is_watched:
            return
        scene.woken.wait(0.1)
        scene.woken.clear()
    raise AssertionError("not registered")


def test_without_a_kubelet_the_socket_is_served_all_the_same(scene: Scene) -> None:
    scene.registration.keep(0)
    assert scene.server.path.is_socket()
    assert not scene.registration.is_done


def test_a_kubelet_that_is_there_is_registered_with_once(kubelet: Kubelet, scene: Scene) -> None:
    wait_until_done(scene)
    for now in range(100):
        scene.registration.keep(float(now))
    assert kubelet.registrations == ["example.com/vfs"]


def test_a_refusal_is_followed_by_longer_and_longer_waits(kubelet: Kubelet, scene: Scene) -> None:
    kubelet.refusal = "no"
    now, waits = 0.0, []
    for _ in range(9):
        again = scene.keep_until_woken(now)
        waits.append(again - now)
        now = again
    assert waits[0] == RETRY_FIRST_S
    assert waits == sorted(waits)
    assert waits[-1] == RETRY_MOST_S
    kubelet.refusal = ""
    wait_until_done(scene, now)


def test_a_stale_kubelet_socket_is_no_reason_to_give_up(folder: Path, scene: Scene) -> None:
    (folder / "kubelet.sock").write_text("")
    scene.keep_until_woken(0)
    assert not scene.registration.is_done
    with running_kubelet(folder):
        wait_until_done(scene, 1.0)


def test_a_kubelet_that_never_watches_is_registered_with_again(kubelet: Kubelet, scene: Scene) -> None:
    wait_until_done(scene)
    # Once more, for the stream may have been opened after the last look.
    scene.registration.keep(0)
    kubelet.end_streams()
    deadline = time.monotonic() + 10
    while scene.server.is_watched and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not scene.server.is_watched
    scene.registration.keep(FIRST_STREAM_S + 1)
    wait_until_done(scene, FIRST_STREAM_S + 1)
    assert len(kubelet.registrations) == 2


def test_a_socket_made_anew_is_another(tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert identify_socket(path) is None
    path.write_text("")
    first = identify_socket(path)
    assert first == identify_socket(path)
    path.unlink()
    path.write_text("")
    assert identify_socket(path) != first
