"""Answers of extenders, read as programs in Go would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.scheduler.extender import ExtenderFailed


def fields(answer: Any) -> Mapping[str, Any]:
    """By names in small letters: programs in Go do not mind how they are written, and others go by that."""
    if not isinstance(answer, dict):
        raise ExtenderFailed(f"an extender answered no object: {str(answer)[:100]}")
    return {str(name).lower(): value for name, value in answer.items()}
