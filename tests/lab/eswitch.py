"""The simulated e-switch from Python: load it, make an instance, turn its knobs, read its counters."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.lab import netns as namespaces

BUS = Path("/sys/bus/dpusim")
DEBUGFS = Path("/sys/kernel/debug/dpusim")
MODULE = Path("/lib/dpusim/dpusim.ko")


def load() -> None:
    """Load the module if it is not."""
    if not BUS.exists():
        subprocess.run(["insmod", MODULE], check=True)


def unload() -> None:
    """Take the module away, with all its instances."""
    subprocess.run(["rmmod", "dpusim"], check=True)


@dataclass(frozen=True, slots=True)
class Eswitch:
    """The knobs and counters of one instance. Knobs concern rules to come: flush the old ones to see an effect (see `Switch.flush`)."""

    index: int

    @property
    def _folder(self) -> Path:
        return DEBUGFS / f"dpusim{self.index}"

    def create(self, netns: str, vfs: int) -> None:
        """Make the instance in a namespace."""
        with namespaces.entered(netns):
            (BUS / "new_device").write_text(f"{self.index} {vfs}")

    def destroy(self) -> None:
        """Remove the instance."""
        (BUS / "del_device").write_text(str(self.index))

    def set_capacity(self, rules: int) -> None:
        """Let the table hold so many rules: the next one is "table full"."""
        (self._folder / "capacity").write_text(str(rules))

    def set_zones(self, zones: int) -> None:
        """Let so many conntrack zones be offloaded."""
        (self._folder / "zones").write_text(str(zones))

    def refuse(self, *words: str) -> None:
        """Refuse rules with these actions or matches (see `words`), and no others but the profile's."""
        (self._folder / "refuse").write_text(" ".join(words) + "\n")

    def set_profile(self, name: str) -> None:
        """Behave as ``permissive`` hardware or as ``mlx5``."""
        (self._folder / "profile").write_text(name)

    def accept(self, *, tunnels: bool = True, internal_ports: bool = True) -> None:
        """Take rules on Geneve and VXLAN devices, and on internal ports of Open vSwitch, or not."""
        (self._folder / "tunnels").write_text("Y" if tunnels else "N")
        (self._folder / "internal_ports").write_text("Y" if internal_ports else "N")

    def reset(self) -> None:
        """Turn all knobs back."""
        self.set_profile("permissive")
        self.refuse()
        self.accept()
        self.set_capacity(1_000_000)

    def rules(self) -> list[dict[str, str]]:
        """Return the rules that are in the table, each as the words that describe it."""
        lines = (self._folder / "rules").read_text().splitlines()
        return [dict(_pair(word, "=") for word in line.split()) for line in lines]

    def counts(self) -> dict[str, int]:
        """Return what was asked of the driver: rules, added, deleted, table_full, refused:WORD, ct_entries:ZONE."""
        pairs = (_pair(line, " ") for line in (self._folder / "counts").read_text().splitlines())
        return {name: int(value) for name, value in pairs}


def words() -> dict[str, str]:
    """Return each word that `Eswitch.refuse` takes, with what the driver then says."""
    return dict(_pair(line, ": ") for line in (DEBUGFS / "words").read_text().splitlines())


def _pair(text: str, separator: str) -> tuple[str, str]:
    name, _, value = text.partition(separator)
    return name, value


def reset_all(eswitches: Iterable[Eswitch]) -> None:
    """Turn all knobs of several back."""
    for eswitch in eswitches:
        eswitch.reset()
