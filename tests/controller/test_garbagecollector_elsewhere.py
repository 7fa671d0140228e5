"""Garbage of, and owned by, objects that another API server serves by an APIService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import NotFound
from knarr.service.tasks import cancel
from services.controller.component import ControllerManager
from services.controller.controllers.garbagecollector import controller as subject
from services.controller.controllers.garbagecollector.controller import GarbageCollector
from services.controller.settings import ControllerSettings
from tests.apiserver.aggregation.conftest import Cluster, certificates, cluster, extension
from tests.support.extension import GROUP, VERSION, ExtensionServer
from tests.support.extension_objects import Shelf

__all__ = ["certificates", "cluster", "extension"]

API_VERSION = f"{GROUP}/{VERSION}"
WAIT_SECONDS = 20.0


def owner(kind: str, name: str, api_version: str = API_VERSION, uid: str = "", *, blocks: bool = False) -> meta.OwnerReference:
    return meta.OwnerReference(api_version=api_version, kind=kind, name=name, uid=uid or f"uid-{name}", block_owner_deletion=blocks)


def config(name: str, *owners: meta.OwnerReference) -> core.ConfigMap:
    return core.ConfigMap(metadata=meta.ObjectMeta(name=name, namespace="default", owner_references=owners))


@pytest.fixture
def shelves(extension: ExtensionServer) -> tuple[Shelf, Shelf]:
    """Flunders lie in namespaces, Fischers do not."""
    return Shelf("flunders", "Flunder", extension.play), Shelf("fischers", "Fischer", extension.play)


@asynccontextmanager
async def collecting(cluster: Cluster) -> AsyncIterator[None]:
    manager = ControllerManager(cluster.client, replace(ControllerSettings()), controllers=[GarbageCollector])
    task = asyncio.create_task(manager.run())
    try:
        yield
    finally:
        await cancel([task])


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def gone(cluster: Cluster, name: str) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        with pytest.raises(NotFound):
            while True:
                await cluster.client.get(core.ConfigMap, name, "default")
                await asyncio.sleep(0.01)


async def test_dependents_of_a_foreign_owner_go_with_it(cluster: Cluster, extension: ExtensionServer, shelves: tuple[Shelf, Shelf]) -> None:
    flunders, fischers = shelves
    flunders.add("one", "default")
    fischers.add("two")
    flunders.add("once", "default")
    flunders.remove("once")
    await cluster.served(extension)
    await cluster.client.create(config("of-one", owner("Flunder", "one")))
    await cluster.client.create(config("of-two", owner("Fischer", "two")))
    await cluster.client.create(config("of-none", owner("Flunder", "once")))
    async with collecting(cluster):
        await gone(cluster, "of-none")
        flunders.remove("one")
        await gone(cluster, "of-one")
        await cluster.client.get(core.ConfigMap, "of-two", "default")
        fischers.remove("two")
        await gone(cluster, "of-two")


async def test_foreign_dependents_go_with_their_owner(cluster: Cluster, extension: ExtensionServer, shelves: tuple[Shelf, Shelf]) -> None:
    flunders, _ = shelves
    await cluster.served(extension)
    one = await cluster.client.create(config("one"))
    flunders.add("of-one", "default", [{"apiVersion": "v1", "kind": "ConfigMap", "name": "one", "uid": one.metadata.uid}])
    flunders.add("of-one-as-well", "default", [{"apiVersion": "v1", "kind": "ConfigMap", "name": "one", "uid": one.metadata.uid}])
    flunders.add("free", "default")
    async with collecting(cluster):
        await cluster.client.delete(core.ConfigMap, "one", "default", propagation_policy="Background")
        await until(lambda: "of-one" not in flunders and "of-one-as-well" not in flunders)
        assert "free" in flunders


async def test_foreground_both_ways(cluster: Cluster, extension: ExtensionServer, shelves: tuple[Shelf, Shelf]) -> None:
    """An object here waits for a foreign one that depends on it, which waits for one here."""
    flunders, _ = shelves
    await cluster.served(extension)
    one = await cluster.client.create(config("one"))
    blocking = {"apiVersion": "v1", "kind": "ConfigMap", "name": "one", "uid": one.metadata.uid, "blockOwnerDeletion": True}
    flunders.add("of-one", "default", [blocking])
    await cluster.client.create(config("of-of-one", owner("Flunder", "of-one", blocks=True)))
    async with collecting(cluster):
        await cluster.client.delete(core.ConfigMap, "one", "default", propagation_policy="Foreground")
        await gone(cluster, "one")
        assert "of-one" not in flunders
        await gone(cluster, "of-of-one")


async def test_orphans_here_and_there(cluster: Cluster, extension: ExtensionServer, shelves: tuple[Shelf, Shelf]) -> None:
    flunders, _ = shelves
    await cluster.served(extension)
    one = await cluster.client.create(config("one"))
    flunders.add("of-one", "default", [{"apiVersion": "v1", "kind": "ConfigMap", "name": "one", "uid": one.metadata.uid}])
    async with collecting(cluster):
        await cluster.client.delete(core.ConfigMap, "one", "default", propagation_policy="Orphan")
        await gone(cluster, "one")
        await until(lambda: not flunders.named("of-one")["metadata"].get("ownerReferences"))


async def test_a_server_that_is_away_holds_up_nothing_but_its_own(
    cluster: Cluster, extension: ExtensionServer, shelves: tuple[Shelf, Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others' garbage goes, also that which is to be orphaned; what only it can tell of stays."""
    monkeypatch.setattr(subject, "SYNC_SECONDS", 0.5)
    flunders, fischers = shelves
    flunders.add("perhaps", "default")
    await cluster.served(extension)
    for shelf in (flunders, fischers):
        shelf.leave()
    one, two = await cluster.client.create(config("one")), await cluster.client.create(config("two"))
    await cluster.client.create(config("of-one", owner("ConfigMap", "one", "v1", one.metadata.uid)))
    await cluster.client.create(config("of-two", owner("ConfigMap", "two", "v1", two.metadata.uid)))
    await cluster.client.create(config("of-flunder", owner("Flunder", "perhaps")))
    async with collecting(cluster):
        await cluster.client.delete(core.ConfigMap, "one", "default", propagation_policy="Background")
        await gone(cluster, "of-one")
        await cluster.client.delete(core.ConfigMap, "two", "default", propagation_policy="Orphan")
        await gone(cluster, "two")
        assert not (await cluster.client.get(core.ConfigMap, "of-two", "default")).metadata.owner_references
        await cluster.client.get(core.ConfigMap, "of-flunder", "default")
        flunders.away = False
        flunders.remove("perhaps")
        await gone(cluster, "of-flunder")
