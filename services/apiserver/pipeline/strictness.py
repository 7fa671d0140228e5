"""What is wrong with a patch beside what it does: keys that come twice, unknown members of operations, objects that cannot be read.

Kubernetes says all of it of a field ``patch``, with what was patched, and refuses by 422 what a whole object would be refused for by 400.
"""

from __future__ import annotations

from typing import Any

import orjson

from knarr.machinery import codec, diagnosis
from knarr.machinery.errors import Cause, StatusError, invalid
from knarr.machinery.patches.problems import go_value

OPERATION = ("op", "path", "from", "value")
# So much of what was patched is shown.
SHOWN_LETTERS = 1024


def strays_of(patch_type: str, text: bytes, parsed: Any) -> tuple[str, ...]:
    """``duplicate field "data.a"`` and what a JSON patch has besides its operations, which the parsed patch does not show any more."""
    found: list[str] = []
    if codec.may_repeat_keys(text, parsed):
        found += diagnosis.find_repeated(diagnosis.parse_keeping_duplicates(text))
    if patch_type == "json":
        for index, operation in enumerate(parsed):
            names = operation if isinstance(operation, dict) else {}
            found += [f'unknown field "[{index}].{name}"' for name in names if name not in OPERATION]
        found = [f"json patch {stray}" for stray in found]
    return tuple(found[: diagnosis.MAX_STRAYS])


def refused(patch_type: str, patch: Any, patched: Any, problem: str) -> StatusError:
    """422 for a patch after which there is no object any more, or not one of known fields."""
    shown = go_value(patch) if patch_type == "strategic" else orjson.dumps(patched).decode()
    if len(shown) > SHOWN_LETTERS:
        shown = shown[:SHOWN_LETTERS] + "…"
    quoted = orjson.dumps(shown).decode()
    return invalid("", "", [Cause("FieldValueInvalid", f"Invalid value: {quoted}: {problem}", "patch")])


def problem_of(error: StatusError) -> str:
    """What a decoding error says is wrong, without the kind that it says it of."""
    message = error.status.message
    return message.partition(" cannot be handled as a ")[2].partition(": ")[2] or message
