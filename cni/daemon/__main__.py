"""The entry of ``dpukit-node``."""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from cni.client import SOCKET_NAME
from cni.daemon.calls import Calls, Finished, Limits
from cni.daemon.config import Config
from cni.daemon.door import Door, open_door
from cni.daemon.leftover import Settled
from cni.daemon.reconcile import Reconciler
from cni.daemon.server import Server
from cni.perform import perform, read_node
from cni.request import Verb
from cni.restore import Node
from sriov import program
from sriov.errors import DpuError, NotFoundError
from sriov.log import fields
from sriov.source import read_document
from sriov.version import VERSION

if TYPE_CHECKING:
    from cni.daemon.metrics import Metrics

logger = logging.getLogger("cni.daemon")

_UNDOING = frozenset({Verb.ADD.value, Verb.DEL.value, Verb.GC.value})


@click.command()
@program.daemon_options
def dpukit_node(config: Path | None, log_format: str, *, check_config: bool) -> None:
    """Perform CNI calls for the thin clients of this node, until SIGTERM."""
    document = None if config is None else read_document(config)
    settings = Config.parse(document, source=str(config or "defaults"))
    if check_config:
        return
    program.configure_log(log_format)
    roots = program.Roots.of_environment(os.environ)
    node = replace(read_node(sysfs=roots.sysfs, state=roots.state), stays=True)
    node.records.prepare()
    stop = program.stop_event()
    with open_door(roots.run / SOCKET_NAME) as door:
        logger.info("serving", extra=fields(version=VERSION, socket=door.path, workers=settings.workers))
        Daemon(settings, node, door, stop).run(os.environ)
    logger.info("stopped")


class Daemon:
    """The parts of the daemon, put together.

    Args:
        settings: how much of everything.
        node: the machine.
        door: where calls come.
        stop: ends it.
    """

    def __init__(self, settings: Config, node: Node, door: Door, stop: threading.Event) -> None:
        self._door, self._stop = door, stop
        self._failure: DpuError | None = None
        self._undoing = threading.Thread(target=self._undo, name="reconcile")
        self._metrics = None if settings.metrics is None else self._make_metrics()
        limits = Limits(settings.workers, settings.queue, settings.deadline)
        self._calls = Calls(functools.partial(perform, node=node), limits=limits, finished=self._note_call)
        self._server = Server(door, self._calls, stop)
        self._reconciler = Reconciler(node, interval_s=settings.look_every, settled=self._note_leftover)
        self._endpoint = settings.metrics

    def run(self, environment: Mapping[str, str]) -> None:
        """Serve until `stop` is set, then finish what is begun.

        Raises:
            KernelError: the figures cannot be told where they should be, or changes of links cannot be watched.
            NotFoundError: somebody took the socket away.
        """
        with self._tell_figures():
            self._undoing.start()
            self._server.start()
            program.notify_manager(environment, "READY=1")
            program.wait_for(self._stop)
            program.notify_manager(environment, "STOPPING=1")
            self._server.finish()
            self._reconciler.wake()
            self._undoing.join()
        if self._failure is not None:
            raise self._failure
        if self._server.has_lost_door:
            raise NotFoundError(str(self._door.path), "was removed while it was served", hint="start dpukit-node again")

    def _undo(self) -> None:
        try:
            self._reconciler.run(self._stop)
        except DpuError as error:
            self._failure = error
            self._stop.set()

    def _note_call(self, finished: Finished) -> None:
        if self._metrics is not None:
            self._metrics.count_call(finished)
        if finished.code and finished.verb in _UNDOING:
            # It may have left something.
            self._reconciler.wake()

    def _note_leftover(self, settled: Settled) -> None:
        if self._metrics is not None:
            self._metrics.count_leftover(settled)

    # -- figures -------------------------------------------------------------------------------------------------------

    def _make_metrics(self) -> Metrics:
        from cni.daemon.metrics import Metrics
        from sriov.exposition import make_registry

        return Metrics(
            make_registry("dpukit-node"),
            {
                "calls_waiting": ("Calls that wait for their turn.", lambda: self._calls.waiting),
                "calls_working": ("Calls at work.", lambda: self._calls.working),
                "records": ("Attachments on record.", lambda: self._reconciler.standing),
                "records_unreadable": ("Records that cannot be understood.", lambda: self._reconciler.unreadable),
                "leftovers_waiting": ("Leftovers that could not be undone yet.", lambda: self._reconciler.failing),
            },
        )

    def _tell_figures(self) -> AbstractContextManager[None]:
        if self._metrics is None or self._endpoint is None:
            return nullcontext()
        from sriov.exposition import Pages, expose

        return expose(self._endpoint, Pages(self._metrics.registry, self._find_illness, self._find_unreadiness))

    def _find_illness(self) -> str:
        if not self._stop.is_set() and not self._server.is_serving:
            return "calls are not taken any more"
        return "" if self._undoing.is_alive() else "the reconciler has ended"

    def _find_unreadiness(self) -> str:
        if self._stop.is_set():
            return "stopping"
        if not self._server.is_serving:
            return "calls are not taken yet"
        return "" if self._reconciler.looked.is_set() else "what was left from before is being undone"


def main() -> NoReturn:
    """Run the daemon; the entry point of ``dpukit-node`` and of ``python -m cni.daemon``."""
    program.run(dpukit_node, name="dpukit-node")


if __name__ == "__main__":
    main()
