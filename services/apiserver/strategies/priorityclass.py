"""The strategy of PriorityClasses, and the two that every cluster has."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from knarr.api.scheduling.v1 import scheduling_pb2 as scheduling
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, check_choice, check_immutable, forbidden
from services.apiserver.strategies.paths import METADATA
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns

HIGHEST = 1_000_000_000
PREFIX = "system-"
SYSTEM: Final = {
    "system-node-critical": (
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    "system-cluster-critical": (
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
}
PREEMPTS = "PreemptLowerPriority"
POLICIES = ("Never", PREEMPTS)


class PriorityClassStrategy(Strategy):
    columns = columns("Name", "Value", "Global-Default", "Age", "PreemptionPolicy", integers=("Value",), booleans=("Global-Default",))
    # Written once, and never counted up.
    has_generation = True

    def default(self, obj: scheduling.PriorityClass) -> None:
        if not obj.HasField("preemption_policy"):
            obj.preemption_policy = PREEMPTS

    def prepare_for_update(self, new: scheduling.PriorityClass, old: scheduling.PriorityClass) -> None:
        new.metadata.generation = old.metadata.generation

    def validate_create(self, obj: scheduling.PriorityClass) -> list[Cause]:
        """What it says cannot be changed, so an update is judged by that alone."""
        causes: list[Cause] = []
        name = obj.metadata.name
        if name.startswith(PREFIX):
            error = _system_error(obj)
            if error:
                words = f"priority class names with '{PREFIX}' prefix are reserved for system use only. error: {error}"
                causes.append(forbidden(METADATA.child("name"), words))
        elif obj.value > HIGHEST:
            causes.append(forbidden(Path("value"), f"maximum allowed value of a user defined priority is {HIGHEST}"))
        return causes + check_choice(Path("preemptionPolicy"), obj.preemption_policy, POLICIES)

    def validate_update(self, new: scheduling.PriorityClass, old: scheduling.PriorityClass) -> list[Cause]:
        causes = [] if new.value == old.value else [forbidden(Path("value"), "may not be changed in an update.")]
        return causes + check_immutable(Path("preemptionPolicy"), new.preemption_policy, old.preemption_policy)

    def cells(self, obj: scheduling.PriorityClass, now: datetime) -> list[object]:
        return [obj.metadata.name, obj.value, obj.global_default, age(obj, now), obj.preemption_policy]


def _system_error(obj: scheduling.PriorityClass) -> str:
    """Why it is none of those that every cluster has; empty when it is."""
    name = obj.metadata.name
    if name not in SYSTEM:
        return f"{name} is not a known system priority class"
    value, _ = SYSTEM[name]
    if obj.value != value:
        return f"value of {name} PriorityClass must be {value}"
    return f"globalDefault of {name} PriorityClass must be false" if obj.global_default else ""


def system_classes() -> list[scheduling.PriorityClass]:
    """As Kubernetes makes them."""
    found = []
    for name, (value, description) in SYSTEM.items():
        made = scheduling.PriorityClass(value=value, description=description)
        made.metadata.name = name
        found.append(made)
    return found
