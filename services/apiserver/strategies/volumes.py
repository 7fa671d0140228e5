"""Words and rules that volumes of pods, volumes and claims share."""

from __future__ import annotations

from collections.abc import Sequence

from knarr.machinery.errors import Cause
from knarr.machinery.validation import CLIMBING, NOT_RELATIVE, RESERVED, Path, dns1123_subdomain, forbidden, invalid, required, too_long

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
MAX_DRIVER_NAME = 63


def validate_access_modes(modes: Sequence[str], path: Path) -> list[Cause]:
    """One pod alone, and others beside it, cannot both be."""
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        return [forbidden(path, "may not use ReadWriteOncePod with other access modes")]
    return []


def check_driver_name(name: str, path: Path) -> list[Cause]:
    causes = [] if name else [required(path)]
    if len(name) > MAX_DRIVER_NAME:
        causes.append(too_long(path, MAX_DRIVER_NAME))
    return causes + [invalid(path, name, sentence) for sentence in dns1123_subdomain(name.lower())]


def check_relative(value: str, path: Path, *, reserved: bool = False) -> list[Cause]:
    """A path below the volume; ``reserved``: names that start with two dots belong to the volume itself."""
    causes = [invalid(path, value, NOT_RELATIVE)] if value.startswith("/") else []
    if ".." in value.split("/"):
        causes.append(invalid(path, value, CLIMBING))
    elif reserved and value.startswith(".."):
        causes.append(invalid(path, value, RESERVED))
    return causes
