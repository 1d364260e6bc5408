"""Read the flows of Open vSwitch's datapath from ovs-vswitchd."""

from __future__ import annotations

from pathlib import Path

from offload.datapath import DatapathDump, parse_dump
from offload.vswitch.unixctl import call_vswitchd


def read_datapath(run_dir: Path, datapath_type: str) -> DatapathDump:
    """Read every flow of the datapath of this type (``system``, ``netdev``), whoever holds it: kernel, TC or hardware.

    Raises:
        UnreachableError: ovs-vswitchd does not answer.
        InputError: it has no such datapath.
    """
    kind = datapath_type or "system"
    return parse_dump(call_vswitchd(run_dir, "dpctl/dump-flows", "-m", "--names", f"{kind}@ovs-{kind}"))
