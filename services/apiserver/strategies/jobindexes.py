"""Sets of completion indexes as a Job names them, ``1,3-5,7``, held against the rules of that form. Pure."""

from __future__ import annotations

Interval = tuple[int, int]


class Malformed(ValueError):
    """What is wrong with a text of indexes, in Kubernetes' words."""


def parse_indexes(text: str, completions: int) -> list[Interval]:
    """The intervals of a text, both ends included; raises Malformed for the first that is none, or not after those before it."""
    found: list[Interval] = []
    for part in text.split(",") if text else ():
        first, last = _interval(part, completions)
        if found and found[-1][1] >= first:
            raise Malformed(_order(found[-1][1], first))
        found.append((first, last))
    return found


def count(intervals: list[Interval]) -> int:
    return sum(last - first + 1 for first, last in intervals)


def first_common(some: list[Interval], others: list[Interval]) -> int | None:
    """The lowest index that is in both, each in order; None where there is none."""
    here = there = 0
    while here < len(some) and there < len(others):
        low, high = max(some[here][0], others[there][0]), min(some[here][1], others[there][1])
        if low <= high:
            return low
        if some[here][1] < others[there][1]:
            here += 1
        else:
            there += 1
    return None


def _interval(text: str, completions: int) -> Interval:
    parts = text.split("-")
    if len(parts) > 2:
        words = f'the fragment "{text}" violates the requirement that an index interval can have at most two parts'
        raise Malformed(f"{words} separated by '-'")
    ends = [_index(part, completions) for part in parts]
    if len(ends) == 2 and ends[0] >= ends[1]:
        raise Malformed(_order(*ends))
    return ends[0], ends[-1]


def _index(text: str, completions: int) -> int:
    # Digits alone, and no more of them than any index has: nobody's text is read at length.
    if not (text.isascii() and text.isdecimal()):
        raise Malformed(f'cannot convert string to integer for index: "{text}"')
    if len(text.lstrip("0")) > len(str(completions)) or int(text) >= completions:
        raise Malformed(f'too large index: "{text}"')
    return int(text)


def _order(previous: int, current: int) -> str:
    return f"non-increasing order, previous: {previous}, current: {current}"
