"""A mirror of docker.io that a node asks first, by another name for the same image.

An engine's own mirrors stand in its settings, which are the machine's and not this node's to change. So the engine is asked for the image
at the mirror, and what comes gets the name that was asked for. A pull that shows a login goes to its registry: who answers for the mirror
is not whom the login is for, and an image had from the mirror would say nothing about it. An image by digest goes there, too: the engine
gives such names itself.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

from knarr.objects.images import full_name, registry_of
from services.kubelet.runtime.port import RuntimeFailure, RuntimeUnavailable

log = logging.getLogger(__name__)

MIRRORED = "docker.io"


async def had_from_mirror(
    reference: str, auth: Mapping[str, str] | None, mirror: str, fetch: Callable[[str, str], Awaitable[object]]
) -> bool:
    """Whether an image came from there; what is wrong with the mirror is for the log. ``fetch`` pulls it by its name there, and gives it
    the other one, that was asked for. Raises RuntimeUnavailable."""
    at_mirror = "" if auth else mirrored(reference, mirror)
    if not at_mirror:
        return False
    try:
        await fetch(at_mirror, reference)
    except RuntimeUnavailable:
        raise
    except RuntimeFailure as error:
        log.warning("the mirror does not give an image, asking its registry: %s", error, extra={"image": reference})
        return False
    return True


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
