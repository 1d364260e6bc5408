"""The Open vSwitch of one DPU: its two daemons in the DPU's namespace, and the few questions that the lab asks them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.lab import netns
from tests.lab.model import LAB, Dpu

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
PATIENCE = 60.0
"""Seconds that a daemon has to start or to stop."""


@dataclass(frozen=True, slots=True)
class Switch:
    """Control of one DPU's Open vSwitch. It has no bridge at first: the agent makes what it needs."""

    dpu: Dpu

    @property
    def environment(self) -> dict[str, str]:
        """What makes OVS' programs talk to this one."""
        return dict.fromkeys(("OVS_RUNDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"), self.dpu.rundir) | {
            "OVS_LOGDIR": str(self.logs)
        }

    @property
    def logs(self) -> Path:
        """Where the daemons log: on the developer's machine."""
        return Path(LAB.logs / self.dpu.netns)

    def create(self) -> None:
        """Make the database, with hardware offload on from the start: vswitchd reads that once."""
        Path(self.dpu.rundir).mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        database = f"{self.dpu.rundir}/conf.db"
        Path(database).unlink(missing_ok=True)  # of an earlier topology; a database is not for reuse
        version = netns.run(["ovs-vswitchd", "--version"]).splitlines()[0].split()[-1]
        row = {
            "ovs_version": version,  # as OVS' own start script sets it; programs look for it here
            "other_config": ["map", [["hw-offload", "true"]]],
            "external_ids": [
                "map",
                [["system-id", self.dpu.netns], ["hostname", self.dpu.netns], ["rundir", self.dpu.rundir]],
            ],
        }
        insert = ["Open_vSwitch", {"op": "insert", "table": "Open_vSwitch", "row": row}]
        netns.run(["ovsdb-tool", "create", database, SCHEMA])
        netns.run(["ovsdb-tool", "transact", database, json.dumps(insert)])

    def start(self) -> None:
        """Start both daemons; each returns when it is ready."""
        self._start("ovsdb-server", f"{self.dpu.rundir}/conf.db", f"--remote=punix:{self.dpu.db_sock}")
        self.start_vswitchd()

    def start_vswitchd(self) -> None:
        """Start ovs-vswitchd."""
        self._start("ovs-vswitchd", self.dpu.db)

    def stop_vswitchd(self, *, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop ovs-vswitchd, as a package upgrade does (SIGTERM) or as a crash does (SIGKILL)."""
        pid = int(Path(f"{self.dpu.rundir}/ovs-vswitchd.pid").read_text())
        os.kill(pid, how)
        _wait_for_end(pid)

    def restart_vswitchd(self) -> None:
        """Stop and start ovs-vswitchd."""
        self.stop_vswitchd()
        self.start_vswitchd()

    def stop(self) -> None:
        """Stop both daemons."""
        for name in ("ovs-vswitchd", "ovsdb-server"):
            pid = int(Path(f"{self.dpu.rundir}/{name}.pid").read_text())
            os.kill(pid, signal.SIGTERM)
            _wait_for_end(pid)

    def vsctl(self, *words: str) -> str:
        """Run ovs-vsctl."""
        return netns.run(["ovs-vsctl", f"--db={self.dpu.db}", *words], env=self.environment)

    def ofctl(self, *words: str, stdin: str | None = None) -> str:
        """Run ovs-ofctl with OpenFlow 1.5."""
        return netns.run(["ovs-ofctl", "-OOpenFlow15", *words], env=self.environment, stdin=stdin)

    def appctl(self, *words: str) -> str:
        """Run ovs-appctl against ovs-vswitchd."""
        return netns.run(["ovs-appctl", *words], env=self.environment)

    def set_hw_offload(self, *, on: bool) -> None:
        """Switch hardware offload on or off: it takes a restart of vswitchd."""
        self.vsctl("set", "Open_vSwitch", ".", f"other_config:hw-offload={str(on).lower()}")
        self.restart_vswitchd()

    def remove_bridges(self) -> None:
        """Remove all bridges, in one transaction."""
        words = [word for bridge in self.vsctl("list-br").split() for word in ("--", "del-br", bridge)]
        if words:
            self.vsctl(*words)

    def flush(self) -> None:
        """Forget all datapath flows, so that the next packets make them anew."""
        self.appctl("dpctl/del-flows")

    def datapath_flows(self) -> list[str]:
        """Return the datapath flows with their offload state, as OVS words them."""
        return self.appctl("dpctl/dump-flows", "-m").splitlines()

    def _start(self, program: str, *words: str) -> None:
        log = self.logs / f"{program}.log"
        command = [
            program,
            *words,
            "--detach",
            "--no-chdir",
            f"--pidfile={self.dpu.rundir}/{program}.pid",
            f"--log-file={log}",
        ]
        # Output to a file: a daemon would keep our pipe open, and reading it would never end.
        with (self.logs / f"{program}.out").open("a") as out:
            subprocess.run(
                ["ip", "netns", "exec", self.dpu.netns, *command, "-vconsole:off"],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                timeout=PATIENCE,
                check=True,
            )


def _wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} did not end within {PATIENCE:.0f} s")
        time.sleep(0.05)
