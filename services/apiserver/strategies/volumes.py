"""Words and rules that volumes and claims share."""

from __future__ import annotations

from collections.abc import Sequence

from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, forbidden

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")


def validate_access_modes(modes: Sequence[str], path: Path) -> list[Cause]:
    """One pod alone, and others beside it, cannot both be."""
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        return [forbidden(path, "may not use ReadWriteOncePod with other access modes")]
    return []
