"""The configuration of `dpukit-node`. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from cni.client import PATIENCE_S
from cni.pace import DEADLINE_S
from sriov.document import Faults, Section
from sriov.endpoint import Endpoint, parse_endpoint


@dataclass(frozen=True, slots=True)
class Config:
    """How much the daemon takes on, and what it tells."""

    workers: int = 32
    """Calls performed at the same time. The kernel's network lock lets one of them change something at a time."""
    queue: int = 256
    """Calls that may wait besides; beyond that a caller is told to try again later (code 11)."""
    deadline: int = int(DEADLINE_S)
    """Seconds a call may take, its waiting included, before it is given up and undone (code 11). Clients wait a little
    longer than the largest value."""
    look_every: int = 60
    """Seconds after which the records are looked through even though nothing has happened."""
    metrics: Endpoint | None = None
    """Where HTTP is answered: /metrics, /healthz and /readyz; None: nowhere."""

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
        default = cls()
        config = cls(
            workers=section.integer("workers", default.workers, minimum=1, maximum=256) or 0,
            queue=section.integer("queue", default.queue, minimum=0, maximum=65536) or 0,
            deadline=section.integer("deadline", default.deadline, minimum=1, maximum=PATIENCE_S - 10) or 0,
            look_every=section.integer("look_every", default.look_every, minimum=1, maximum=3600) or 0,
            metrics=section.parsed("metrics", parse_endpoint),
        )
        section.finish()
        faults.raise_if_any()
        return config
