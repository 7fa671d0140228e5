"""The pods of workloads: made from a template, created and deleted with events and expectations."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.events import NORMAL, WARNING, EventSource
from knarr.machinery.errors import AlreadyExists, Conflict, NotFound, StatusError, already_exists
from knarr.objects.keys import key_of, metadata_of
from knarr.objects.names import generated
from knarr.objects.owners import owner_reference
from services.controller.expectations import Expectations, created, deleted, is_made

T = TypeVar("T")

# Each takes a millisecond of everybody's time before it waits for the first time: of a thousand at once that would be a second.
MOST_AT_ONCE = 32
# As often as the API server draws a name.
NAME_TRIES = 8


def pod_from_template(template: core.PodTemplateSpec, owner: Message) -> core.Pod:
    """A new pod that ``owner`` controls, named here so that its arrival can be expected."""
    metadata = metadata_of(owner)
    pod = core.Pod(spec=template.spec)
    pod.metadata.labels.update(template.metadata.labels)
    pod.metadata.annotations.update(template.metadata.annotations)
    pod.metadata.finalizers.extend(template.metadata.finalizers)
    pod.metadata.namespace = metadata.namespace
    pod.metadata.generate_name = f"{metadata.name}-"
    pod.metadata.name = generated(pod.metadata.generate_name)
    pod.metadata.owner_references.append(owner_reference(owner))
    return pod


@dataclass(frozen=True, slots=True)
class Words:
    """What events say of a pod of a workload, with the names of ``{pod}`` and ``{owner}`` and an ``{error}``."""

    created: str = "Created pod: {pod}"
    not_created: str = "Error creating: {error}"
    deleted: str = "Deleted pod: {pod}"
    not_deleted: str = "Error deleting: {error}"


class PodWriter:
    """Creates and deletes pods for their owners. Each answers the first error, which is told by an event already; None when all is well."""

    def __init__(
        self, client: Client, recorder: EventSource, expectations: Expectations, words: Words | None = None, *, drawn: bool = True
    ) -> None:
        """``drawn``: the pods' names were drawn, and one that another has is drawn again; else each has the name that it is to have."""
        self._client, self._recorder, self._expectations = client, recorder, expectations
        self._words, self._drawn = words or Words(), drawn

    async def create(self, owner: Message, pods: Iterable[core.Pod]) -> StatusError | None:
        """Slowly at first; after an error those that are left are not tried. That the namespace is going is no error: nothing mends it."""
        failure = await slow_start(pods, lambda pod: self._create(owner, pod))
        return None if failure is not None and is_in_going_namespace(failure) else failure

    async def delete(self, owner: Message, pods: Iterable[core.Pod]) -> StatusError | None:
        """All at once. Pods that are gone, or are others of the same name, count as deleted."""
        results = await asyncio.gather(*(self._delete(owner, pod) for pod in pods))
        return next((error for error in results if error is not None), None)

    async def _create(self, owner: Message, pod: core.Pod) -> StatusError | None:
        for left in reversed(range(NAME_TRIES)):
            error = await self._try(owner, pod)
            if not (isinstance(error, AlreadyExists) and self._drawn and left):
                break
            # Of five thousand pods two mostly draw the same name: the later one draws again, as the API server does for its clients.
            pod.metadata.name = generated(pod.metadata.generate_name)
        if error is None:
            self._tell(owner, NORMAL, "SuccessfulCreate", self._words.created, pod)
        elif not is_in_going_namespace(error):
            self._tell(owner, WARNING, "FailedCreate", self._words.not_created, pod, error)
        return error

    async def _try(self, owner: Message, pod: core.Pod) -> StatusError | None:
        """Creates it under its name. What bears a name that was drawn, and is there already, is another one."""
        key, token = key_of(owner), created(pod.metadata.name)
        if self._drawn and self._expectations.expects(key, token):
            return already_exists("pods", pod.metadata.name)
        self._expectations.expect(key, token)
        try:
            await self._client.create(pod)
        except BaseException as error:
            is_another = isinstance(error, AlreadyExists) and self._drawn
            if is_another or not await is_made(self._client, pod, error):
                self._expectations.met(key, token)
                if not isinstance(error, StatusError):
                    raise
                return error
        return None

    async def _delete(self, owner: Message, pod: core.Pod) -> StatusError | None:
        key, token = key_of(owner), deleted(pod.metadata.uid)
        self._expectations.expect(key, token)
        try:
            await self._client.delete(core.Pod, pod.metadata.name, pod.metadata.namespace, uid=pod.metadata.uid)
        except BaseException as error:
            self._expectations.met(key, token)
            if not isinstance(error, StatusError):
                raise
            if isinstance(error, NotFound | Conflict):
                return None
            self._tell(owner, WARNING, "FailedDelete", self._words.not_deleted, pod, error)
            return error
        self._tell(owner, NORMAL, "SuccessfulDelete", self._words.deleted, pod)
        return None

    def _tell(self, owner: Message, kind: str, reason: str, words: str, pod: core.Pod, error: StatusError | None = None) -> None:
        self._recorder.event(owner, kind, reason, words.format(pod=pod.metadata.name, owner=metadata_of(owner).name, error=error))


def is_in_going_namespace(error: StatusError) -> bool:
    """Whether a creation was refused because the namespace is being deleted."""
    return any(cause.reason == "NamespaceTerminating" for cause in error.status.details.causes)


async def slow_start(items: Iterable[T], act: Callable[[T], Awaitable[StatusError | None]]) -> StatusError | None:
    """Acts on 1, then 2, 4, 8 … at once, up to MOST_AT_ONCE, until one fails: a quota or a broken template costs one call, not hundreds."""
    left, size = iter(items), 1
    while batch := list(islice(left, size)):
        results = await asyncio.gather(*(act(item) for item in batch))
        failure = next((error for error in results if error is not None), None)
        if failure is not None:
            return failure
        size = min(2 * size, MOST_AT_ONCE)
    return None
