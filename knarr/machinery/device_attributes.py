"""What a device says of itself: the names of its attributes and capacities, and the value of an attribute."""

from __future__ import annotations

from typing import Any


def value_of_attribute(attribute: Any) -> tuple[str, Any] | None:
    """The kind of value that a DeviceAttribute has, and the value; None of one that has none that is known."""
    return next(((kind, getattr(attribute, kind)) for kind in ("int", "bool", "string", "version") if attribute.HasField(kind)), None)


def qualified(name: str, driver: str) -> tuple[str, str]:
    """Domain and name. What is written without a domain is of the driver's."""
    domain, slash, short = name.partition("/")
    return (domain, short) if slash else (driver, name)
