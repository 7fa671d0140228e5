"""Which images a pattern of a registry means, as Kubernetes' credential providers have it. Pure.

A pattern is a host, with a port or without, and perhaps a path. ``*`` stands for whatever is between two dots of the host, and for parts of
it; nowhere else. Hosts have as many parts as the pattern; the path is how the image's begins.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

from knarr.objects.images import full_name


class Place(NamedTuple):
    host: str
    port: str
    path: str


def place_of(text: str) -> Place:
    """Of a pattern, or of an image's repository. Raises ValueError for a pattern with a scheme, or with a glob where none may be."""
    if "://" in text:
        raise ValueError(f"{text!r} must not have a scheme")
    host, _, path = text.partition("/")
    name, _, port = host.partition(":")
    if not name or "*" in port or "*" in path or (port and not port.isdigit()):
        raise ValueError(f"{text!r} is no host with globs between its dots, like *.registry.io, with a port or path that have none")
    return Place(name, port, f"/{path}".rstrip("/"))


def matches(pattern: str, repository: str) -> bool:
    """Raises ValueError where the pattern is none."""
    wanted = place_of(pattern)
    host, _, path = repository.partition("/")
    name, _, port = host.partition(":")
    parts, found = wanted.host.split("."), name.split(".")
    if wanted.port != port or len(parts) != len(found):
        return False
    if not all(fnmatchcase(part, wish) for wish, part in zip(parts, found, strict=True)):
        return False
    return f"/{path}".startswith(wanted.path)


def repository_of(reference: str) -> str:
    """The image without tag and digest, with its registry: ``docker.io/library/busybox``."""
    head, slash, last = full_name(reference).partition("@")[0].rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"
