"""What may befall a component that writes and watches, one thing in each run: it is to come to the same end every time.

``play`` runs a scenario: the component over the API server in memory, and what users and others do meanwhile. A run without a mishap
counts the component's writes and the events that it hears; ``mishaps`` are then one for each of them. What there is at the end, and what
was made and deleted on the way, is compared in words without names, uids, addresses and times, which differ from run to run.

A component that dies is one whose process is killed: nothing that it has begun goes on, and another one starts from the API server alone.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from google.protobuf.message import Message

from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.events.v1 import events_pb2 as events
from knarr.client.client import BOOKMARK, Client, JsonPatch, ObjectList, WatchEvent
from knarr.machinery.codec import to_dict
from knarr.machinery.errors import Conflict, status_error
from knarr.machinery.resources import Resource
from knarr.objects.keys import metadata_of
from knarr.service.authentication import User
from knarr.service.component import Component
from services.apiserver.in_memory import ADMIN
from services.apiserver.storage.memory import FIRST_REVISION
from services.apiserver.storage.store import Change, KeyValue
from tests.support.api import FaultyApi
from tests.support.signing import signing_keys
from tests.support.virtual_time import VirtualClock, run

M = TypeVar("M", bound=Message)
R = TypeVar("R")

RESTART_SECONDS = 1.0
# Until the watches that have not heard something break, and all is listed again.
RELIST_SECONDS = 20.0
# How late a server is that is behind.
BEHIND_SECONDS = 2.0
EVERYTHING = "everything"
# They are told to people as well as can be; no state hangs on them.
FOR_PEOPLE = (core.Event, events.Event)


class Kind(StrEnum):
    """CRASH_BEFORE, CRASH_AFTER: it dies at a write that is not, or is, carried out. REFUSED: a write fails. UNANSWERED: a write is
    carried out, but it hears that it timed out, and everything that it watches is late. DROPPED: it never hears an event. BEHIND: it hears
    of one resource, or of all, late. PAIRED: another one of it works beside it all the time, as two do that both believe to lead; the other
    one hears of all late, or of nothing. What has a name of the server's making may be made and deleted more often then.
    """

    NONE = "none"
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    REFUSED = "refused"
    UNANSWERED = "unanswered"
    DROPPED = "dropped"
    BEHIND = "behind"
    PAIRED = "paired"


WRITES = (Kind.CRASH_BEFORE, Kind.CRASH_AFTER, Kind.REFUSED, Kind.UNANSWERED)


@dataclass(frozen=True, slots=True)
class Mishap:
    """``at`` counts writes, or events; ``late`` is the name of the message whose watches are behind, or EVERYTHING: the other one's of a
    pair."""

    kind: Kind = Kind.NONE
    at: int = -1
    late: str = ""


class Fate:
    """The mishap of one run, and what the component did and heard until then and after."""

    def __init__(self, mishap: Mishap) -> None:
        self.mishap = mishap
        self.writes: list[str] = []
        self.events: list[str] = []
        self.watched: set[str] = set()
        self.died = asyncio.Event()
        self.dropped = asyncio.Event()
        # Counts the deaths: who was started before the last one is dead.
        self.life = 0

    async def alive(self, life: int) -> None:
        """Returns only to one that has not died."""
        if life != self.life:
            await asyncio.Event().wait()

    async def write(self, life: int, what: str, act: Callable[[], Awaitable[R]]) -> R:
        """Lets the component of that life write, as far as it is to happen."""
        await self.alive(life)
        struck = self.mishap.kind if len(self.writes) == self.mishap.at else Kind.NONE
        self.writes.append(what)
        if struck is Kind.REFUSED:
            raise status_error("ServiceUnavailable", f"refused: {what}")
        if struck is Kind.CRASH_BEFORE:
            await self._die()
        result = await act()
        if struck is Kind.CRASH_AFTER:
            await self._die()
        if struck is Kind.UNANSWERED:
            raise status_error("Timeout", f"unanswered: {what}")
        await self.alive(life)
        return result

    async def _die(self) -> None:
        self.life += 1
        self.died.set()
        await asyncio.Event().wait()

    def hears(self, what: str) -> bool:
        """Whether the component is told of an event."""
        drops = self.mishap.kind is Kind.DROPPED and len(self.events) == self.mishap.at
        self.events.append(what)
        if drops:
            self.dropped.set()
        return not drops

    def delay_seconds(self, message: type[Message]) -> float:
        name = message.DESCRIPTOR.name
        self.watched.add(name)
        late = self.mishap.kind is not Kind.PAIRED and self.mishap.late in (name, EVERYTHING)
        return BEHIND_SECONDS if late else 0.0


class FatedClient(Client):
    """The client of one life of the component."""

    def __init__(self, inner: Client, fate: Fate) -> None:
        self._inner, self._fate, self._life = inner, fate, fate.life

    async def resources(self) -> Sequence[Resource]:
        await self._fate.alive(self._life)
        return await self._inner.resources()

    async def get(self, message: type[M], name: str, namespace: str = "") -> M:
        await self._fate.alive(self._life)
        return await self._inner.get(message, name, namespace)

    async def scale(self, message: type[Message], name: str, namespace: str = "") -> autoscaling.Scale:
        await self._fate.alive(self._life)
        return await self._inner.scale(message, name, namespace)

    async def rescale(self, message: type[Message], scale: autoscaling.Scale) -> autoscaling.Scale:
        act = lambda: self._inner.rescale(message, scale)  # noqa: E731
        return await self._write("update", message, scale.metadata.name, {"subresource": "scale"}, act)

    async def ask_elsewhere(self, group: str, plural: str, *names: str, **options: Any) -> bytes:
        await self._fate.alive(self._life)
        return await self._inner.ask_elsewhere(group, plural, *names, **options)

    async def list(self, message: type[M], namespace: str = "", **options: Any) -> ObjectList[M]:
        await self._fate.alive(self._life)
        return await self._inner.list(message, namespace, **options)

    async def watch(self, message: type[M], namespace: str = "", **options: Any) -> AsyncIterator[Sequence[WatchEvent[M]]]:
        seconds = self._fate.delay_seconds(message)
        async with aclosing(self._inner.watch(message, namespace, **options)) as stream:  # type: ignore[type-var]
            async for batch in stream:
                await asyncio.sleep(seconds)
                await self._fate.alive(self._life)
                yield [event for event in batch if event.type == BOOKMARK or self._hears(event)]

    def _hears(self, event: WatchEvent[M]) -> bool:
        return self._fate.hears(f"{event.type} {event.object.DESCRIPTOR.name} {metadata_of(event.object).name}")

    async def create(self, obj: M, **options: Any) -> M:
        return await self._write("create", type(obj), metadata_of(obj).name, options, lambda: self._inner.create(obj, **options))

    async def update(self, obj: M, **options: Any) -> M:
        return await self._write("update", type(obj), metadata_of(obj).name, options, lambda: self._inner.update(obj, **options))

    async def patch(self, message: type[M], name: str, namespace: str = "", *, patch: dict[str, Any] | JsonPatch, **options: Any) -> M:
        act = lambda: self._inner.patch(message, name, namespace, patch=patch, **options)  # noqa: E731
        return await self._write("patch", message, name, options, act)

    async def delete(self, message: type[M], name: str, namespace: str = "", **options: Any) -> None:
        await self._write("delete", message, name, {}, lambda: self._inner.delete(message, name, namespace, **options))

    async def _write(self, verb: str, message: type[Message], name: str, options: dict[str, Any], act: Callable[[], Awaitable[R]]) -> R:
        if message in FOR_PEOPLE:
            await self._fate.alive(self._life)
            return await act()
        subresource = options.get("subresource", "")
        what = f"{verb} {message.DESCRIPTOR.name} {name}" + (f" ({subresource})" if subresource else "")
        return await self._fate.write(self._life, what, act)


@dataclass
class World:
    """What a scenario's users and others see. ``client`` has no mishaps. ``outside`` is what the scenario has outside of the cluster, for
    whose changes by the component ``fate`` is asked, too."""

    api: FaultyApi
    client: Client
    clock: VirtualClock
    fate: Fate
    outside: Any

    async def edit(
        self, message: type[M], name: str, change: Callable[[M], object], namespace: str = "default", subresource: str = ""
    ) -> M:
        """Changes an object, as often as somebody else comes first."""
        while True:
            obj = await self.client.get(message, name, namespace)
            change(obj)
            try:
                return await self.client.update(obj, subresource=subresource)
            except Conflict:
                continue


@dataclass(frozen=True)
class Scenario:
    """``start`` makes the component; ``beside`` runs while it does; ``act`` does what users do.

    ``act`` lets time pass between its steps and at its end, so that a component that has died or has missed something comes to terms.
    ``outside`` is made for each run, and ``told`` says what is there at the end; ``check`` is what else must hold then.
    """

    start: Callable[[World, Client], Component]
    act: Callable[[World], Awaitable[None]]
    beside: Callable[[World], Sequence[Callable[[], Awaitable[None]]]] = lambda world: ()
    check: Callable[[World], None] = lambda world: None
    outside: Callable[[], Any] = lambda: None
    told: Callable[[Any], Sequence[str]] = lambda outside: ()
    rest_seconds: float = 60.0
    # Fields that may differ, as in "Node.spec.podCIDR".
    free: frozenset[str] = field(default_factory=frozenset)
    # Whether the API server issues tokens.
    tokens: bool = False
    # As whom the component asks.
    user: User = ADMIN


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``final`` are the objects that there are, ``made`` and ``gone`` count those that came and went."""

    final: Counter[str]
    made: Counter[str]
    gone: Counter[str]
    writes: list[str]
    events: list[str]
    watched: frozenset[str]

    def differences(self, other: Outcome) -> list[str]:
        """What is otherwise in ``other``, in words."""
        parts = (("", self.final, other.final), ("created: ", self.made, other.made), ("deleted: ", self.gone, other.gone))
        return [
            f"{label}{after[text]} instead of {before[text]}: {text}"
            for label, before, after in parts
            for text in sorted({*before, *after})
            if before[text] != after[text]
        ]


