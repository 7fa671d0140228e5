"""What befalls simulated nodes, and when: a file of kind HollowFaults. Pure.

Times are counted from the moment at which all nodes were ready. A fault without ``for`` stays; of several that say something about the
same, the one that stands last in the file goes before the others. docs/scale.md has an example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

from knarr.machinery import quantity
from knarr.service.configuration_file import document_of, read_configuration, refuse_others, seconds_of
from services.kubelet.runtime.hollow import HollowSettings

API_VERSION, KIND = "knarr.dev/v1", "HollowFaults"
# Fields of HollowSettings and of Condition, by what files call them.
DELAYS = {"startDelay": "start_seconds", "stopDelay": "stop_seconds", "pullDelay": "pull_seconds"}
SWITCHES = {"down": "down", "cutOff": "cut_off"}
EFFECTS = (*SWITCHES, *DELAYS, "missingImages", "usage")
# Numbers of nodes have no more digits.
MOST_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Condition:
    """How a node is now. ``down``: the machine is off. ``cut_off``: it runs on, and the API server is not reached."""

    down: bool = False
    cut_off: bool = False
    runtime: HollowSettings = HollowSettings()  # noqa: RUF009  frozen
    missing_images: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Fault:
    """From ``begin`` to ``end`` (seconds), on the nodes of these numbers (inclusive ranges; none: all)."""

    begin: float
    end: float
    nodes: tuple[tuple[int, int], ...]
    change: Callable[[Condition], Condition]

    def concerns(self, number: int) -> bool:
        return not self.nodes or any(first <= number <= last for first, last in self.nodes)


@dataclass(frozen=True, slots=True)
class HollowFaults:
    """All of a file, in its order."""

    faults: Sequence[Fault] = ()

    @property
    def moments(self) -> list[float]:
        """When something begins or ends, in seconds, in order."""
        return sorted({at for fault in self.faults for at in (fault.begin, fault.end) if at < inf})

    def condition(self, number: int, seconds: float, before: Condition) -> Condition:
        """Of one node at a time, where it is ``before`` without any fault."""
        for fault in self.faults:
            if fault.begin <= seconds < fault.end and fault.concerns(number):
                before = fault.change(before)
        return before


def read_faults(file: Path) -> HollowFaults:
    """Raises CommandError with the file and the field that is wrong."""
    return read_configuration(file, KIND, parse_faults)


def parse_faults(text: bytes) -> HollowFaults:
    """Raises ValueError with the field that is wrong."""
    document = document_of(text, API_VERSION, KIND)
    refuse_others(document, "", "apiVersion", "kind", "metadata", "faults")
    found = document.get("faults")
    if not isinstance(found, list) or not found:
        raise ValueError("faults: Required value: a list of at least one")
    return HollowFaults(tuple(_fault(item, f"faults[{at}]") for at, item in enumerate(found)))


def _fault(item: Any, path: str) -> Fault:
    refuse_others(item, path, "at", "for", "nodes", *EFFECTS)
    begin = _seconds(item.get("at", "0"), f"{path}.at")
    lasts = _seconds(item["for"], f"{path}.for") if "for" in item else inf
    if lasts == 0:
        raise ValueError(f"{path}.for: Invalid value: it must be longer than 0, or left out for a fault that stays")
    changes = [_change(name, item[name], f"{path}.{name}") for name in EFFECTS if name in item]
    if not changes:
        raise ValueError(f"{path}: Required value: one of {', '.join(EFFECTS)}")

    def change(condition: Condition) -> Condition:
        for one in changes:
            condition = one(condition)
        return condition

    return Fault(begin, begin + lasts, _nodes(item["nodes"], f"{path}.nodes") if "nodes" in item else (), change)


def _change(name: str, value: Any, path: str) -> Callable[[Condition], Condition]:
    if name in SWITCHES:
        if not isinstance(value, bool):
            raise ValueError(f"{path}: Invalid value: {value!r}: must be true or false")
        switched: dict[str, Any] = {SWITCHES[name]: value}
        return lambda condition: replace(condition, **switched)
    if name in DELAYS:
        delayed: dict[str, Any] = {DELAYS[name]: _seconds(value, path)}
        return lambda condition: replace(condition, runtime=replace(condition.runtime, **delayed))
    if name == "missingImages":
        if not isinstance(value, list) or not all(isinstance(image, str) and image for image in value):
            raise ValueError(f"{path}: Invalid value: must be a list of images, as pods name them")
        return lambda condition: replace(condition, missing_images=frozenset(value))
    return _usage(value, path)


def _usage(value: Any, path: str) -> Callable[[Condition], Condition]:
    refuse_others(value, path, "cpu", "memory")
    told: dict[str, int] = {}
    for name, field, read in (("cpu", "cpu_milli", quantity.milli), ("memory", "memory_bytes", quantity.value)):
        if name in value:
            try:
                told[field] = read(str(value[name]))
            except ValueError as error:
                raise ValueError(f"{path}.{name}: Invalid value: {value[name]!r}: {error}") from error
            if told[field] < 0:
                raise ValueError(f"{path}.{name}: Invalid value: {value[name]!r}: must be greater than or equal to 0")
    if not told:
        raise ValueError(f"{path}: Required value: cpu, memory or both, of each container")
    return lambda condition: replace(condition, runtime=replace(condition.runtime, **told))


def _seconds(value: Any, path: str) -> float:
    seconds = seconds_of(value, path)
    if seconds < 0:
        raise ValueError(f"{path}: Invalid value: {value!r}: must be greater than or equal to 0")
    return seconds


def _nodes(value: Any, path: str) -> tuple[tuple[int, int], ...]:
    """``7``, or ``"10-20,33"``: the numbers in the nodes' names."""
    found = []
    for part in str(value).split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdecimal() and len(end) <= MOST_DIGITS for end in ends) or int(ends[0]) > int(ends[1]):
            raise ValueError(f"{path}: Invalid value: {value!r}: must be numbers of nodes, like 10-20,33")
        found.append((int(ends[0]), int(ends[1])))
    return tuple(found)
