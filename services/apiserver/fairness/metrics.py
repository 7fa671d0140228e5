"""What is counted of priority and fairness, by Kubernetes' names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from knarr.service.tally import Count, Counts, Timing, Timings

_SECONDS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)
_LABELS = ("flow_schema", "priority_level")

DISPATCHED = Counts("apiserver_flowcontrol_dispatched_requests_total", "Requests that were let in", _LABELS)
REJECTED = Counts("apiserver_flowcontrol_rejected_requests_total", "Requests that were sent away", (*_LABELS, "reason"))
WAITED = Timings(
    "apiserver_flowcontrol_request_wait_duration_seconds", "Time that a request waited in its queue", (*_LABELS, "execute"), _SECONDS
)


@dataclass(frozen=True, slots=True)
class FlowCounts:
    """Those of a schema and its level, looked up once."""

    dispatched: Count
    waited: Timing
    gave_up: Timing
    names: tuple[str, str]

    def rejected(self, reason: str) -> None:
        REJECTED.of(*self.names, reason).inc()


def counts_of(schema: str, level: str) -> FlowCounts:
    names = schema, level
    return FlowCounts(DISPATCHED.of(*names), WAITED.of(*names, "true"), WAITED.of(*names, "false"), names)


class LevelGauges(Collector):
    """How the levels of the newest server in this process stand."""

    def __init__(self) -> None:
        self.levels: Callable[[], Iterable[Any]] = tuple
        REGISTRY.register(self)

    def collect(self) -> Iterable[Metric]:
        levels = list(self.levels())
        for name, text, value in (
            ("current_inqueue_requests", "Requests that wait", lambda level: level.waiting),
            ("current_inqueue_seats", "Seats that those will take", lambda level: level.waiting_width),
            ("current_executing_requests", "Requests that were let in and have not ended", lambda level: level.executing),
            ("current_executing_seats", "Seats that those take", lambda level: level.in_use),
            ("nominal_limit_seats", "Seats of a level", lambda level: level.seats),
            ("lower_limit_seats", "Seats of a level that nobody borrows", lambda level: level.guaranteed),
        ):
            family = GaugeMetricFamily(f"apiserver_flowcontrol_{name}", text, labels=["priority_level"])
            for level in levels:
                family.add_metric([level.name], value(level))
            yield family


GAUGES = LevelGauges()