def mishaps(kind: Kind, clean: Outcome) -> Iterator[Mishap]:
    """Everything of that kind that can happen in a run that was clean."""
    if kind is Kind.PAIRED:
        yield from (Mishap(kind, late=late) for late in ("", EVERYTHING))
    elif kind is Kind.BEHIND:
        for name in (EVERYTHING, *sorted(clean.watched & {what.split()[1] for what in clean.events})):
            yield Mishap(kind, late=name)
    else:
        for at in range(len(clean.writes if kind in WRITES else clean.events)):
            yield Mishap(kind, at, EVERYTHING if kind is Kind.UNANSWERED else "")


def wrongs(scenario: Scenario, kind: Kind) -> list[str]:
    """What comes out otherwise than in a clean run, in words; of each mishap of that kind."""
    clean = undisturbed(scenario)
    found = []
    for mishap in mishaps(kind, clean):
        befallen = clean.writes if kind in WRITES else clean.events
        what = f"{kind}: {(mishap.late or 'nothing') if mishap.at < 0 else befallen[mishap.at]} ({mishap.at})"
        try:
            wrong = clean.differences(play(scenario, mishap))
            # What has a name of its own is refused the second time.
            found += [f"{what}: {text}" for text in wrong if kind is not Kind.PAIRED or not _GENERATED.search(text)]
        except Exception as error:
            found.append(f"{what}: {error!r}")
    return found


