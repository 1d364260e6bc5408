"""``dpukit devices`` and ``dpukit provision`` as a person runs them, over a folder that looks like sysfs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.fakes.sysfs import FakePf, FakeSysfs, FakeVf

pytestmark = pytest.mark.netns

PF = "0000:01:00.0"
POLICY = """
apiVersion: sriovnetwork.openshift.io/v1
kind: SriovNetworkNodePolicy
metadata: {name: p1}
spec: {resourceName: vfs, numVfs: %s, nicSelector: {pfNames: [%s]}}
"""


class Host:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        vfs = (FakeVf("0000:01:10.0", "v0"), FakeVf("0000:01:10.2", "v1"))
        self.sysfs = FakeSysfs(folder / "sys", FakePf(PF, "ens1f0", vfs))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "DPUKIT_SYSFS": str(self.folder / "sys"),
            "DPUKIT_STATE": str(self.folder / "state"),
        }
        return subprocess.run(
            [sys.executable, "-m", "dpukit", *words], env=environment, capture_output=True, text=True, check=False
        )

    def provision(self, verb: str, count: object = 2, pf: str = "ens1f0") -> subprocess.CompletedProcess[str]:
        (self.folder / "p.yaml").write_text(POLICY % (count, pf))
        return self.run("provision", verb, "--policy", str(self.folder / "p.yaml"))

    def read_everything(self) -> dict[str, str]:
        files = sorted(path for path in self.folder.rglob("*") if path.is_file() and path.name != "p.yaml")
        return {str(path): path.read_text() for path in files}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_devices_are_listed_in_three_forms(host: Host) -> None:
    table, as_json, as_yaml = host.run("devices"), host.run("devices", "-o", "json"), host.run("devices", "-o", "yaml")
    assert "2/7" in table.stdout
    (pf,) = json.loads(as_json.stdout)
    assert [vf["address"] for vf in pf["vfs"]] == ["0000:01:10.0", "0000:01:10.2"]
    assert yaml.safe_load(as_yaml.stdout) == [pf]


def test_a_plan_says_what_and_why_and_changes_nothing(host: Host) -> None:
    before = host.read_everything()
    found = host.provision("plan", 4)
    assert (found.returncode, found.stderr) == (0, "")
    assert f"{PF} (ens1f0): create 4 VFs - policy p1 wants numVfs 4, the PF has 2" in found.stdout
    assert host.provision("verify", 4).returncode == 1
    assert host.read_everything() == before


def test_a_host_as_desired_is_not_written_to(host: Host) -> None:
    before = host.read_everything()
    found = host.provision("apply")
    assert (found.returncode, found.stdout) == (0, f"{PF} (ens1f0): as desired, nothing written\n")
    assert host.provision("verify").returncode == 0
    assert {path: text for path, text in host.read_everything().items() if not path.endswith("/lock")} == before


@pytest.mark.parametrize(
    ("count", "pf", "said"),
    [
        (9, "ens1f0", "9 is more than the 7 VFs PF 0000:01:00.0"),
        ("'4'", "ens1f0", "spec.numVfs: '4' is a text, must be an integer"),
        (4, "ens9", "no PF of this host fits pfNames=ens9"),
    ],
)
@pytest.mark.parametrize("verb", ["plan", "apply", "verify"])
def test_bad_words_are_refused_and_nothing_is_changed(host: Host, verb: str, count: object, pf: str, said: str) -> None:
    before = host.read_everything()
    found = host.provision(verb, count, pf)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("error: ")
    assert said in found.stderr
    assert host.read_everything() == before


def test_vfs_in_use_are_not_taken_away(host: Host) -> None:
    host.sysfs.place_netdev("0000:01:10.2", None)
    before = host.read_everything()
    found = host.provision("apply", 4)
    assert found.returncode == 1
    assert "error: PF 0000:01:00.0 (ens1f0): its 2 VFs would have to be removed to make 4" in found.stderr
    assert {path: text for path, text in host.read_everything().items() if not path.endswith("/lock")} == before


def test_restoring_what_was_never_changed_does_nothing(host: Host) -> None:
    found = host.run("provision", "restore")
    assert (found.returncode, found.stdout) == (0, "no PF was changed by dpukit\n")


def test_a_pf_that_cannot_be_restored_is_told(host: Host) -> None:
    folder = host.folder / "state/provision"
    folder.mkdir(parents=True)
    record = {"version": 1, "pf": "0000:77:00.0", "numVfs": 0, "mtu": 1500, "vfAutoprobe": True}
    (folder / "0000:77:00.0.json").write_text(json.dumps(record))
    found = host.run("provision", "restore")
    assert found.returncode == 1
    assert "error: PF 0000:77:00.0: is not on this host" in found.stderr


def test_a_missing_policy_is_bad_usage(host: Host) -> None:
    assert host.run("provision", "apply").returncode == 2
    assert "cannot read it" in host.run("provision", "apply", "--policy", "/nowhere.yaml").stderr
