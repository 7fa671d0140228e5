"""What one object or patch may cost before it is looked at closely: depth and number of values.

Bytes are bounded where they are read. The numbers are far beyond what clients send and far below what makes work slow.
"""

from __future__ import annotations

from typing import Any

from knarr.machinery.errors import StatusError, bad_request, status_error

# Objects and lists within one another. Protobuf nests no deeper than 100 messages, and whatever is accepted has to be read again.
MAX_DEPTH = 100
# Keys and elements of one body, counted through all levels: what protobuf copies or parses in one go, holding the interpreter, stays below
# 50 ms.
MAX_VALUES = 50_000


def check(value: Any, text: bytes | None = None) -> None:
    """Raises BadRequest for a JSON value that is nested too deeply, RequestEntityTooLarge for one of too many parts.

    ``text`` is what it was parsed from, if it is at hand: mostly it shows that there is nothing to count.
    """
    if text is not None and text.count(b"[") + text.count(b"{") <= MAX_DEPTH and text.count(b",") < MAX_VALUES - MAX_DEPTH:
        return
    values, level, depth = 0, [value], 0
    while level:
        containers = [item for item in level if type(item) is list or isinstance(item, dict)]
        if containers and depth >= MAX_DEPTH:
            raise bad_request(f"exceeded max depth: objects and lists may be nested {MAX_DEPTH} deep")
        values += sum(map(len, containers))
        if values > MAX_VALUES:
            raise too_many_values()
        level = [item for part in containers for item in (part.values() if isinstance(part, dict) else part)]
        depth += 1


def too_many_values() -> StatusError:
    return status_error("RequestEntityTooLarge", f"the object has too many fields and elements: the limit is {MAX_VALUES}")
