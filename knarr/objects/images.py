"""References to images: `[registry/]repository[:tag][@digest]`. Pure."""

from __future__ import annotations

import re

_REFERENCE = re.compile(
    r"(?P<name>(?:(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]+)?)/)?"
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)"
    r"(?::[\w][\w.-]{0,127})?(?:@(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}))?",
    re.ASCII,
)
# Only an image's id looks so, which is no name: `sha256:` goes before it.
_BARE_ID = re.compile(r"[0-9a-f]{64}")

# Letters of a repository with its registry; tag and digest come on top of it.
LONGEST_NAME = 255


def valid_image(reference: str) -> bool:
    """Whether a reference can be parsed at all."""
    found = _REFERENCE.fullmatch(reference)
    return found is not None and len(found["name"]) <= LONGEST_NAME and not _BARE_ID.fullmatch(reference)


def with_tag(reference: str) -> str:
    """The reference with ``:latest`` where neither tag nor digest is given."""
    return reference if "@" in reference or ":" in reference.rpartition("/")[2] else f"{reference}:latest"


def full_name(reference: str) -> str:
    """With its registry, and with the tag that holds where it has none: by which two spellings of one name are the same."""
    named = with_tag(reference)
    registry = registry_of(named)
    rest = named.removeprefix(f"{registry}/")
    return f"{registry}/{rest if '/' in rest or registry != 'docker.io' else f'library/{rest}'}"


def registry_of(reference: str) -> str:
    """The registry a reference is pulled from: ``docker.io`` when it names none."""
    first, slash, _ = reference.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"
