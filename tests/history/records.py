"""What a run writes down: the operations of its clients, the watches they held, and what etcd itself says happened.

Every write brings a token of its own (``data["v"]``), so that a change tells which operation made it. Times are the event loop's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field

TOKEN = "v"
OK, REFUSED, UNKNOWN = "ok", "refused", "unknown"


@dataclass(frozen=True, slots=True)
class State:
    """An object as it was at ``revision``, that of its last change."""

    revision: int
    uid: str
    data: dict[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """What a key was at ``revision`` and from then on; None when it was deleted."""

    revision: int
    key: str
    state: State | None


@dataclass(slots=True)
class Operation:
    """One call. ``guard`` is the revision that an update replaces, ``uid`` the object that a deletion means.

    ``outcome`` is OK, REFUSED (it did not happen) or UNKNOWN. ``revision`` is what the answer names: of a write its own, of a list its own,
    of a get the object's. ``items`` is what a read found.
    """

    client: str
    server: int
    epoch: int
    kind: str
    key: str = ""
    token: str = ""
    guard: int = 0
    uid: str = ""
    data: dict[str, str] = field(default_factory=dict)
    any_age: bool = False
    start: float = 0.0
    end: float = 0.0
    outcome: str = UNKNOWN
    error: str = ""
    revision: int = 0
    items: dict[str, State] = field(default_factory=dict)

    def __str__(self) -> str:
        about = " ".join(
            f"{name}={value}" for name in ("key", "token", "guard", "uid", "revision", "error") if (value := getattr(self, name))
        )
        return f"[{self.start:.3f}–{self.end:.3f}] {self.client}@{self.server} epoch {self.epoch}: {self.kind} {about} → {self.outcome}"


@dataclass(frozen=True, slots=True)
class Seen:
    """An event of a watch."""

    type: str
    revision: int
    key: str
    state: State


@dataclass(slots=True)
class Segment:
    """One watch, from after ``begin`` until it ended. ``reached`` is the last revision that it told of, bookmarks included."""

    client: str
    server: int
    epoch: int
    begin: int
    events: list[Seen] = field(default_factory=list)
    reached: int = 0
    # Revisions that it named although it had named a later one.
    went_back: list[int] = field(default_factory=list)
    ended: str = ""

    def __str__(self) -> str:
        return f"{self.client}@{self.server} epoch {self.epoch}: watch after {self.begin} to {self.reached}, ended: {self.ended or 'no'}"


@dataclass(frozen=True, slots=True)
class Lead:
    """At ``revision`` the lease changed and ``holder`` has it, nobody if it is empty; or ``writer`` wrote because it leads."""

    revision: int
    holder: str | None = None
    writer: str | None = None


class Epoch:
    """What etcd says happened from one state on, until it was restored: every change, in order."""

    def __init__(self, revision: int, states: dict[str, State]) -> None:
        self.begin = self.reached = revision
        self.changes: list[Change] = []
        self.leads: list[Lead] = []
        self._timelines: dict[str, list[Change]] = defaultdict(list)
        for key, state in states.items():
            self._timelines[key].append(Change(state.revision, key, state))

    def append(self, change: Change) -> None:
        self.changes.append(change)
        self._timelines[change.key].append(change)

    def at(self, key: str, revision: int) -> State | None:
        timeline = self._timelines[key]
        index = bisect_right(timeline, revision, key=_revision)
        return timeline[index - 1].state if index else None

    def before(self, change: Change) -> State | None:
        return self.at(change.key, change.revision - 1)

    def between(self, key: str, low: int, high: int) -> list[State | None]:
        """All that the key was at ``low`` and later, up to ``high``."""
        timeline = self._timelines[key]
        first, last = bisect_right(timeline, low, key=_revision), bisect_right(timeline, max(low, high), key=_revision)
        return [self.at(key, low), *(change.state for change in timeline[first:last])]

    def whole(self, revision: int) -> dict[str, State]:
        return {key: state for key in list(self._timelines) if (state := self.at(key, revision)) is not None}

    def after(self, begin: int, reached: int) -> list[Change]:
        """The changes of the revisions after ``begin``, ``reached`` included."""
        return self.changes[bisect_right(self.changes, begin, key=_revision) : bisect_right(self.changes, reached, key=_revision)]


def _revision(change: Change) -> int:
    return change.revision


@dataclass(slots=True)
class History:
    """All of one run."""

    operations: list[Operation] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
