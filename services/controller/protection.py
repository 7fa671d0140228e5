"""Finalizers that keep an object from going while it is used."""

from __future__ import annotations

import contextlib
from typing import Any

from knarr.client.client import Client
from knarr.machinery.errors import NotFound
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting


def is_ending(obj: Any, finalizer: str) -> bool:
    """Whether an object waits for the finalizer to go."""
    return is_deleting(obj) and finalizer in obj.metadata.finalizers


def is_unprotected(obj: Any, finalizer: str) -> bool:
    """Whether an object that stays has no such finalizer: it was made before new ones were given it."""
    return not is_deleting(obj) and finalizer not in obj.metadata.finalizers


async def protect(client: Client, obj: Any, finalizer: str) -> None:
    """Adds the finalizer. Raises Conflict where the object is no longer as it was seen."""
    changed = copy_of(obj)
    changed.metadata.finalizers.append(finalizer)
    with contextlib.suppress(NotFound):
        await client.update(changed)


async def release(client: Client, obj: Any, finalizer: str) -> None:
    """Removes the finalizer. Raises Conflict where the object is no longer as it was seen."""
    changed = copy_of(obj)
    changed.metadata.finalizers.remove(finalizer)
    with contextlib.suppress(NotFound):
        await client.update(changed)
