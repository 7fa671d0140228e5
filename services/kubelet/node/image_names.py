"""References to images: `[registry/]repository[:tag][@digest]`. Pure."""

from __future__ import annotations

import re

_REFERENCE = re.compile(
    r"^(?:(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]+)?)/)?"
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
    r"(?::[\w][\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*:[0-9a-fA-F]{32,})?$"
)


def valid_image(reference: str) -> bool:
    """Whether a reference can be parsed at all."""
    return bool(_REFERENCE.match(reference))


def with_tag(reference: str) -> str:
    """The reference with ``:latest`` where neither tag nor digest is given."""
    return reference if "@" in reference or ":" in reference.rpartition("/")[2] else f"{reference}:latest"


def registry_of(reference: str) -> str:
    """The registry a reference is pulled from: ``docker.io`` when it names none."""
    first, slash, _ = reference.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"
