"""What a pool's server shows, without its socket."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from deviceplugin.config import Pool
from deviceplugin.devicefile import DeviceFiles
from deviceplugin.inventory import Device
from deviceplugin.server import Board, PoolServer, render_device
from sriov.errors import InputError
from sriov.model import PciAddress

POOL = Pool("example.com", "vfs", (), {}, exclude_topology=False)
DEVICE = Device(PciAddress(0, 1, 0x10, 0), 0, PciAddress(0, 1, 0, 0), numa_node=1)


def test_a_device_is_rendered_with_health_and_numa_node() -> None:
    message = render_device(DEVICE, pool=POOL)
    assert (message.ID, message.health) == ("0000:01:10.0", "Healthy")
    assert [node.ID for node in message.topology.nodes] == [1]
    sick = render_device(Device(DEVICE.address, 0, DEVICE.pf, None, "gone"), pool=POOL)
    assert sick.health == "Unhealthy"
    assert not sick.HasField("topology")


def test_a_pool_may_leave_the_topology_out() -> None:
    pool = Pool("example.com", "vfs", (), {}, exclude_topology=True)
    assert not render_device(DEVICE, pool=pool).HasField("topology")


def test_a_publication_of_the_same_is_none() -> None:
    board = Board()
    assert board.publish(())
    assert not board.publish(())
    assert board.publish((DEVICE,))
    assert board.read() == (DEVICE,)


def test_a_reader_has_what_is_there_and_each_publication_after() -> None:
    board = Board()
    board.publish(())
    editions = board.editions(is_wanted=lambda: True)
    assert next(editions) == ()
    threading.Timer(0.01, board.publish, [(DEVICE,)]).start()
    assert next(editions) == (DEVICE,)


def test_a_reader_that_is_not_wanted_ends() -> None:
    board, wanted = Board(), [True]
    editions = board.editions(is_wanted=lambda: wanted[0])
    assert next(editions) == ()

    def end() -> None:
        wanted[0] = False
        board.wake()

    threading.Timer(0.01, end).start()
    assert next(editions, None) is None


def test_a_path_too_long_for_a_socket_is_told() -> None:
    server = PoolServer(POOL, folder=Path("/" + "x" * 100), device_files=DeviceFiles(Path("/nowhere")))
    with pytest.raises(InputError, match="longer than the 107 octets"):
        server.start()
    assert not server.is_watched
