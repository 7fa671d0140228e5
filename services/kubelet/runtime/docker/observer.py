"""Watching an engine: the event stream, the lists beneath it, and what both say about this node's pods.

A state never goes back: an event that comes late does not revive what has died.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from services.kubelet.runtime.addresses import AddressesExhausted, PodAddresses
from services.kubelet.runtime.docker.bodies import NO_NETWORK, node_network
from services.kubelet.runtime.docker.engine import Engine, EngineError, EngineNotFound
from services.kubelet.runtime.docker.events import ACTIONS, EngineEvent, lines, parse_event
from services.kubelet.runtime.docker.interfaces import EngineInterfaces, InterfaceFailure
from services.kubelet.runtime.docker.observations import container_from
from services.kubelet.runtime.docker.settings import DockerSettings
from services.kubelet.runtime.interface import NodeEnds
from services.kubelet.runtime.labels import IP, POD_UID, TTY, is_sandbox, pod_of, sandbox_from
from services.kubelet.runtime.observations import Observations
from services.kubelet.runtime.plan import PodRef
from services.kubelet.runtime.port import CREATED, EXITED, RUNNING, Container, RuntimeFailure, Sandbox

log = logging.getLogger(__name__)

RELIST_TIMEOUT_SECONDS = 20.0
KILLED_EXIT_CODE = 137


class EngineObserver:
    """What one engine holds of this node's pods. ``own`` are the labels by which they are known."""

    def __init__(self, engine: Engine, settings: DockerSettings, own: Mapping[str, str], interfaces: EngineInterfaces) -> None:
        self._engine = engine
        self._interfaces = interfaces
        self._settings = settings
        self._own = own
        self.addresses = PodAddresses(settings.pod_cidr)
        self.observations = Observations()
        # The last address of each pod, by uid: a new sandbox gets it again.
        self.last_ip: dict[str, str] = {}
        # Pods, by uid, whose sandbox is being made at this moment, and its address: one that was made and has not started is no
        # remainder of theirs.
        self.making: dict[str, str] = {}
        # Containers whose output is one raw stream.
        self.ttys: set[str] = set()
        self.trouble = "the container engine was not reached yet"
        self._oom: set[str] = set()
        # Pods with a last address of which the last list showed nothing.
        self._idle: set[str] = set()

    def use_pod_cidr(self, pod_cidr: str) -> None:
        """As ``Runtime.use_pod_cidr``."""
        self.addresses = PodAddresses(pod_cidr)

    def take_address(self, uid: str) -> str:
        """For the sandbox that is being made of a pod. Taken are those of sandboxes that there are or that are being made."""
        seen = {sandbox.ip for pod in self.observations.pods.values() for sandbox in pod.sandboxes}
        self.addresses.keep(seen.union(self.making.values()))
        try:
            self.making[uid] = self.addresses.take(prefer=self.last_ip.get(uid, ""))
        except AddressesExhausted as error:
            raise RuntimeFailure(str(error)) from error
        return self.making[uid]

    def state(self, container_id: str) -> str:
        found = self.observations.container(container_id)
        return found.state if found is not None else ""

    def set_trouble(self, words: str) -> None:
        if words != self.trouble:
            self.trouble = words
            self.observations.tell("")

    async def follow(self) -> None:
        """Follows the event stream until it breaks, with a list at its begin and now and then."""
        filters = {"type": ["container"], "label": [f"{key}={value}" for key, value in self._own.items()], "event": list(ACTIONS)}
        async with self._engine.stream("GET", "events", params={"filters": json.dumps(filters)}) as chunks:
            await self.relist()
            self.set_trouble("")
            relister = asyncio.create_task(self._relist_again(), name="kubelet/relist")
            try:
                async for line in lines(chunks):
                    await self._heed(parse_event(line))
            finally:
                relister.cancel()
                await asyncio.gather(relister, return_exceptions=True)
        self.set_trouble(f"the Docker daemon at {self._settings.url} ended its event stream")

    async def _relist_again(self) -> None:
        while True:
            await asyncio.sleep(self._settings.relist_seconds)
            try:
                await self.relist()
                self.set_trouble("")
            except RuntimeFailure as error:
                self.set_trouble(str(error))

    async def _heed(self, event: EngineEvent) -> None:
        if POD_UID not in event.attributes:
            return
        ref = pod_of(event.attributes)
        if event.action == "destroy":
            self.observations.remove(ref.uid, event.id)
        elif is_sandbox(event.attributes):
            self._heed_sandbox(event)
        elif event.action == "oom":
            self._oom.add(event.id)
        else:
            await self._heed_container(ref, event)

    def _heed_sandbox(self, event: EngineEvent) -> None:
        found = self.observations.find(event.id)
        if event.action == "die" and found is not None and isinstance(found[1], Sandbox):
            self.observations.put_sandbox(replace(found[1], ready=False))

    async def _heed_container(self, ref: PodRef, event: EngineEvent) -> None:
        container = self.observations.container(event.id)
        if container is None:
            if event.action == "start":
                await self.look(event.id)
            return
        if event.action == "start" and container.state == CREATED:
            self.observations.put_container(ref, replace(container, state=RUNNING, started_at=event.at))
        elif event.action == "die" and container.state != EXITED:
            oom = event.id in self._oom or (event.exit_code == KILLED_EXIT_CODE and await self._was_oom_killed(event.id))
            self._oom.discard(event.id)
            started = container.started_at or event.at
            ended = replace(container, state=EXITED, started_at=started, finished_at=event.at, exit_code=event.exit_code, oom_killed=oom)
            self.observations.put_container(ref, ended)

    async def _was_oom_killed(self, container_id: str) -> bool:
        try:
            inspected = await self._engine.request("GET", f"containers/{container_id}/json")
        except RuntimeFailure:
            return False
        return bool(inspected["State"].get("OOMKilled"))

    async def look(self, container_id: str) -> None:
        """Inspects one container and takes over what the engine says."""
        try:
            inspected = await self._engine.request("GET", f"containers/{container_id}/json")
        except EngineNotFound:
            found = self.observations.find(container_id)
            if found is not None:
                self.observations.remove(found[0].uid, container_id)
            return
        self.remember(inspected)

    def remember(self, inspected: Mapping[str, Any]) -> None:
        labels = inspected["Config"]["Labels"]
        if labels.get(TTY):
            self.ttys.add(inspected["Id"])
        self.observations.put_container(pod_of(labels), container_from(inspected))

    async def relist(self) -> None:
        """Lists everything of ours; inspects what is not known in that state."""
        # Before the list: whose is not in that belongs to nobody any more.
        ends = await self._interfaces.look()
        filters = {"label": [f"{key}={value}" for key, value in self._own.items()]}
        listed = await self._engine.request(
            "GET", "containers/json", params={"all": 1, "filters": json.dumps(filters)}, timeout_seconds=RELIST_TIMEOUT_SECONDS
        )
        listed = listed if isinstance(listed, list) else []
        present = {entry["Id"] for entry in listed}
        for entry in listed:
            await self._compare(entry, ends)
        await self._interfaces.remove_strange(ends, present)
        for pod in list(self.observations.pods.values()):
            for found in pod.parts:
                if found.id not in present:
                    await self._look_for_missing(pod.ref, found)
        self._prune()

    def _prune(self) -> None:
        """Forgets what is kept beside the observations. An address stays preferred from one list to the next: a pod may be between two
        sandboxes."""
        idle = self.last_ip.keys() - self.observations.pods.keys()
        for uid in idle & self._idle:
            del self.last_ip[uid]
        self._idle = idle
        known = {container.id for pod in self.observations.pods.values() for container in pod.containers}
        self.ttys &= known
        self._oom &= known

    async def _compare(self, entry: Mapping[str, Any], ends: NodeEnds) -> None:
        labels, state = entry["Labels"], entry["State"]
        if POD_UID not in labels:
            return
        known = self.observations.find(entry["Id"])
        if is_sandbox(labels):
            await self._compare_sandbox(entry, known[1] if known is not None else None, ends)
            return
        engine_state = {"running": RUNNING, "created": CREATED}.get(state, EXITED)
        if known is None or (isinstance(known[1], Container) and known[1].state != engine_state and not known[1].error):
            await self.look(entry["Id"])

    async def _compare_sandbox(self, entry: Mapping[str, Any], known: Sandbox | Container | None, ends: NodeEnds) -> None:
        state, labels = entry["State"], entry["Labels"]
        # A list may be older than what is known by now, and one that is being made has no network yet.
        if (state == "created" and known is not None) or (state in ("created", "running") and labels[POD_UID] in self.making):
            return
        try:
            ready = state == "running" and await self._is_joined(entry, ends)
        except EngineNotFound:
            return
        sandbox = sandbox_from(entry["Id"], labels, ready=ready, created_at=datetime.fromtimestamp(entry["Created"], UTC))
        if sandbox.ip:
            self.last_ip[sandbox.pod.uid] = sandbox.ip
        if known is None or (isinstance(known, Sandbox) and known.ready != sandbox.ready):
            self.observations.put_sandbox(sandbox)

    async def _is_joined(self, entry: Mapping[str, Any], ends: NodeEnds) -> bool:
        """Whether packets reach one that runs. What is missing of an interface of ours is made; what the engine took from a network is not
        joined to it again."""
        mode = (entry.get("HostConfig") or {}).get("NetworkMode")
        if self._settings.network_of and mode != NO_NETWORK:
            # The node's own, or that of a place that it had before.
            return bool(mode == node_network(self._settings))
        if mode != NO_NETWORK:
            return bool(entry["NetworkSettings"]["Networks"])
        if ends.whole(entry["Id"]):
            return True
        try:
            await self._interfaces.lay(entry["Id"], entry["Labels"][IP])
        except InterfaceFailure as error:
            log.warning("a sandbox has no network", extra={"sandbox": entry["Id"], "error": str(error)})
            return False
        return True

    async def _look_for_missing(self, ref: PodRef, found: Sandbox | Container) -> None:
        """Asks for one that the list lacks: it was made since the list was taken, or is gone."""
        try:
            await self._engine.request("GET", f"containers/{found.id}/json")
        except EngineNotFound:
            self.observations.remove(ref.uid, found.id)
        except EngineError:
            return
