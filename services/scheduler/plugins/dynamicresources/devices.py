"""Devices as the search sees them, and the pools that they are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any

from knarr.machinery import quantity
from knarr.machinery.device_attributes import qualified, value_of_attribute
from services.scheduler.plugins.dynamicresources.capacities import Capacity
from services.scheduler.plugins.dynamicresources.wishes import Alternative

PoolId = tuple[str, str]
DeviceId = tuple[str, str, str]
# Of a pool: the name of a set, and of a counter in it.
CounterId = tuple[str, str]
# Key, value and effect.
Taint = tuple[str, str, str]


class Unselectable(Exception):
    """A selector cannot be evaluated: the words of the event."""


@dataclass(eq=False)
class Device:
    """``message`` is what the driver wrote of it, ``slice`` where; read them only. Attributes and capacities are by full names."""

    id: DeviceId
    message: Any
    slice: Any
    counters: Mapping[CounterId, Decimal]
    taints: Sequence[Taint]
    # Whether it may be had several times, as long as there is capacity.
    shared: bool
    binds: bool
    _seen: Mapping[str, Any] | None = None
    _matches: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, found: Any, of_slice: Any, taints: Sequence[Taint]) -> Device:
        """``taints`` are those that rules add to its own."""
        counters = {
            (used.counter_set, name): quantity.parse(counter.value.string)
            for used in found.consumes_counters
            for name, counter in used.counters.items()
        }
        own = [(taint.key, taint.value, taint.effect) for taint in found.taints]
        return cls(
            id=(of_slice.spec.driver, of_slice.spec.pool.name, found.name),
            message=found,
            slice=of_slice,
            counters=counters,
            taints=(*own, *taints),
            shared=bool(found.allow_multiple_allocations),
            binds=bool(found.binding_conditions),
        )

    # Read when they are asked for: of many devices nobody asks.

    @cached_property
    def attributes(self) -> Mapping[str, tuple[str, Any]]:
        found = dict[str, tuple[str, Any]]()
        for name, attribute in _in_order(self.message.attributes):
            if (value := value_of_attribute(attribute)) is not None:
                found["/".join(qualified(name, self.id[0]))] = value
        return found

    @cached_property
    def capacity(self) -> Mapping[str, Capacity]:
        return {"/".join(qualified(name, self.id[0])): Capacity.of(name, one) for name, one in _in_order(self.message.capacity)}

    def suits(self, wanted: Alternative) -> bool:
        """Whether the selectors of a request and of its class are true of it. Raises Unselectable."""
        return all(self._is_true(source, f"class {wanted.device_class}", at) for at, source in enumerate(wanted.of_class)) and all(
            self._is_true(source, f"request {wanted.name}", at) for at, source in enumerate(wanted.own)
        )

    def _is_true(self, source: str, whose: str, at: int) -> bool:
        known = self._matches.get(source)
        if known is not None:
            return known
        # A cluster whose claims select nothing does without the language of selectors.
        from knarr.machinery.cel import devices as expressions
        from knarr.machinery.cel.errors import CostExceeded, EvaluationError, InvalidExpression

        try:
            if self._seen is None:
                self._seen = expressions.value_of(self.id[0], self.message)
            found = self._matches[source] = expressions.matches(source, self._seen)
        except InvalidExpression as error:
            raise Unselectable(f"{whose}: selector #{at}: CEL compile error: {error.message}") from None
        except (EvaluationError, CostExceeded) as error:
            raise Unselectable(f"{whose}: selector #{at} on device {'/'.join(self.id)}: CEL runtime error: {error}") from None
        return found


def _in_order(named: Mapping[str, Any]) -> Sequence[tuple[str, Any]]:
    """What is written with the driver's name goes before what is written without one."""
    return sorted(named.items(), key=lambda pair: "/" in pair[0])


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """A pool as a node sees it: ``devices`` are those that it reaches, in their order. Of one with ``trouble`` nothing is handed out.

    ``left``: of counters what the devices that are had leave.
    """

    id: PoolId
    devices: Sequence[Device] = ()
    trouble: str = ""
    left: Mapping[CounterId, Decimal] = field(default_factory=dict)
