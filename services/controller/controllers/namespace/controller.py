"""Namespace: empties a namespace that is being deleted, kind by kind, then lets it go.

A look asks for every kind that is served. While something goes it is followed by the next one at once; what is held by a finalizer, or
refused, for an hour or for good, is looked at ever more rarely, and when a pod goes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.backoff import Backoff
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict, NotFound, StatusError
from knarr.machinery.resources import Resource
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key, is_deleting, metadata_of
from services.controller.attempts import Attempts
from services.controller.controller import Context, Controller
from services.controller.controllers.namespace.decide import Content, finalized, status

PAGE_SIZE = 500
# Between two looks at a namespace in which nothing happens.
LONGEST_SECONDS = 10.0


class NamespaceController(Controller):
    name = "namespace"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._namespaces = self.watches(core.Namespace, when=_is_leaving)
        self._retry = Backoff(context.settings.namespace_retry_seconds, LONGEST_SECONDS)
        # By namespace: what was left, and how many looks have found the same.
        self._left: dict[Key, tuple[Content, int]] = {}
        self.hears(core.Pod, self._pod_changed)

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> Iterable[Key]:
        """They take the longest of all; those that go together are looked for once."""
        if old is not None and new is None and (key := Key("", old.metadata.namespace)) in self._left:
            self.queue.enqueue_after(key, self.context.settings.namespace_retry_seconds)
        return ()

    async def reconcile(self, key: Key) -> Again | None:
        namespace = self._namespaces.get("", key.name)
        if namespace is None or not is_deleting(namespace):
            self._left.pop(key, None)
            return None
        content = await self._empty(key.name)
        # It may have gone before the informer shows it.
        with contextlib.suppress(NotFound):
            namespace = await self._report(namespace, content)
            last = finalized(namespace) if content.empty else None
            if last is not None:
                await self.client.update(last, subresource="finalize")
        if content.empty:
            self._left.pop(key, None)
            return None
        before, looks = self._left.get(key, (content, 0))
        looks = looks + 1 if before == content else 1
        self._left[key] = content, looks
        return Again(self._retry.delay(looks))

    async def _empty(self, namespace: str) -> Content:
        """Deletes everything that is there, of every kind that is served now, and tells what is left now.

        Pods go before all else: while one still runs, the policies and secrets that hold for it stay.
        """
        content = Content()
        found = [served for served in await self.client.resources() if served.namespaced and {"list", "delete"} <= set(served.verbs)]
        pods = [resource for resource in found if resource.storage.message is core.Pod]
        for resources in (pods, [resource for resource in found if resource not in pods]):
            for resource in resources:
                await self._empty_of(resource, namespace, content)
            if not content.empty:
                break
        return content

    async def _empty_of(self, resource: Resource, namespace: str, content: Content) -> None:
        try:
            await self._delete_all(resource, namespace)
            await self._count(resource, namespace, content)
        except StatusError as error:
            content.errors.append(f"{resource.storage.qualified}: {error}")

    async def _delete_all(self, resource: Resource, namespace: str) -> None:
        """Raises the first refusal, once all others were deleted."""
        attempts, token = Attempts(), ""
        while True:
            page = await self.client.list(resource.storage.message, namespace, limit=PAGE_SIZE, continue_token=token)
            for obj in page.items:
                if not is_deleting(obj):
                    with attempts.about(obj):
                        await self._delete(obj)
            token = page.continue_token
            if not token:
                break
        attempts.check()

    async def _delete(self, obj: Any) -> None:
        metadata = metadata_of(obj)
        with contextlib.suppress(NotFound, Conflict):
            await self.client.delete(type(obj), metadata.name, metadata.namespace, propagation_policy="Background", uid=metadata.uid)

    async def _count(self, resource: Resource, namespace: str, content: Content) -> None:
        token = ""
        while True:
            page = await self.client.list(resource.storage.message, namespace, limit=PAGE_SIZE, continue_token=token)
            for obj in page.items:
                content.add(resource.storage.qualified if resource.storage.group else f"{resource.plural}.", metadata_of(obj).finalizers)
            token = page.continue_token
            if not token:
                return

    async def _report(self, namespace: core.Namespace, content: Content) -> core.Namespace:
        wanted = status(namespace, content, self.context.clock.now())
        if wanted == namespace.status:
            return namespace
        changed = copy_of(namespace)
        changed.status.CopyFrom(wanted)
        return await self.client.update(changed, subresource="status")


def _is_leaving(old: core.Namespace | None, new: core.Namespace | None) -> bool:
    return new is not None and is_deleting(new)
