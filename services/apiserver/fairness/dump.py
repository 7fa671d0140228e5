"""How priority and fairness stand at this moment, in the tables that Kubernetes serves for whoever looks into it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic

from services.apiserver.fairness.fairness import Waiter
from services.apiserver.fairness.level import GUESSED_SECONDS, Level
from services.apiserver.fairness.metrics import DISPATCHED, REJECTED

LEVELS = (
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
)
QUEUES = (
    "PriorityLevelName",
    "Index",
    "PendingRequests",
    "ExecutingRequests",
    "SeatsInUse",
    "NextDispatchR",
    "InitialSeatsSum",
    "MaxSeatsSum",
    "TotalWorkSum",
)
# With Kubernetes' slip of the pen: programs read it.
REQUESTS = (
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "FlowDistingsher",
    "ArriveTime",
    "InitialSeats",
    "FinalSeats",
    "AdditionalLatency",
    "StartTime",
)
DETAILS = ("UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource")
# Of what has not begun.
NEVER = "0001-01-01T00:00:00Z"
# A column is so wide at least, with a blank behind its longest word.
MIN_WIDTH = 8

Details = Callable[[object], Sequence[str]]


def dump_levels(levels: Sequence[Level]) -> str:
    """One line a level. What was let in and sent away is counted since this process began."""
    dispatched, sent = _by_level(DISPATCHED.values()), REJECTED.values()
    full, no_queue, late, cancelled = (_by_level(sent, reason) for reason in ("queue-full", "concurrency-limit", "time-out", "cancelled"))
    return _table(
        LEVELS,
        (
            (
                level.name,
                sum(1 for queue in level.queues.values() if queue.waiting) if level.shape.queues else 0,
                _word(not level.waiting and not level.executing),
                # Of a level that is gone nothing is left.
                _word(False),
                level.waiting,
                level.executing,
                dispatched.get(level.name, 0),
                full.get(level.name, 0) + no_queue.get(level.name, 0),
                late.get(level.name, 0),
                cancelled.get(level.name, 0),
            )
            for level in _in_order(levels)
        ),
    )


def dump_queues(levels: Sequence[Level]) -> str:
    """One line a queue, of those too that are empty."""
    return _table(QUEUES, (line for level in _in_order(levels) for line in _queues(level)))


def _queues(level: Level) -> Iterator[Sequence[object]]:
    for index in range(level.shape.queues):
        queue = level.queues.get(index)
        if queue is None:
            yield level.name, index, 0, 0, 0, _seconds(0.0), 0, 0, _seconds(0.0)
        else:
            work = _seconds(queue.width * GUESSED_SECONDS)
            yield (
                level.name,
                index,
                len(queue.waiting),
                queue.executing,
                queue.in_use,
                _seconds(queue.start),
                queue.width,
                queue.width,
                work,
            )


def dump_requests(levels: Sequence[Level], details: Details | None = None) -> str:
    """One line a request that waits, with what it asks for where ``details`` tells that of it."""
    began = time.time() - monotonic()
    return _table(
        (*REQUESTS, *DETAILS) if details is not None else REQUESTS,
        (line for level in _in_order(levels) for line in _requests(level, began, details)),
    )


def _requests(level: Level, began: float, details: Details | None) -> Iterator[Sequence[object]]:
    for index, queue in sorted(level.queues.items()):
        for place, waiter in enumerate(queue.waiting):
            assert isinstance(waiter, Waiter)
            flow = waiter.flow
            arrived = datetime.fromtimestamp(began + waiter.since_seconds, UTC).isoformat().replace("+00:00", "Z")
            line = (level.name, flow.schema.name, index, place, flow.distinguisher, arrived, waiter.width, 0, "0s", NEVER)
            yield (*line, *details(waiter.about)) if details is not None else line


def _in_order(levels: Sequence[Level]) -> list[Level]:
    return sorted(levels, key=lambda level: level.name)


def _by_level(counts: Mapping[tuple[str, ...], int], *reason: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for (_, level, *rest), count in counts.items():
        if tuple(rest) == reason:
            found[level] = found.get(level, 0) + count
    return found


def _word(value: bool) -> str:
    return "true" if value else "false"


def _seconds(value: float) -> str:
    """Seats times seconds."""
    return f"{value:.8f}ss"


def _table(header: Sequence[str], lines: Iterator[Sequence[object]]) -> str:
    rows = [header, *([str(value) for value in line] for line in lines)]
    widths = [max(MIN_WIDTH, *(len(row[at]) + 2 for row in rows)) for at in range(len(header) - 1)]
    return "".join("".join(f"{cell},".ljust(width) for cell, width in zip(row, widths, strict=False)) + f"{row[-1]}\n" for row in rows)
