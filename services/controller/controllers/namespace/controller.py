"""Namespace: empties a namespace that is being deleted, kind by kind, then lets it go."""

from __future__ import annotations

import contextlib
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict, NotFound, StatusError
from knarr.machinery.resources import Resource
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key, is_deleting, metadata_of
from services.controller.attempts import Attempts
from services.controller.controller import Context, Controller
from services.controller.controllers.namespace.decide import Content, finalized, status

PAGE_SIZE = 500


class NamespaceController(Controller):
    name = "namespace"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._namespaces = self.watches(core.Namespace, when=_is_leaving)

    async def reconcile(self, key: Key) -> Again | None:
        namespace = self._namespaces.get("", key.name)
        if namespace is None or not is_deleting(namespace):
            return None
        content = await self._empty(key.name)
        # It may have gone before the informer shows it.
        with contextlib.suppress(NotFound):
            namespace = await self._report(namespace, content)
            last = finalized(namespace) if content.empty else None
            if last is not None:
                await self.client.update(last, subresource="finalize")
        return None if content.empty else Again(self.context.settings.namespace_retry_seconds)

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
        if attempts.failure is not None:
            raise attempts.failure

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
