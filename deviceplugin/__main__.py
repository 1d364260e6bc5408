"""The program ``dpukit-device-plugin``. Reads the environment, sets logging up, runs the loop.

Exit codes are those of `sriov.program`.
"""

from __future__ import annotations

import logging
import os
import signal
from functools import partial
from pathlib import Path
from typing import NoReturn

import click

from deviceplugin.config import DEFAULT_CONFIG, DEFAULT_PREFIX, Config
from sriov.log import fields
from sriov.program import Roots, configure_log, daemon_options, run
from sriov.source import read_document
from sriov.version import VERSION

logger = logging.getLogger("deviceplugin")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@daemon_options
@click.option("--config-file", type=click.Path(path_type=Path), hidden=True)  # sriov-network-device-plugin's --config
@click.option("--resource-prefix", default=DEFAULT_PREFIX, show_default=True, help="For pools that name none.")
def command(
    *, config: Path | None, config_file: Path | None, resource_prefix: str, check_config: bool, log_format: str
) -> None:
    """Advertise this host's VFs to the kubelet."""
    configure_log(log_format)
    path = config or config_file or Path(DEFAULT_CONFIG)
    wanted = Config.parse(read_document(path), source=str(path), prefix=resource_prefix)
    if check_config:
        click.echo(f"{path}: right; pools: {', '.join(pool.resource for pool in wanted.pools) or 'none'}")
        return
    _serve(wanted, Roots.of_environment(os.environ))


def _serve(config: Config, roots: Roots) -> None:
    from deviceplugin.loop import Loop
    from deviceplugin.observe import read_pfs
    from deviceplugin.watch import open_watch
    from sriov.kernel.devlink import Devlink
    from sriov.kernel.sysfs import Sysfs

    sysfs = Sysfs(roots.sysfs)
    folder = roots.device_plugins
    with open_watch(folder) as watch:
        loop = Loop(config, observe=partial(read_pfs, sysfs, Devlink()), folder=folder, watch=watch)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: loop.stop())
        logger.info("started", extra=fields(version=VERSION, pools=len(config.pools), folder=folder))
        loop.run()


def main() -> NoReturn:
    """Run the program; the entry point of ``dpukit-device-plugin`` and of ``python -m deviceplugin``."""
    run(command, name="dpukit-device-plugin")


if __name__ == "__main__":
    main()
