"""A mirror of docker.io that a node asks first, by another name for the same image. Pure.

An engine's own mirrors stand in its settings, which are the machine's and not this node's to change. So the engine is asked for the image
at the mirror, and what comes gets the name that was asked for. A pull that shows a login goes to its registry: who answers for the mirror
is not whom the login is for, and an image had from the mirror would say nothing about it. An image by digest goes there, too: the engine
gives such names itself.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from knarr.objects.images import full_name, registry_of

MIRRORED = "docker.io"


def mirrored(reference: str, mirror: str) -> str:
    """The name at a mirror, given by its URL, of an image of docker.io; empty where it is none, or has a digest."""
    if not mirror or "@" in reference or registry_of(reference) != MIRRORED:
        return ""
    return f"{place_of(mirror)}/{full_name(reference).removeprefix(f'{MIRRORED}/')}"


def place_of(mirror: str) -> str:
    """What of a mirror's URL stands before images' names: ``host``, ``host:port/path``."""
    parts = urlsplit(mirror)
    return f"{parts.netloc}{parts.path}".rstrip("/")


def split_tag(reference: str) -> tuple[str, str]:
    """A name with a tag, in its two parts."""
    repository, _, tag = reference.rpartition(":")
    return repository, tag
