"""What every cleaner is: a controller that deletes objects of one kind that have had their time."""

from __future__ import annotations

import abc
import contextlib
from typing import Any, ClassVar, Generic, TypeVar, cast

from google.protobuf.message import Message

from knarr.client.reconciler import Again
from knarr.client.store import Store
from knarr.machinery.errors import Conflict, NotFound
from knarr.objects.keys import Key, is_deleting
from services.controller.controller import Context, Controller

# Any message with ``metadata``.
M = TypeVar("M", bound=Any)


class CleanerController(Controller, Generic[M]):
    """Its keys are those of the objects. One that has changed since it was looked at is not deleted, but looked at again."""

    # Of type[M].
    cleaned: ClassVar[type[Message]]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._objects: Store[M] = self.watches(cast("type[Any]", self.cleaned))

    @abc.abstractmethod
    def seconds_left(self, obj: M) -> float:
        """Until it is to be deleted; 0 when it is due."""

    async def reconcile(self, key: Key) -> Again | None:
        obj = self._objects.get(*key)
        if obj is None or is_deleting(obj):
            return None
        if left := self.seconds_left(obj):
            return Again(left)
        metadata = obj.metadata
        with contextlib.suppress(Conflict, NotFound):
            await self.client.delete(self.cleaned, key.name, key.namespace, uid=metadata.uid, resource_version=metadata.resource_version)
        return None
