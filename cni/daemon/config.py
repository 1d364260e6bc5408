"""The configuration of `dpukit-node`. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from sriov.document import Faults, Section


@dataclass(frozen=True, slots=True)
class Config:
    """How much the daemon takes on at once."""

    workers: int = 32
    """Calls performed at the same time. The kernel's network lock lets one of them change something at a time."""
    queue: int = 256
    """Calls that may wait besides; beyond that a caller is told to try again later (code 11)."""

    @classmethod
    def parse(cls, document: object, *, source: str) -> Config:
        """Read a configuration document; an empty one is all defaults.

        Args:
            document: the decoded YAML.
            source: its name, for errors.

        Raises:
            InputError: keys are unknown, or values of the wrong type or out of range; all are named.
        """
        faults = Faults()
        section = Section({} if document is None else document, path=f"{source}:", faults=faults)
        config = cls(
            workers=section.integer("workers", cls().workers, minimum=1, maximum=256) or 0,
            queue=section.integer("queue", cls().queue, minimum=0, maximum=65536) or 0,
        )
        section.finish()
        faults.raise_if_any()
        return config
