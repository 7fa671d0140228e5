"""What of a device's capacity a request consumes: what it asks for, rounded up as the device says. Pure.

https://kubernetes.io/docs/concepts/resource-management/dynamic-resource-allocation/dra-features/#consumable-capacity
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

from knarr.machinery import quantity

Amounts = Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Capacity:
    """``name`` as the driver writes it. Without a ``default`` who asks for nothing takes all; ``least`` begins a range, ``values`` are
    ascending."""

    name: str
    value: Decimal
    default: Decimal | None = None
    values: tuple[Decimal, ...] = ()
    least: Decimal | None = None
    most: Decimal | None = None
    step: Decimal | None = None

    @classmethod
    def of(cls, name: str, found: Any) -> Capacity:
        """Of a ``resource.v1`` DeviceCapacity."""
        value = quantity.parse(found.value.string)
        if not found.HasField("request_policy"):
            return cls(name, value)
        policy = found.request_policy
        span = policy.valid_range if policy.HasField("valid_range") else None

        def read(owner: Any, field: str) -> Decimal | None:
            return quantity.parse(getattr(owner, field).string) if owner is not None and owner.HasField(field) else None

        values = tuple(quantity.parse(one.string) for one in policy.valid_values)
        least, most, step = (read(span, field) for field in ("min", "max", "step"))
        return cls(name, value, read(policy, "default"), values, least, most, step)

    def consumed(self, asked: Decimal | None) -> Decimal | None:
        """None where so much cannot be asked for."""
        if asked is None:
            return self.value if self.default is None else self.default
        if self.least is not None:
            found = self._on_steps(asked)
            return None if self.most is not None and found > self.most else found
        if self.values:
            return next((value for value in self.values if value >= asked), None)
        return asked

    def _on_steps(self, asked: Decimal) -> Decimal:
        assert self.least is not None
        if asked < self.least:
            return self.least
        if not self.step:
            return asked
        return self.least + ((asked - self.least) / self.step).to_integral_value(ROUND_CEILING) * self.step


def consumption(offered: Mapping[str, Capacity], asked: Amounts, driver: str) -> Amounts | None:
    """What a request takes of a device, by full names; None where the device lacks something, or does not give so much of it.

    ``offered`` is by full names, too; a name of ``asked`` without a domain is the driver's.
    """
    wanted = {name if "/" in name else f"{driver}/{name}": amount for name, amount in asked.items()}
    if len(wanted) < len(asked) or not wanted.keys() <= offered.keys():
        return None
    found: dict[str, Decimal] = {}
    for name, capacity in offered.items():
        taken = capacity.consumed(wanted.get(name))
        if taken is None or not 0 <= taken <= capacity.value:
            return None
        found[name] = taken
    return found
