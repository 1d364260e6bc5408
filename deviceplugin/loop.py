"""The resident part of the device plugin: look, sort into pools, show the kubelet, sleep; again on every wake-up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from deviceplugin.config import Config
from deviceplugin.devicefile import DeviceFiles
from deviceplugin.inventory import Inventory, sort_into_pools
from deviceplugin.registration import Registration
from deviceplugin.server import PoolServer
from deviceplugin.watch import Watch
from sriov.errors import DpuError
from sriov.log import fields
from sriov.model import Pf

logger = logging.getLogger(__name__)

RESCAN_S = 10.0
"""Uevents may be lost, and a driver's own reset makes none: so everything is looked at again this often."""

AFTER_ERROR_S = 2.0


class Loop:
    """The device plugin at work, from `run` to `stop`.

    Args:
        config: what to serve.
        observe: looks at this host's PFs and VFs.
        folder: the kubelet's device-plugin folder.
        watch: what to sleep on.
    """

    def __init__(self, config: Config, *, observe: Callable[[], tuple[Pf, ...]], folder: Path, watch: Watch) -> None:
        self._config = config
        self._observe = observe
        self._folder = folder
        self._watch = watch
        self._device_files = DeviceFiles(Path(config.device_files))
        self._servers = {
            pool.resource: PoolServer(pool, folder=folder, device_files=self._device_files, on_stream=watch.wake)
            for pool in config.pools
        }
        self._registrations = [
            Registration(server, folder=folder, wake=watch.wake) for server in self._servers.values()
        ]
        self._inventory = Inventory()
        self._stopping = False

    def stop(self) -> None:
        """Have `run` end; may be called from a signal's handler."""
        self._stopping = True
        self._watch.wake()

    def run(self) -> None:
        """Serve until `stop`.

        Raises:
            DpuError: this host cannot be read even at the start.
        """
        self._look()
        self._dare(self._clean)
        try:
            while not self._stopping:
                self._watch.sleep(self._turn() - time.monotonic())
        finally:
            for registration in self._registrations:
                registration.stop()
            logger.info("stopped")

    def _turn(self) -> float:
        """Look once and do what is missing. Returns when to look again at the latest."""
        looks = [self._dare(self._observe_all), *(self._dare(one.keep) for one in self._registrations)]
        return min(looks)

    def _clean(self, now: float) -> float:
        for resource, devices in self._inventory.pools.items():
            self._device_files.remove_others(resource, {device.id for device in devices})
        return now

    def _observe_all(self, now: float) -> float:
        self._watch.renew()
        self._look()
        return now + RESCAN_S

    @staticmethod
    def _dare(act: Callable[[float], float]) -> float:
        """Do one thing of a turn; what fails is told, and tried again soon, and does not stop the others."""
        now = time.monotonic()
        try:
            return act(now)
        except DpuError as error:
            logger.error("%s", error, extra=fields(retry_s=AFTER_ERROR_S))  # noqa: TRY400 - a sentence, not a bug
            return now + AFTER_ERROR_S

    def _look(self) -> None:
        known = self._inventory
        self._inventory = sort_into_pools(self._observe(), self._config.pools, known=known, now=time.monotonic())
        for resource, devices in self._inventory.pools.items():
            if self._servers[resource].publish(devices):
                self._tell(resource, known)

    def _tell(self, resource: str, known: Inventory) -> None:
        devices = self._inventory.pools[resource]
        before = {device.id: device.unhealthy for device in known.pools.get(resource, ())}
        bad = [device for device in devices if device.unhealthy]
        logger.info("devices", extra=fields(resource=resource, devices=len(devices), unhealthy=len(bad)))
        if not devices:
            logger.warning("no VF of this host fits the pool's selectors", extra=fields(resource=resource))
        for device in bad:
            if before.get(device.id) != device.unhealthy:
                logger.warning("unhealthy", extra=fields(resource=resource, device=device.id, reason=device.unhealthy))
