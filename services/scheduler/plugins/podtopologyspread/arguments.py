"""What a profile may say of PodTopologySpread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, check_format, duplicate, forbidden, invalid, not_supported, qualified_name, required

SYSTEM, LIST = "System", "List"
_ACTIONS = ("DoNotSchedule", "ScheduleAnyway")


@dataclass(frozen=True, slots=True)
class PodTopologySpreadArgs:
    """``default_constraints`` are those of pods that have none, with ``defaulting_type`` List; System: Kubernetes' own."""

    default_constraints: tuple[core.TopologySpreadConstraint, ...] = ()
    defaulting_type: str = SYSTEM

    def problems(self, path: Path) -> Iterator[Cause]:
        kind = path.child("defaultingType")
        if self.defaulting_type not in (SYSTEM, LIST):
            yield not_supported(kind, self.defaulting_type, (SYSTEM, LIST))
        elif self.defaulting_type == SYSTEM and self.default_constraints:
            yield invalid(kind, SYSTEM, "when .defaultConstraints are not empty")
        path, seen = path.child("defaultConstraints"), set[tuple[str, str]]()
        for at, one in enumerate(self.default_constraints):
            yield from _of_constraint(one, path.index(at))
            pair = one.topology_key, one.when_unsatisfiable
            if pair in seen:
                yield duplicate(path.index(at), f"{{{one.topology_key}, {one.when_unsatisfiable}}}")
            seen.add(pair)


def _of_constraint(one: core.TopologySpreadConstraint, path: Path) -> Iterator[Cause]:
    if one.max_skew <= 0:
        yield invalid(path.child("maxSkew"), one.max_skew, "not in valid range (0, inf)")
    if not one.topology_key:
        yield required(path.child("topologyKey"), "can not be empty")
    else:
        yield from check_format(path.child("topologyKey"), one.topology_key, qualified_name)
    if not one.when_unsatisfiable:
        yield required(path.child("whenUnsatisfiable"), "can not be empty")
    elif one.when_unsatisfiable not in _ACTIONS:
        yield not_supported(path.child("whenUnsatisfiable"), one.when_unsatisfiable, _ACTIONS)
    if one.HasField("label_selector"):
        yield forbidden(path.child("labelSelector"), "constraint must not define a selector, as they deduced for each pod")
