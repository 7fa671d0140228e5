"""When a node protects itself, and how: signals, thresholds, pods and the time in, one action out. No I/O, no clock.

Specified by Kubernetes' node-pressure eviction. A threshold that is met lets the node's condition be true at once, and for the transition
period after; it is acted on when it has been met for its grace, until there is as much more as is to be reclaimed. What the node can give
up without its pods it gives up first; then one pod ends at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.kubelet.eviction.ranking import INODE_SIGNALS, MEMORY_SIGNALS, message, ranked
from services.kubelet.eviction.usage import Candidate, Observation
from services.kubelet.node.conditions import DISK_PRESSURE, MEMORY_PRESSURE, PID_PRESSURE
from services.kubelet.node.machine import Pressure
from services.kubelet.pod.critical import is_critical
from services.kubelet.thresholds import IMAGEFS, NODEFS, PIDS, RESOURCES, Threshold

# A hard threshold leaves a pod's containers the least time there is.
IMMEDIATE_SECONDS = 1.0
_DISKS = frozenset({NODEFS, IMAGEFS, *INODE_SIGNALS})
Signals = Mapping[str, Observation]


@dataclass(frozen=True, slots=True)
class Rules:
    """A node's thresholds; how long a condition stays true after its cause has gone; and how long the containers of a pod may take to end
    for a soft threshold, seconds."""

    thresholds: tuple[Threshold, ...] = ()
    transition: timedelta = timedelta(minutes=5)
    max_grace_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered from one look to the next: since when each threshold is met, which of them are acted on, and when a condition was
    last true by itself."""

    since: Mapping[Threshold, datetime] = field(default_factory=dict)
    acted_on: tuple[Threshold, ...] = ()
    pressed_at: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reclaim:
    """Give up what the node has for no pod that runs: dead containers, then images that nobody uses."""

    signal: str


@dataclass(frozen=True, slots=True)
class Evict:
    """End a pod, by uid."""

    uid: str
    message: str
    grace_seconds: float
    signal: str


@dataclass(frozen=True, slots=True)
class Decision:
    """``short`` is the threshold that is acted on; None: nothing is to be done. ``action`` may be None where nothing can be."""

    past: Past
    pressure: Pressure
    short: Threshold | None = None
    action: Reclaim | Evict | None = None


# Of a node that is short of nothing, and has not been lately.
CALM = Decision(Past(), Pressure())


def decide(
    rules: Rules, signals: Signals, pods: Sequence[Candidate], past: Past, now: datetime, *, apart: bool = False, reclaimed: bool = False
) -> Decision:
    """``apart``: images and containers lie on a disk of their own; ``reclaimed``: what the node itself could give up it has given up,
    and ``signals`` were read after that."""
    met = _merged(_met(rules.thresholds, signals), _met(past.acted_on, signals, reclaim=True))
    if not met and not past.pressed_at:
        return CALM
    # What lies ahead was noted by a clock that was set back since.
    since = {threshold: min(past.since.get(threshold, now), now) for threshold in met}
    pressed_at = {
        **{name: min(at, now) for name, at in past.pressed_at.items()},
        **{_condition(threshold.signal): now for threshold in met},
    }
    acted_on = tuple(threshold for threshold in met if now - since[threshold] >= threshold.grace)
    past = Past(since, acted_on, pressed_at)
    pressure = _pressure(pressed_at, rules.transition, now)
    short = min(acted_on, key=lambda threshold: threshold.signal not in MEMORY_SIGNALS, default=None)
    if short is None or (reclaimed and not _met(rules.thresholds, signals, reclaim=True)):
        return Decision(past, pressure)
    if not reclaimed and reclaims(short.signal, apart=apart):
        return Decision(past, pressure, short, Reclaim(short.signal))
    return Decision(past, pressure, short, _evict(rules, short, acted_on, signals, pods, apart=apart))


def reclaims(signal: str, *, apart: bool) -> bool:
    """Whether the node itself has something to give up for that signal."""
    return signal in _DISKS and not (apart and signal.startswith("nodefs"))


def _evict(
    rules: Rules, short: Threshold, acted_on: Iterable[Threshold], signals: Signals, pods: Iterable[Candidate], *, apart: bool
) -> Evict | None:
    """The first in order that may be ended. Its message names the first threshold of that resource."""
    chosen = next((candidate for candidate in ranked(pods, short.signal, apart=apart) if not is_critical(candidate.pod)), None)
    if chosen is None:
        return None
    told = next(threshold for threshold in acted_on if RESOURCES[threshold.signal] == RESOURCES[short.signal])
    grace = IMMEDIATE_SECONDS if short.hard else rules.max_grace_seconds
    return Evict(chosen.pod.metadata.uid, message(chosen, told, signals.get(told.signal)), grace, short.signal)


def _met(thresholds: Iterable[Threshold], signals: Signals, *, reclaim: bool = False) -> tuple[Threshold, ...]:
    """``reclaim``: also those beyond which less than the least to reclaim is available. Of what is not observed nothing is said."""
    found = []
    for threshold in thresholds:
        seen = signals.get(threshold.signal)
        if seen is None:
            continue
        least = threshold.amount.of(seen.capacity) + (threshold.reclaim.of(seen.capacity) if reclaim else 0)
        if seen.available < least:
            found.append(threshold)
    return tuple(found)


def _merged(one: tuple[Threshold, ...], other: tuple[Threshold, ...]) -> tuple[Threshold, ...]:
    return (*one, *(threshold for threshold in other if threshold not in one))


def _condition(signal: str) -> str:
    if signal in MEMORY_SIGNALS:
        return MEMORY_PRESSURE.type
    return PID_PRESSURE.type if signal == PIDS else DISK_PRESSURE.type


def _pressure(pressed_at: Mapping[str, datetime], transition: timedelta, now: datetime) -> Pressure:
    """What was true just now is true, however short the transition is: a node must not take pods that it would end."""
    true = {name for name, at in pressed_at.items() if at == now or now - at < transition}
    return Pressure(MEMORY_PRESSURE.type in true, DISK_PRESSURE.type in true, PID_PRESSURE.type in true)
