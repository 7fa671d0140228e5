"""What ConfigMaps and Secrets have in common: a size limit, and ``immutable``, which is for ever."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, forbidden

DATA_LIMIT_BYTES = 1024 * 1024
FROZEN = "field is immutable when `immutable` is set"


def validate_frozen(new: Any, old: Any, fields: Iterable[str]) -> list[Cause]:
    """Once an object is immutable neither that nor its data can change."""
    if not old.immutable:
        return []
    causes = [] if new.immutable else [forbidden(Path("immutable"), FROZEN)]
    names = new.DESCRIPTOR.fields_by_name
    return causes + [forbidden(Path(names[field].json_name), FROZEN) for field in fields if getattr(new, field) != getattr(old, field)]
