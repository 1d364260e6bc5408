"""What this kernel can and may offload."""

from __future__ import annotations

import pytest

from offload.feature import find_recirculation_sharing, find_tc_offload
from sriov.kernel.netns import open_netns, run_in
from tests.netns.offload.conftest import Underlay, run

pytestmark = pytest.mark.netns


def test_a_device_tells_its_feature_and_an_absent_one_nothing(underlay: Underlay) -> None:
    run("ip", "-n", underlay.hub, "link", "add", "a0", "type", "veth", "peer", "name", "a1")
    shown = run("ip", "netns", "exec", underlay.hub, "ethtool", "-k", "a0")
    with open_netns(f"/run/netns/{underlay.hub}") as netns:
        assert run_in(netns, lambda: find_tc_offload("a0")) is ("hw-tc-offload: on" in shown)
        assert run_in(netns, lambda: find_tc_offload("nothing")) is None


def test_a_namespace_without_a_kernel_datapath_does_not_tell(underlay: Underlay) -> None:
    with open_netns(f"/run/netns/{underlay.hub}") as netns:
        assert run_in(netns, find_recirculation_sharing) is None
