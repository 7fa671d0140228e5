"""Whether a history is one that an API server may have: what is wrong with it, in words.

etcd's revisions give the order of all writes, so that linearizability needs no search: an answer names its place, and the place must lie
within the call.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from tests.history.records import OK, REFUSED, TOKEN, Change, Epoch, History, Operation, State

WRITES = ("create", "update", "patch", "json patch", "apply", "count")


def violations(history: History) -> list[str]:
    """Empty when all is well."""
    return [
        f"epoch {number}: {found}"
        for number, epoch in enumerate(history.epochs)
        for found in EpochCheck(history, number, epoch).violations()
    ]


class EpochCheck:
    """The operations and watches of one epoch against its changes."""

    def __init__(self, history: History, number: int, epoch: Epoch) -> None:
        self._epoch, self._earlier = epoch, history.epochs[:number]
        self._operations = [operation for operation in history.operations if operation.epoch == number]
        self._segments = [segment for segment in history.segments if segment.epoch == number]
        self._by_token = {operation.token: operation for operation in self._operations if operation.kind in WRITES}
        self._deletions: dict[str, list[Operation]] = {}
        for operation in self._operations:
            if operation.kind == "delete":
                self._deletions.setdefault(operation.uid, []).append(operation)
        self._at = {change.revision: change for change in epoch.changes}

    def violations(self) -> Iterator[str]:
        yield from self._changes_have_one_cause()
        yield from self._answers_are_true()
        yield from self._order_is_that_of_time()
        yield from self._watches_are_exact()
        yield from self._only_the_leader_writes()

    def _changes_have_one_cause(self) -> Iterator[str]:
        """Every change is what one operation makes of what was there, which was not told that it did not happen; none is made twice."""
        made: dict[str, int] = {}
        for change in self._epoch.changes:
            before = self._epoch.before(change)
            if change.state is None:
                yield from self._deletion(change, before)
                continue
            token = change.state.data[TOKEN]
            operation = self._by_token.get(token)
            if operation is None or operation.key != change.key:
                yield f"nobody made the change at {change.revision} of {change.key}: {change.state}"
                continue
            if token in made:
                yield f"carried out twice, at {made[token]} and {change.revision}: {operation}"
            made[token] = change.revision
            if operation.outcome == REFUSED:
                yield f"refused, but stored at {change.revision}: {operation}"
            if (wrong := _not_made(operation, before, change.state)) is not None:
                yield f"at {change.revision} {wrong}: {operation}; before: {before}; after: {change.state}"

    def _deletion(self, change: Change, before: State | None) -> Iterator[str]:
        uid = before.uid if before is not None else ""
        meant = [operation for operation in self._deletions.get(uid, ()) if operation.outcome != REFUSED]
        if not meant:
            yield f"nobody deleted {change.key} ({uid}) at {change.revision}"

    def _answers_are_true(self) -> Iterator[str]:
        for operation in self._operations:
            if operation.outcome != OK:
                continue
            if operation.kind in WRITES:
                change = self._at.get(operation.revision)
                if change is None or change.state is None or change.state.data.get(TOKEN) != operation.token:
                    yield f"answered, but what lies at its revision is {change}: {operation}"
        for uid, operations in self._deletions.items():
            answered = [operation for operation in operations if operation.outcome == OK]
            gone = [change for change in self._epoch.changes if change.state is None and (b := self._epoch.before(change)) and b.uid == uid]
            if len(answered) > 1 or (answered and not gone):
                yield f"deleted {len(gone)} times, answered: {'; '.join(map(str, answered))}"

    def _order_is_that_of_time(self) -> Iterator[str]:
        """What was answered before a call began, the call knows; what began after it ended, it does not know."""
        answered = sorted(
            (end, revision) for operation in self._operations if (end := operation.end) and (revision := self._witnessed(operation))
        )
        ends = [end for end, _ in answered]
        newest = [0, *accumulate((revision for _, revision in answered), max)]
        made = sorted(
            (self._by_token[token].start, change.revision)
            for change in self._epoch.changes
            if change.state is not None and (token := change.state.data[TOKEN]) in self._by_token
        )
        starts = [start for start, _ in made]
        oldest = [*accumulate((revision for _, revision in reversed(made)), min)][::-1]
        for operation in self._operations:
            if operation.outcome != OK:
                continue
            low = max(newest[bisect_left(ends, operation.start)], self._epoch.begin)
            later = bisect_left(starts, operation.end)
            high = oldest[later] - 1 if later < len(oldest) else self._epoch.reached
            yield from self._placed(operation, low, high)

    def _witnessed(self, operation: Operation) -> int:
        """The revision that whoever asks after this answer must know of."""
        return operation.revision if operation.outcome == OK and not operation.any_age else 0

    def _placed(self, operation: Operation, low: int, high: int) -> Iterator[str]:
        if operation.kind in WRITES and operation.revision <= low:
            yield f"written before revision {low}, which was answered before it began: {operation}"
        if operation.kind == "get":
            found, low = operation.items.get(operation.key), self._epoch.begin if operation.any_age else low
            # Any age may be of before the restore too.
            before = (
                [state for epoch in self._earlier for state in epoch.between(operation.key, 0, epoch.reached)] if operation.any_age else []
            )
            if found not in self._epoch.between(operation.key, low, high) and found not in before:
                yield f"got {found}, which it was at no revision from {low} to {high}: {operation}"
        if operation.kind == "list":
            if not operation.any_age and operation.revision < low:
                yield f"listed at a revision before {low}: {operation}"
            if operation.items != (whole := self._epoch.whole(operation.revision)):
                yield f"listed {_difference(operation.items, whole)}: {operation}"

    def _watches_are_exact(self) -> Iterator[str]:
        for segment in self._segments:
            if segment.went_back:
                yield f"went back to {segment.went_back}: {segment}"
            wanted = self._epoch.after(segment.begin, segment.reached)
            for position, seen in enumerate(segment.events):
                if position >= len(wanted):
                    yield f"an event too many, {seen}: {segment}"
                    break
                change = wanted[position]
                before = self._epoch.before(change)
                kind = "DELETED" if change.state is None else "ADDED" if before is None else "MODIFIED"
                shown = change.state or before
                same = shown is not None and (seen.state.uid, seen.state.data) == (shown.uid, shown.data)
                if (seen.type, seen.revision, seen.key) != (kind, change.revision, change.key) or not same:
                    yield f"saw {seen} where {kind} {change} was: {segment}"
                    break
            else:
                if len(wanted) > len(segment.events):
                    yield f"missed {wanted[len(segment.events)]}: {segment}"

    def _only_the_leader_writes(self) -> Iterator[str]:
        """Who wrote had the lease then; nothing is known of it before it was renewed once."""
        holder: str | None = None
        for lead in self._epoch.leads:
            if lead.writer is None:
                holder = lead.holder
            elif holder is not None and lead.writer != holder:
                yield f"{lead.writer} wrote at {lead.revision} while {holder or 'nobody'} led"


def _not_made(operation: Operation, before: State | None, after: State) -> str | None:
    """What is wrong with ``after`` as what the operation makes of ``before``; None when nothing is."""
    if operation.kind == "create":
        if before is not None:
            return "created what was there"
        return None if after.data == operation.data else "created otherwise than asked"
    if before is None and operation.kind == "apply":
        return None if after.data == operation.data else "made otherwise than asked"
    if before is None:
        return "came back after it was deleted"
    if before.uid != after.uid:
        return "became another object without a deletion"
    if operation.guard and before.revision != operation.guard:
        return f"replaced revision {before.revision}, but its guard was {operation.guard}"
    if operation.kind == "json patch":
        wanted = {**before.data, "old": before.data[TOKEN], **operation.data}
    elif operation.kind in ("patch", "apply"):
        wanted = {**before.data, **operation.data}
    else:
        wanted = operation.data
    return None if after.data == wanted else f"lost something: wanted {wanted}"


def _difference(found: dict[str, State], wanted: dict[str, State]) -> str:
    return "; ".join(
        f"{key} as {found.get(key)} instead of {wanted.get(key)}" for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key)
    )
