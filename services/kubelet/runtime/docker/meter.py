"""What the engine's containers use: read from their control groups, or asked of the engine where those are not to be seen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace

from services.kubelet.runtime import groups
from services.kubelet.runtime.docker.engine import Engine, EngineError, EngineNotFound
from services.kubelet.runtime.docker.observer import EngineObserver
from services.kubelet.runtime.docker.usage import usage_of
from services.kubelet.runtime.groups import Groups
from services.kubelet.runtime.interface import NodeEnds
from services.kubelet.runtime.plan import PodRef
from services.kubelet.runtime.port import RUNNING
from services.kubelet.runtime.usage import NetworkUse, Usage

# The engine's zero time.
NEVER = "0001-"


@dataclass(frozen=True, slots=True)
class _Wanted:
    pod: PodRef
    id: str
    name: str


class EngineMeter:
    """Of one engine. Where a container's groups are is asked once."""

    def __init__(self, engine: Engine, observer: EngineObserver) -> None:
        self._engine, self._observer = engine, observer
        self.reads_groups = groups.are_seen()
        # None: not to be seen.
        self._found: dict[str, Groups | None] = {}

    async def usage(self) -> list[Usage]:
        """As ``Runtime.usage``."""
        pods = self._observer.observations.pods.values()
        running = [_Wanted(pod.ref, found.id, found.name) for pod in pods for found in pod.containers if found.state == RUNNING]
        return [usage for usage in await self._usages(running) if usage is not None]

    async def sandbox_usage(self, ends: NodeEnds) -> list[Usage]:
        """As ``Runtime.sandbox_usage``. What goes through the interfaces that we have laid, the engine does not tell; what goes through its
        own it alone does."""
        pods = self._observer.observations.pods.values()
        ready = [(_Wanted(pod.ref, found.id, ""), found.ip) for pod in pods for found in pod.sandboxes if found.ready]
        joined = [wanted for wanted, ip in ready if ip and ends.use(wanted.id) is None]
        ours = [wanted for wanted, _ in ready if wanted not in joined]
        read, told = await asyncio.gather(self._usages(ours), asyncio.gather(*(self._ask(wanted) for wanted in joined)))
        laid = [_with_network(usage, ends.use(wanted.id)) for wanted, usage in zip(ours, read, strict=True) if usage is not None]
        return laid + [usage for usage in told if usage is not None]

    async def _usages(self, wanted: list[_Wanted]) -> list[Usage | None]:
        """None for what has ended."""
        known = self._observer.observations
        self._found = {engine_id: found for engine_id, found in self._found.items() if known.find(engine_id) is not None}
        if self.reads_groups:
            await asyncio.gather(*(self._find(one.id) for one in wanted if one.id not in self._found))
        seen = [(one, found) for one in wanted if (found := self._found.get(one.id)) is not None]
        read = await asyncio.to_thread(_read, seen)
        others = [one for one in wanted if self._found.get(one.id) is None]
        read |= zip((one.id for one in others), await asyncio.gather(*(self._ask(one) for one in others)), strict=True)
        return [read[one.id] for one in wanted]

    async def _find(self, engine_id: str) -> None:
        """Remembers where a container's groups are, or that they are not to be seen; neither of one that does not run."""
        try:
            state = (await self._engine.request("GET", f"containers/{engine_id}/json"))["State"]
        except EngineNotFound:
            return
        if state["Pid"]:
            self._found[engine_id] = await asyncio.to_thread(groups.find, int(state["Pid"]), engine_id)

    async def _ask(self, wanted: _Wanted) -> Usage | None:
        try:
            stats = await self._engine.request("GET", f"containers/{wanted.id}/stats", params={"stream": "false", "one-shot": "true"})
        except EngineError:
            return None
        # It saw nothing: the container has ended, or is in a sandbox that has no network of the engine's.
        if str(stats.get("read") or "").startswith(NEVER):
            return None
        return usage_of(wanted.pod, wanted.name, stats)


def _read(wanted: Iterable[tuple[_Wanted, Groups]]) -> dict[str, Usage | None]:
    return {one.id: _usage(one, found) for one, found in wanted}


def _usage(wanted: _Wanted, found: Groups) -> Usage | None:
    try:
        return groups.read(wanted.pod, wanted.name, found)
    except OSError:
        return None


def _with_network(usage: Usage, use: NetworkUse | None) -> Usage:
    return usage if use is None else replace(usage, details=replace(usage.details, networks=(use,)))
