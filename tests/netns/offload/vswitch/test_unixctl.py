"""The control socket of a real ovs-vswitchd."""

from __future__ import annotations

from pathlib import Path

import pytest

from offload.vswitch.unixctl import call_vswitchd
from sriov.errors import InputError, UnreachableError
from tests.netns.offload.conftest import OpenVswitch

pytestmark = pytest.mark.netns


def test_a_command_gives_what_ovs_appctl_prints(dummy_switch: OpenVswitch) -> None:
    assert call_vswitchd(dummy_switch.folder, "version") == dummy_switch.appctl("version")
    assert "dpctl/dump-flows" in call_vswitchd(dummy_switch.folder, "list-commands")


def test_a_command_it_does_not_know_is_refused_in_its_words(dummy_switch: OpenVswitch) -> None:
    with pytest.raises(InputError, match="does not take 'no/such': \"no/such\" is not a valid command"):
        call_vswitchd(dummy_switch.folder, "no/such")


def test_an_absent_vswitchd_is_named_with_its_folder(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match=r"ovs-vswitchd: does not answer in '.*': No such file or directory"):
        call_vswitchd(tmp_path, "version")
    (tmp_path / "ovs-vswitchd.pid").write_text("1\n")
    with pytest.raises(UnreachableError):
        call_vswitchd(tmp_path, "version")