@cache
def undisturbed(scenario: Scenario) -> Outcome:
    """The run that those with mishaps are compared with. It is the same each time."""
    return play(scenario)


def play(scenario: Scenario, mishap: Mishap = Mishap()) -> Outcome:
    """One run, on virtual time."""
    found: Outcome = run(_play(scenario, mishap))
    return found


async def _play(scenario: Scenario, mishap: Mishap) -> Outcome:
    clock = VirtualClock()
    api = FaultyApi(clock, keys=signing_keys() if scenario.tokens else None)
    world = World(api, api.client(), clock, Fate(mishap), scenario.outside())
    tasks = [asyncio.ensure_future(work()) for work in scenario.beside(world)]
    tasks += [asyncio.ensure_future(_live(scenario, world)), asyncio.ensure_future(_relist(world))]
    if mishap.kind is Kind.PAIRED:
        tasks.append(asyncio.ensure_future(_other(scenario, world)))
    try:
        await scenario.act(world)
        await asyncio.sleep(scenario.rest_seconds)
    finally:
        for task in tasks:
            if task.done():
                task.result()
            task.cancel()
        await asyncio.wait(tasks, timeout=10)
    scenario.check(world)
    return await _outcome(world, scenario)


async def _live(scenario: Scenario, world: World) -> None:
    """One life of the component after the other."""
    while True:
        world.fate.died.clear()
        life = asyncio.ensure_future(scenario.start(world, FatedClient(world.api.client(scenario.user), world.fate)).run())
        death = asyncio.ensure_future(world.fate.died.wait())
        try:
            await asyncio.wait({life, death}, return_when=asyncio.FIRST_COMPLETED)
            assert not life.done(), life.result()
        finally:
            death.cancel()
            life.cancel()
            await asyncio.wait({life}, timeout=10)
        await asyncio.sleep(RESTART_SECONDS)


