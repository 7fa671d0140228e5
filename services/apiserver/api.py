"""The request pipeline: what both faces call, and the only code that decides.

Order for a write: authenticate (the face) → authorize → decode (the face, or here for a patch) →
default → admit → validate → encode → one etcd transaction → reply. Faces translate; they hold no
rule. Every method raises ``StatusError``. Objects handed in belong to the pipeline afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError, status_error
from services.apiserver.allocators.allocator import Allocators
from services.apiserver.metrics import request_counter, request_timer
from services.apiserver.pipeline import create, delete, pods, read, update, watch
from services.apiserver.pipeline.backend import Backend
from services.apiserver.results import Event, Page, Ref, Written

__all__ = ["Api", "Event", "Page", "Ref", "Written"]


class Api:
    """Reads, writes and watches for both faces."""

    def __init__(self, backend: Backend, allocators: Allocators | None = None) -> None:
        self.backend = backend
        self.allocators = allocators or Allocators()

    async def get(self, ref: Ref, resource_version: str = "") -> Written:
        """One object or sub-resource."""
        with _measured("get", ref):
            return await read.get(self.backend, ref, resource_version)

    async def list(self, ref: Ref, options: meta.ListOptions) -> Page:
        """A collection, by selectors, in pages when ``options.limit`` is set."""
        with _measured("list", ref):
            return await read.list_page(self.backend, ref, options)

    def watch(self, ref: Ref, options: meta.ListOptions) -> AsyncIterator[Sequence[Event]]:
        """Batches of changes; refuses bad options when called, raises Expired when the revision is
        no longer held, ends at timeoutSeconds. Close it (``aclose``) when it is left early."""
        return watch.watch(self.backend, ref, options)

    async def create(self, ref: Ref, obj: Message, options: meta.CreateOptions) -> Written:
        """A new object; ``ref.name`` and ``ref.subresource`` for binding and eviction."""
        creating = pods.create_subresource if ref.subresource else create.create
        return await _written(self.backend, "create", ref, creating(self.backend, self.allocators, ref, obj, options))

    async def update(self, ref: Ref, obj: Message, options: meta.UpdateOptions) -> Written:
        return await _written(self.backend, "update", ref, update.update(self.backend, self.allocators, ref, obj, options))

    async def patch(self, ref: Ref, patch_type: str, patch: bytes, options: meta.PatchOptions) -> Written:
        """``patch_type`` is ``json``, ``merge``, ``strategic`` or ``apply``; ``patch`` is JSON."""
        return await _written(self.backend, "patch", ref, update.patch(self.backend, self.allocators, ref, patch_type, patch, options))

    async def delete(self, ref: Ref, options: meta.DeleteOptions) -> Written:
        """Answers the object while it still exists, else a Status of success."""
        return await _written(self.backend, "delete", ref, delete.delete(self.backend, self.allocators, ref, options))

    async def delete_collection(self, ref: Ref, options: meta.DeleteOptions, selection: meta.ListOptions) -> Page:
        """Answers what was deleted."""
        with _measured("deletecollection", ref):
            return await delete.delete_collection(self.backend, self.allocators, ref, options, selection)


async def _written(backend: Backend, verb: str, ref: Ref, writing: Coroutine[Any, Any, Written]) -> Written:
    """Measures and bounds one write: behind a store that hangs, writers would wait for one another."""
    seconds = backend.waits.write_seconds
    with _measured(verb, ref):
        try:
            async with asyncio.timeout(seconds):
                return await writing
        except TimeoutError:
            message = f"etcd did not finish this write within {seconds:g} s; see that it runs, then try again. It may or may not be stored"
            raise status_error("Timeout", message) from None


@contextmanager
def _measured(verb: str, ref: Ref) -> Iterator[None]:
    start, resource, code = time.perf_counter(), ref.resource.plural, "200"
    try:
        yield
    except StatusError as error:
        code = str(error.code)
        raise
    finally:
        request_timer(verb, resource).observe(time.perf_counter() - start)
        request_counter(verb, resource, code).inc()
