"""The entry of ``dpukit-node``."""

from __future__ import annotations

import functools
import logging
import os
import threading
from pathlib import Path
from typing import NoReturn

import click

from cni.client import SOCKET_NAME
from cni.daemon.config import Config
from cni.daemon.reconcile import reconcile
from cni.daemon.server import Server, listen
from cni.perform import perform, read_node
from sriov import program
from sriov.kernel import link
from sriov.log import fields
from sriov.source import read_document
from sriov.version import VERSION

logger = logging.getLogger("cni.daemon")


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
    node = read_node(sysfs=roots.sysfs, state=roots.state)
    node.records.prepare()
    link.import_codec()
    stop = program.stop_event()
    server = Server(functools.partial(perform, node=node), workers=settings.workers, queue=settings.queue)
    with listen(roots.run / SOCKET_NAME) as listener:
        logger.info("serving", extra=fields(version=VERSION, socket=roots.run / SOCKET_NAME, workers=settings.workers))
        # Beside the service: behind a leftover there may be an IPAM plugin that takes its time.
        threading.Thread(target=reconcile, args=(node,), name="reconcile", daemon=True).start()
        server.serve(listener, stop)
    logger.info("stopped")


def main() -> NoReturn:
    """Run the daemon; the entry point of ``dpukit-node`` and of ``python -m cni.daemon``."""
    program.run(dpukit_node, name="dpukit-node")


if __name__ == "__main__":
    main()
