"""Watching an engine: its events, the lists beneath them, and what both say about this node's pods.

The contract's own stream of events is younger than many engines; containerd has had one of its own from the start. An engine with neither
is listed every second. A state never goes back: an answer that comes late does not revive what has died.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import aclosing
from typing import Any

from knarr.api.containerd.events.v1 import events_pb2 as events
from knarr.api.cri.v1 import container_pb2 as cri
from knarr.api.cri.v1 import sandbox_pb2
from knarr.service.tasks import cancel
from services.kubelet.runtime.cri.engine import NAMESPACE, Engine, EngineNotFound, EngineUnimplemented
from services.kubelet.runtime.cri.facts import read_facts
from services.kubelet.runtime.cri.settings import CriSettings
from services.kubelet.runtime.cri.statuses import STATES, container_of, sandbox_of
from services.kubelet.runtime.labels import POD_UID, pod_of
from services.kubelet.runtime.observations import Observations
from services.kubelet.runtime.port import CREATED, EXITED, RUNNING, Container, RuntimeFailure, Sandbox

RELIST_TIMEOUT_SECONDS = 20.0
# An event may come before the engine's own answers know of it: so often, so far apart, it is asked again.
LOOKS, LOOK_SECONDS = 100, 0.02
ORDER = (CREATED, RUNNING, EXITED)
EXIT, DELETE = "/tasks/exit", "/containers/delete"
FILTERS = [f'namespace=={NAMESPACE},topic=="{topic}"' for topic in ("/tasks/start", EXIT, DELETE)]


class EngineObserver:
    """What one engine holds of this node's pods. ``own`` are the labels by which they are known."""

    def __init__(self, engine: Engine, settings: CriSettings, own: Mapping[str, str]) -> None:
        self._engine = engine
        self._settings = settings
        self._own = own
        self._looks: set[asyncio.Task[None]] = set()
        self.observations = Observations()
        self.trouble = "the container runtime was not reached yet"
        # Whether the last answer said what the container may use only when it was to say everything: engines before 1.7 of containerd.
        self._is_old = False
        # The engine's name, as ids have it.
        self.scheme = "containerd"

    def set_trouble(self, words: str) -> None:
        if words != self.trouble:
            self.trouble = words
            self.observations.tell("")

    async def follow(self) -> None:
        """Follows the engine until that breaks, with a list at its begin and now and then."""
        relister = asyncio.create_task(self._relist_again(self._settings.relist_seconds), name="kubelet/relist")
        try:
            async with aclosing(self._engine.follow_events(FILTERS)) as envelopes:
                await self._refresh()
                async for envelope in envelopes:
                    self._heed(envelope)
        except EngineUnimplemented:
            await cancel([relister])
            await self._relist_again(self._settings.eventless_relist_seconds)
        finally:
            await cancel([relister, *self._looks])

    async def _relist_again(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await self._refresh()
            except RuntimeFailure as error:
                self.set_trouble(str(error))

    async def _refresh(self) -> None:
        facts = await read_facts(self._engine)
        await self.relist()
        self.set_trouble(facts.trouble or facts.network_trouble)

    def _heed(self, envelope: events.Envelope) -> None:
        exited = events.TaskExit.FromString(envelope.event.value) if envelope.topic == EXIT else None
        subject = exited.container_id if exited else events.ContainerEvent.FromString(envelope.event.value).container_id
        found = self.observations.find(subject)
        # A command beside the container's main process has an id of its own.
        if found is None or (exited is not None and exited.id != subject):
            return
        wanted = {EXIT: EXITED, DELETE: ""}.get(envelope.topic, RUNNING)
        self._begin(self._look_for(found[1], wanted))

    def _begin(self, look: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(look, name="kubelet/look")
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)

    async def _look_for(self, known: Sandbox | Container, wanted: str) -> None:
        """Looks until the engine says what its event said; ``wanted`` is empty for one that is to be gone."""
        for _ in range(LOOKS):
            try:
                await self.look(known.id) if isinstance(known, Container) else await self.look_at_sandbox(known.id)
            except RuntimeFailure:
                return
            found = self.observations.find(known.id)
            if found is None or (wanted and _reached(found[1], wanted)):
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, container_id: str) -> Container | None:
        """Asks for one container and takes over what the engine says; None where it is gone."""
        try:
            told = await self._status(container_id)
        except EngineNotFound:
            self._forget(container_id)
            return None
        return self._remember(told)

    async def _status(self, container_id: str) -> cri.ContainerStatusResponse:
        """With what the container may use, by one question to an engine that is known."""
        request = cri.ContainerStatusRequest(container_id=container_id, verbose=self._is_old)
        told: cri.ContainerStatusResponse = await self._engine.runtime("ContainerStatus", request)
        self._is_old = not told.status.HasField("resources")
        return await self._status(container_id) if self._is_old and not request.verbose else told

    def _remember(self, told: cri.ContainerStatusResponse) -> Container:
        seen, known = container_of(told, self.scheme), self.observations.container(told.status.id)
        if known is not None and ORDER.index(seen.state) < ORDER.index(known.state):
            return known
        self.observations.put_container(pod_of(told.status.labels), seen)
        return seen

    async def look_at_sandbox(self, sandbox_id: str) -> Sandbox | None:
        """Asks for one sandbox; None where it is gone."""
        try:
            told = await self._engine.runtime("PodSandboxStatus", sandbox_pb2.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id))
        except EngineNotFound:
            self._forget(sandbox_id)
            return None
        sandbox = sandbox_of(told.status)
        self.observations.put_sandbox(sandbox)
        return sandbox

    def _forget(self, engine_id: str) -> None:
        found = self.observations.find(engine_id)
        if found is not None:
            self.observations.remove(found[0].uid, engine_id)

    async def relist(self) -> None:
        """Lists everything of ours; asks for what is not known in that state."""
        sandboxes, containers = await asyncio.gather(self._sandboxes(), self._containers())
        present = {sandbox.id for sandbox in sandboxes} | {container.id for container in containers}
        for sandbox in sandboxes:
            found = self.observations.find(sandbox.id)
            ready = sandbox.state == sandbox_pb2.SANDBOX_READY
            if POD_UID in sandbox.labels and (found is None or (isinstance(found[1], Sandbox) and found[1].ready != ready)):
                await self.look_at_sandbox(sandbox.id)
        for container in containers:
            known = self.observations.container(container.id)
            if POD_UID in container.labels and (known is None or known.state != STATES.get(container.state, EXITED)):
                await self.look(container.id)
        for pod in list(self.observations.pods.values()):
            # What the list lacks was made since it was taken, or is gone.
            for one in pod.containers:
                if one.id not in present:
                    await self.look(one.id)
            for other in pod.sandboxes:
                if other.id not in present:
                    await self.look_at_sandbox(other.id)

    async def _sandboxes(self) -> list[sandbox_pb2.PodSandbox]:
        chosen = sandbox_pb2.PodSandboxFilter(label_selector=self._own)
        told = await self._engine.runtime("ListPodSandbox", sandbox_pb2.ListPodSandboxRequest(filter=chosen), RELIST_TIMEOUT_SECONDS)
        return list(told.items)

    async def _containers(self) -> list[cri.Container]:
        chosen = cri.ContainerFilter(label_selector=self._own)
        told = await self._engine.runtime("ListContainers", cri.ListContainersRequest(filter=chosen), RELIST_TIMEOUT_SECONDS)
        return list(told.containers)

    async def find_sandbox(self, uid: str, attempt: int) -> sandbox_pb2.PodSandbox | None:
        """One that the engine has though nobody was told of it."""
        return next((s for s in await self._sandboxes() if (s.metadata.uid, s.metadata.attempt) == (uid, attempt)), None)

    async def find_container(self, uid: str, name: str, attempt: int) -> cri.Container | None:
        for one in await self._containers():
            if (one.labels.get(POD_UID), one.metadata.name, one.metadata.attempt) == (uid, name, attempt):
                return one
        return None


def _reached(found: Sandbox | Container, wanted: str) -> bool:
    if isinstance(found, Sandbox):
        return wanted == RUNNING or not found.ready
    return ORDER.index(found.state) >= ORDER.index(wanted)
