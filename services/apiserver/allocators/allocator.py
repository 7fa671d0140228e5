"""What a write takes and gives back besides its own key. Filled in for Services."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from knarr.machinery.errors import StatusError, status_error
from knarr.machinery.resources import Resource
from services.apiserver.backend import NO_EXTRA, Extra
from services.apiserver.results import Ref

ATTEMPTS = 16
NOT_SERIALIZED = nullcontext()


class Allocators:
    """Nothing is allocated by the base class."""

    def attempts(self) -> Iterable[int]:
        return range(ATTEMPTS)

    def concerns(self, resource: Resource) -> bool:
        """Whether objects of this resource are given anything."""
        return False

    def serialized(self, resource: Resource) -> AbstractAsyncContextManager[Any]:
        """Held from allocation to the write, so that writers of this process do not refuse one another."""
        return NOT_SERIALIZED

    async def stand_back(self, resource: Resource) -> None:
        """Waits a moment after a write that another API server was faster than, so that not both try again at once."""

    async def allocate(self, ref: Ref, old: Any, new: Any) -> Extra:
        """Sets allocated values in ``new``; answers the keys that go with the write. ``old`` is None on create."""
        return NO_EXTRA

    async def release(self, ref: Ref, obj: Any) -> Extra:
        """The keys that go when the object goes."""
        return NO_EXTRA

    def exhausted(self, ref: Ref) -> StatusError:
        return status_error("ServerTimeout", f"{ref.resource.plural}: too many writers allocate at once; try again", retry_after_seconds=1)
