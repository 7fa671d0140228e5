"""Conditions: read and set one by type, on any status that lists them."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor

from knarr.machinery import codec
from knarr.machinery.times import to_time

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"


def get_condition(status: Any, condition_type: str) -> Any | None:
    """The condition of that type, or None. ``status`` is any message with ``conditions``."""
    for condition in status.conditions:
        if condition.type == condition_type:
            return condition
    return None


def condition_status(status: Any, condition_type: str) -> str:
    """``True``, ``False`` or ``Unknown`` as the condition says; empty when it is not there."""
    condition = get_condition(status, condition_type)
    return "" if condition is None else str(condition.status)


def is_true(status: Any, condition_type: str) -> bool:
    """Whether the condition is there and ``True``."""
    return condition_status(status, condition_type) == TRUE


def set_condition(
    status: Any,
    condition_type: str,
    value: str | bool,
    *,
    reason: str = "",
    message: str = "",
    now: datetime,
    before: Any = None,
    message_counts: bool = True,
    renew: bool = False,
    generation: int = 0,
) -> bool:
    """Sets a condition in place, where it stands, and says whether it changed.

    One with the same status, reason and message stays as it is. ``lastTransitionTime`` moves only
    with the status; ``lastUpdateTime``, where the type has it, with any change.

    ``before``: the status in which the condition stood so far, when ``status`` is made from nothing and has none of the type yet.
    ``message_counts``: False: another message alone is no change, for those that name one pod of many.
    ``renew``: ``lastUpdateTime`` moves even when nothing else does.
    ``generation``: of the object that the condition speaks of, if its type has an ``observedGeneration``; it is part of what is said.
    """
    text = value if isinstance(value, str) else TRUE if value else FALSE
    old = get_condition(status if before is None else before, condition_type)
    same = old is not None and (old.status, old.reason) == (text, reason) and (not message_counts or old.message == message)
    same = same and (old is None or not generation or old.observed_generation == generation)
    if same and before is None and not renew:
        return False
    stands = old is not None and old.status == text and old.HasField("last_transition_time")
    since = old.last_transition_time if old is not None and stands else to_time(now)
    if old is None or before is not None:
        condition = status.conditions.add(type=condition_type, status=text, reason=reason, message=message)
    else:
        condition = old
        condition.status, condition.reason, condition.message = text, reason, message
    condition.last_transition_time.CopyFrom(since)
    if generation:
        condition.observed_generation = generation
    if _tells_updates(condition.DESCRIPTOR):
        condition.last_update_time.CopyFrom(to_time(now))
    return not same


@cache
def _tells_updates(condition: Descriptor) -> bool:
    return "last_update_time" in condition.fields_by_name


def condition_patch(
    status: Any, condition_type: str, value: str | bool, *, reason: str = "", message: str = "", now: datetime, generation: int = 0
) -> dict[str, Any] | None:
    """The strategic merge patch that sets a condition of an object's ``status``; None when it stands like that already."""
    said = type(status)(conditions=status.conditions)
    if not set_condition(said, condition_type, value, reason=reason, message=message, now=now, generation=generation):
        return None
    condition: Any = get_condition(said, condition_type)
    # Empty words are said too: a patch that leaves them out keeps what was there.
    return {"status": {"conditions": [{**codec.to_dict(condition), "reason": reason, "message": message}]}}


def remove_condition(status: Any, condition_type: str) -> bool:
    """Removes a condition in place and says whether it was there."""
    condition = get_condition(status, condition_type)
    if condition is not None:
        status.conditions.remove(condition)
    return condition is not None
