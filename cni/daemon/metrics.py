"""Count what the daemon does, in Prometheus' words. Imported only where somebody asked for figures.

Names: ``dpukit_node_*``; times in seconds. Labels have few values by construction: a caller's text is never one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cni.daemon.calls import Finished
from cni.daemon.leftover import Leftover, Settled
from cni.request import Verb

_CALL_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)
_PHASE_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2, 10, 60)
_VERBS = frozenset(verb.value for verb in Verb)
_RECONCILER = "reconciler"


class Metrics:
    """The figures of one daemon.

    Args:
        registry: where they are told.
        gauges: by name below ``dpukit_node_``, what it says in one sentence, and what tells its value.
    """

    def __init__(self, registry: CollectorRegistry, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        self.registry = registry
        self._calls = Counter(
            "dpukit_node_calls", "CNI calls answered, by verb and error code (0: success).", ["verb", "code"],
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "dpukit_node_call_seconds", "How long calls took, their waiting included.", ["verb"],
            buckets=_CALL_BUCKETS, registry=registry,
        )  # fmt: skip
        self._phases = Histogram(
            "dpukit_node_phase_seconds", "How long the phases of calls took.", ["verb", "phase"],
            buckets=_PHASE_BUCKETS, registry=registry,
        )  # fmt: skip
        self._restored = Counter(
            "dpukit_node_restored_vfs", "VFs brought home, by the verb that did it, or the reconciler.", ["by"],
            registry=registry,
        )  # fmt: skip
        self._leftovers = Counter(
            "dpukit_node_leftovers", "Attachments nobody else would have undone, by why, and by what came of it.",
            ["why", "outcome"], registry=registry,
        )  # fmt: skip
        for name, (sentence, value) in gauges.items():
            Gauge(f"dpukit_node_{name}", sentence, registry=registry).set_function(value)
        self._start_at_nought()

    def count_call(self, finished: Finished) -> None:
        """Count one call."""
        verb = finished.verb if finished.verb in _VERBS else "other"
        self._calls.labels(verb, str(finished.code)).inc()
        self._seconds.labels(verb).observe(finished.seconds)
        for phase, seconds in finished.phases.items():
            self._phases.labels(verb, phase).observe(seconds)
        if finished.restored:
            self._restored.labels(verb).inc(finished.restored)

    def count_leftover(self, settled: Settled) -> None:
        """Count one leftover that was tried."""
        self._leftovers.labels(settled.leftover.value, "failed" if settled.error else "undone").inc()
        if settled.restored:
            self._restored.labels(_RECONCILER).inc(settled.restored)

    def _start_at_nought(self) -> None:
        # A rate needs to have seen the counter before its first event.
        for verb in (Verb.ADD, Verb.DEL):
            self._calls.labels(verb.value, "0")
        for by in (Verb.ADD.value, Verb.DEL.value, Verb.GC.value, _RECONCILER):
            self._restored.labels(by)
        for why in Leftover:
            for outcome in ("undone", "failed"):
                self._leftovers.labels(why.value, outcome)
