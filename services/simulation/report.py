"""What a simulation found out: as numbers (for ``-o json``) and as text. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from knarr.machinery.forms import write_duration
from services.simulation.observer import Eviction, PodStory, Sample

Rows = list[tuple[str, ...]]


@dataclass(slots=True)
class Wait:
    """Pods of a workload that no node took for the same reason, ``most`` of them at once when it was looked.

    ``remedies`` are what would have made one fit when this was seen first.
    """

    workload: str
    words: str
    since: float
    until: float
    most: int
    remedies: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Ready:
    """How long pods of a workload took from their creation until they were ready, in seconds; ``never``: those that were not, and are
    still there."""

    workload: str
    pods: int
    never: int
    p50: float | None
    p99: float | None
    longest: float | None


@dataclass(frozen=True, slots=True)
class Evicted:
    """How many pods had to go for a reason, in the words of their condition DisruptionTarget."""

    workload: str
    reason: str
    pods: int
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Remainder:
    """What still waits at the end, and of each group how many more nodes would take the first ``judged`` of it; None: no number of them."""

    pods: int
    judged: int = 0
    nodes: dict[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NotMade:
    """Whose pods the API server refused to make, and why, the last time: a quota, a class of priority that is not there. ``owner`` as
    ``ReplicaSet web-5d78``."""

    owner: str
    words: str


@dataclass(frozen=True, slots=True)
class Report:
    seconds: float
    samples: Sequence[Sample]
    ready: Sequence[Ready]
    waits: Sequence[Wait]
    evictions: Sequence[Evicted]
    remainder: Remainder
    not_made: Sequence[NotMade] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def readiness(stories: Iterable[PodStory]) -> list[Ready]:
    """By workload, and of all together as the last one, named ``all``."""
    by_workload: dict[str, list[PodStory]] = {}
    for story in stories:
        by_workload.setdefault(story.workload, []).append(story)
    found = [_ready(name, by_workload[name]) for name in sorted(by_workload)]
    everything = [story for several in by_workload.values() for story in several]
    return [*found, _ready("all", everything)] if len(found) > 1 else found


def evicted(evictions: Iterable[Eviction]) -> list[Evicted]:
    counted: dict[tuple[str, str], list[float]] = {}
    for one in evictions:
        counted.setdefault((one.workload, one.reason), []).append(one.at)
    return [Evicted(*key, len(times), min(times), max(times)) for key, times in sorted(counted.items())]


def _ready(workload: str, stories: Sequence[PodStory]) -> Ready:
    took = sorted(story.ready - story.created for story in stories if story.ready is not None)
    never = sum(story.ready is None and story.ended is None for story in stories)
    return Ready(workload, len(stories), never, _rank(took, 0.5), _rank(took, 0.99), _rank(took, 1.0))


def _rank(sorted_values: Sequence[float], share: float) -> float | None:
    """The least of them that at least this share of them do not exceed."""
    if not sorted_values:
        return None
    return round(sorted_values[max(math.ceil(share * len(sorted_values)) - 1, 0)], 3)


def text(report: Report) -> Iterator[Rows | str]:
    """Tables, as rows whose first are the headings, and lines between them."""
    yield from _over_time(report.samples)
    if report.ready:
        yield ""
        rows: Rows = [("WORKLOAD", "PODS", "READY AFTER p50", "p99", "MOST", "NEVER")]
        rows += [(one.workload, str(one.pods), _time(one.p50), _time(one.p99), _time(one.longest), str(one.never)) for one in report.ready]
        yield rows
    if report.waits:
        yield ""
        yield "no node took"
        for wait in report.waits:
            yield f"  {wait.most} of {wait.workload}, {_time(wait.since)} to {_time(wait.until)}: {wait.words}"
            yield from (f"    remedy: {words}" for words in wait.remedies)
    if report.not_made:
        yield ""
        yield "no pods could be made for"
        yield from (f"  {one.owner}: {one.words}" for one in report.not_made)
    if report.evictions:
        yield ""
        rows = [("EVICTED", "PODS", "WHY", "FROM", "TO")]
        rows += [(one.workload, str(one.pods), one.reason, _time(one.first), _time(one.last)) for one in report.evictions]
        yield rows
    yield ""
    yield from _remaining(report.remainder)


def _over_time(samples: Sequence[Sample]) -> Iterator[Rows]:
    groups = sorted({name for sample in samples for name in sample.groups})
    heading = [part for name in groups for part in (f"{name.upper()}", "CPU", "MEMORY")]
    rows: Rows = [("TIME", "PENDING", "RUNNING", "LEAVING", "DONE", *heading)]
    for sample in samples:
        cells = [str(number) for number in (sample.pending, sample.running, sample.leaving, sample.done)]
        for name in groups:
            use = sample.groups[name]
            nodes = str(use.nodes) if use.ready == use.nodes else f"{use.ready}/{use.nodes}"
            cells += [nodes, f"{use.cpu:g}%", f"{use.memory:g}%"] if use.nodes else ["0", "-", "-"]
        rows.append((_time(sample.at), *cells))
    yield rows


def _remaining(remainder: Remainder) -> Iterator[str]:
    if not remainder.pods:
        yield "in the end no pod waits for a node"
        return
    yield f"in the end {remainder.pods} {'pod waits' if remainder.pods == 1 else 'pods wait'} for a node"
    which = "them all" if remainder.judged == remainder.pods else f"the first {remainder.judged}"
    for name, count in remainder.nodes.items():
        number = "no number of nodes" if count is None else f"{count} more node{'' if count == 1 else 's'}"
        yield f"  {number} like those of {name} would take {which}"


def _time(seconds: float | None) -> str:
    """``1m30s``; for a person, to a tenth of a second."""
    if seconds is None:
        return "-"
    tenths = round(seconds * 10) if seconds < 60 else round(seconds) * 10
    return write_duration(tenths * 10**8)
