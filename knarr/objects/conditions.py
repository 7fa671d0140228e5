"""Conditions: read and set one by type, on any status that lists them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"


def get_condition(status: Any, condition_type: str) -> Any | None:
    """The condition of that type, or None. ``status`` is any message with ``conditions``."""
    return next((condition for condition in status.conditions if condition.type == condition_type), None)


def is_true(status: Any, condition_type: str) -> bool:
    """Whether the condition is there and ``True``."""
    condition = get_condition(status, condition_type)
    return condition is not None and bool(condition.status == TRUE)


def set_condition(status: Any, condition_type: str, value: str, *, reason: str = "", message: str = "", now: datetime) -> bool:
    """Sets a condition in place and says whether anything changed.

    ``lastTransitionTime`` moves only when ``value`` does. Time stamps of updates
    (``lastUpdateTime``), where the type has them, move with any change.
    """
    condition = get_condition(status, condition_type)
    if condition is None:
        condition = status.conditions.add(type=condition_type)
    elif (condition.status, condition.reason, condition.message) == (value, reason, message):
        return False
    seconds = int(now.timestamp())
    if condition.status != value:
        condition.last_transition_time.seconds = seconds
    if "last_update_time" in condition.DESCRIPTOR.fields_by_name:
        condition.last_update_time.seconds = seconds
    condition.status, condition.reason, condition.message = value, reason, message
    return True


def remove_condition(status: Any, condition_type: str) -> bool:
    """Removes a condition in place and says whether it was there."""
    condition = get_condition(status, condition_type)
    if condition is not None:
        status.conditions.remove(condition)
    return condition is not None
