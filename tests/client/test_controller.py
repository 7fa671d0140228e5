"""What a controller declares, and which keys a change gives it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.clock import SYSTEM_CLOCK
from knarr.client.controller import Controller, is_gone, is_there
from knarr.client.index import Index, IndexClash, IndexMissing
from knarr.client.informer import Informers
from knarr.client.reconciler import Again
from knarr.objects.keys import Key, key_of
from tests.client.objects import config_map
from tests.support.api import FaultyApi, FaultyClient
from tests.support.virtual_time import virtual_time

BY_VALUE: Index[core.ConfigMap] = Index("value", lambda found: found.data.values())


class Probe(Controller):
    """Notes what it reconciles."""

    name = "probe"

    def __init__(self, informers: Informers, declare: Callable[[Probe], object]) -> None:
        super().__init__(informers, workers=1, clock=SYSTEM_CLOCK)
        self.seen: list[str] = []
        self.declared = declare(self)

    async def reconcile(self, key: Key) -> Again | None:
        self.seen.append(str(key))
        return None

    def news(self) -> list[str]:
        seen, self.seen = self.seen, []
        return sorted(seen)


@asynccontextmanager
async def working(declare: Callable[[Probe], object]) -> AsyncIterator[tuple[FaultyClient, Probe]]:
    client = FaultyApi().client()
    informers = Informers(client)
    probe = Probe(informers, declare)
    tasks = [asyncio.ensure_future(part.run()) for part in (informers, probe)]
    try:
        await informers.wait_synced()
        await asyncio.sleep(1)
        probe.news()
        yield client, probe
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def change(client: FaultyClient, name: str, value: str) -> None:
    found = await client.get(core.ConfigMap, name, "default")
    found.data["to"] = value
    await client.update(found)
    await asyncio.sleep(1)


def named_by(found: core.ConfigMap) -> Iterable[Key]:
    return [Key("default", value) for value in found.data.values()]


@virtual_time
async def test_an_object_gives_work_by_its_own_key() -> None:
    async with working(lambda probe: probe.watches(core.ConfigMap)) as (client, probe):
        await client.create(config_map("a"))
        await asyncio.sleep(1)
        assert probe.news() == ["default/a"]
        await change(client, "a", "x")
        assert probe.news() == ["default/a"]
        await client.delete(core.ConfigMap, "a", "default")
        await asyncio.sleep(1)
        assert probe.news() == ["default/a"]


@virtual_time
async def test_a_change_gives_work_to_what_was_named_before_and_to_what_is_named_now() -> None:
    async with working(lambda probe: probe.watches(core.ConfigMap, mapped=named_by)) as (client, probe):
        await client.create(config_map("a"))
        await change(client, "a", "one")
        assert probe.news() == ["default/one"]
        await change(client, "a", "two")
        assert probe.news() == ["default/one", "default/two"]
        await client.delete(core.ConfigMap, "a", "default")
        await asyncio.sleep(1)
        assert probe.news() == ["default/two"]


@pytest.mark.parametrize(("when", "expected"), [(is_there, ["default/a"]), (is_gone, ["default/gone"])])
@virtual_time
async def test_only_changes_that_matter_give_work(when: Callable[..., bool], expected: list[str]) -> None:
    async with working(lambda probe: probe.watches(core.ConfigMap, when=when)) as (client, probe):
        gone = await client.create(config_map("gone"))
        await asyncio.sleep(1)
        probe.news()
        if when is is_there:
            await client.create(config_map("a"))
        await client.delete(core.ConfigMap, "gone", "default", uid=gone.metadata.uid)
        await asyncio.sleep(1)
        assert probe.news() == expected


@virtual_time
async def test_a_listener_answers_the_keys_itself() -> None:
    told: list[tuple[str, str]] = []

    def listener(old: core.ConfigMap | None, new: core.ConfigMap | None) -> Iterable[Key]:
        told.append((str(old and key_of(old)), str(new and key_of(new))))
        return [Key("", "all")] if new is None else ()

    async with working(lambda probe: probe.hears(core.ConfigMap, listener)) as (client, probe):
        await client.create(config_map("a"))
        await client.delete(core.ConfigMap, "a", "default")
        await asyncio.sleep(1)
        assert [pair for pair in told if "default/a" in pair] == [("None", "default/a"), ("default/a", "None")]
        assert probe.news() == ["all"]


@virtual_time
async def test_what_is_only_read_gives_no_work_and_is_found_by_its_indexes() -> None:
    async with working(lambda probe: probe.reads(core.ConfigMap, BY_VALUE)) as (client, probe):
        await client.create(config_map("a"))
        await change(client, "a", "x")
        assert probe.news() == []
        store = probe.reads(core.ConfigMap)
        assert store is probe.declared
        assert [found.metadata.name for found in store.index(BY_VALUE, "x")] == ["a"]
        with pytest.raises(IndexMissing):
            probe.reads(core.Secret).index(BY_VALUE, "x")  # type: ignore[arg-type]
        with pytest.raises(IndexClash):
            probe.reads(core.ConfigMap, Index("value", lambda found: ()))