async def _other(scenario: Scenario, world: World) -> None:
    """Another one of the component, whose writes and events nobody counts."""
    fate = Fate(Mishap(Kind.BEHIND, late=world.fate.mishap.late))
    await scenario.start(world, FatedClient(world.api.client(scenario.user), fate)).run()


async def _relist(world: World) -> None:
    await world.fate.dropped.wait()
    await asyncio.sleep(RELIST_SECONDS)
    world.api.break_watches(status_error("Expired", "too old resource version"))
    await asyncio.Event().wait()


# What a run is compared by.

# That something with a generated name was made or deleted more often.
_GENERATED = re.compile(r"^(created|deleted): .*\*$")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
# Of an object that is named after another one.
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_POD_ADDRESS = re.compile(r"10\.244\.0\.\d+")
# Made anew with every object or write.
_OWN = frozenset({"uid", "resourceVersion", "generation", "observedGeneration", "managedFields"})
_LEFT_OUT = ("/registry/events/", "/registry/leases/", "/registry/ranges/", "/registry/masterleases/")


async def _outcome(world: World, scenario: Scenario) -> Outcome:
    names: dict[str, str] = {}
    there: dict[str, Message] = {}
    made: Counter[str] = Counter()
    gone: Counter[str] = Counter()
    for change in await _changes(world):
        if change.key.startswith(_LEFT_OUT):
            continue
        if change.value is None:
            gone[_named(there.pop(change.key), names)] += 1
            continue
        entry = world.api.server.backend.cache.entry(KeyValue(change.key, change.value, change.revision))
        assert entry is not None, change.key
        obj: Any = entry.served(entry.version).message
        if obj.metadata.generate_name:
            names[obj.metadata.name] = f"{obj.metadata.generate_name}*"
        if change.key not in there:
            made[_named(obj, names)] += 1
        there[change.key] = obj
    final = Counter(_words(obj, names, scenario.free) for obj in there.values())
    final.update(scenario.told(world.outside))
    fate = world.fate
    return Outcome(final, made, gone, fate.writes, fate.events, frozenset(fate.watched))


async def _changes(world: World) -> list[Change]:
    """All that was ever stored."""
    found: list[Change] = []
    async with aclosing(world.api.store.watch("/registry/", FIRST_REVISION + 1)) as stream:  # type: ignore[type-var]
        async for batch in stream:
            found += batch.changes
            if found and batch.revision >= world.api.store.revision:
                break
    return found


def _named(obj: Message, names: dict[str, str]) -> str:
    name = metadata_of(obj).name
    return f"{obj.DESCRIPTOR.name} {_UID.sub('uid', names.get(name, name))}"


def _words(obj: Any, names: dict[str, str], free: frozenset[str]) -> str:
    found = to_dict(obj)
    plain = _plain(found, obj.DESCRIPTOR.name, names, free)
    if "observedGeneration" in found.get("status", {}):
        plain["observed"] = found["status"]["observedGeneration"] == found["metadata"]["generation"]
    return json.dumps(plain)


def _plain(value: Any, path: str, names: dict[str, str], free: frozenset[str]) -> Any:
    """JSON without what differs from run to run; lists are sorted."""
    if isinstance(value, dict):
        plain = {
            name: _plain(found, f"{path}.{name}", names, free)
            for name, found in sorted(value.items())
            if name not in _OWN and f"{path}.{name}" not in free
        }
        return {name: found for name, found in plain.items() if found != {} or value[name] == {}}
    if isinstance(value, list):
        return sorted((_plain(found, path, names, free) for found in value), key=json.dumps)
    if isinstance(value, str):
        return _UID.sub("uid", _POD_ADDRESS.sub("10.244.0.x", _TIME.sub("then", names.get(value, value))))
    return value
