"""A resource that comes or goes while the server runs: everybody who derives something from the registry follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from knarr.api.apidiscovery.v2 import apidiscovery_pb2 as apidiscovery
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.machinery import envelope
from knarr.machinery.errors import NotFound, status_error
from knarr.machinery.resources import Registry, Resource, Version
from services.apiserver.backend import Backend
from services.apiserver.cache.feed import Feed
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.storage.memory import MemoryStore
from services.apiserver.storage.store import Compacted, Put, RangePage, Transaction
from tests.support.faces import RestClient, rpc_client
from tests.support.virtual_time import virtual_time

# What no server serves as a resource; but it is made like one.
NAMES = ("apidiscovery.k8s.io", "v2", "APIGroupDiscovery")
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
PATH = "/apis/apidiscovery.k8s.io/v2/namespaces/default/groupdiscoveries"


def discoveries() -> Resource:
    return Resource(
        "groupdiscoveries",
        (Version(*NAMES, apidiscovery.APIGroupDiscovery, apidiscovery.APIGroupDiscoveryList),),
        short_names=("pm",),
    )


def discovery_of(name: str) -> apidiscovery.APIGroupDiscovery:
    obj = apidiscovery.APIGroupDiscovery()
    obj.metadata.name, obj.metadata.namespace = name, "default"
    return obj


@pytest.fixture
async def api() -> AsyncIterator[ApiInMemory]:
    async with ApiInMemory() as found:
        yield found


@pytest.fixture
def rest(api: ApiInMemory) -> RestClient:
    return RestClient(api)


@pytest.fixture(params=["local", "rpc"])
async def client(request: pytest.FixtureRequest, api: ApiInMemory, tmp_path: Path) -> AsyncIterator[Client]:
    if request.param == "local":
        yield api.client()
    else:
        async with rpc_client(api, tmp_path) as found:
            yield found


async def test_rest_routes_and_documents_follow(api: ApiInMemory, rest: RestClient) -> None:
    before = {
        path: await rest.get(path)
        for path in ("/", "/apis", "/apis/apidiscovery.k8s.io/v2", "/openapi/v3", "/openapi/v3/apis/apidiscovery.k8s.io/v2", PATH)
    }
    assert [answer.status for answer in before.values()] == [200, 200, 404, 200, 404, 404]
    added = discoveries()
    api.server.registry.add(added)
    assert (await rest.call("POST", PATH, {"metadata": {"name": "a"}})).status == 201
    assert (await rest.get(f"{PATH}/a")).json["kind"] == "APIGroupDiscovery"
    assert [entry["name"] for entry in (await rest.get("/apis/apidiscovery.k8s.io/v2")).json["resources"]] == ["groupdiscoveries"]
    assert b"/apis/apidiscovery.k8s.io/v2" in (await rest.get("/")).body
    groups = (await rest.get("/apis", accept=AGGREGATED)).json["items"]
    assert "apidiscovery.k8s.io" in [group["metadata"]["name"] for group in groups]
    assert "apis/apidiscovery.k8s.io/v2" in (await rest.get("/openapi/v3")).json["paths"]
    assert (
        "io.k8s.api.apidiscovery.v2.APIGroupDiscovery"
        in (await rest.get("/openapi/v3/apis/apidiscovery.k8s.io/v2")).json["components"]["schemas"]
    )
    api.server.registry.remove(added)
    for path, answer in before.items():
        again = await rest.get(path)
        assert (again.status, again.body) == (answer.status, answer.body), path


async def test_what_was_stored_before_is_there_when_a_resource_is_served(api: ApiInMemory, rest: RestClient) -> None:
    for number in range(5000):  # more than one page
        key = f"/registry/groupdiscoveries/default/c{number:04}"
        api.store.apply(
            Transaction(
                {},
                [Put(key, envelope.wrap("apidiscovery.k8s.io/v2", NAMES[-1], discovery_of(f"c{number:04}").SerializeToString()))],
            )
        )
    api.server.registry.add(discoveries())
    api.store.apply(Transaction({}, deletes=["/registry/groupdiscoveries/default/c0001"]))
    names = [item["metadata"]["name"] for item in (await rest.get(PATH)).json["items"]]
    assert len(names) == 4999 and "c0001" not in names


async def test_a_watch_ends_when_its_resource_is_served_no_more(api: ApiInMemory, client: Client, rest: RestClient) -> None:
    added = discoveries()
    api.server.registry.add(added)
    await client.create(discovery_of("a"))
    watch = client.watch(apidiscovery.APIGroupDiscovery, resource_version="0")
    other = client.watch(core.Namespace, resource_version="0")
    assert [event.type for event in await anext(watch)] == ["ADDED"]
    await anext(other)
    ending = asyncio.create_task(anext(watch, None))
    staying = asyncio.create_task(anext(other, None))
    api.server.registry.remove(added)
    async with asyncio.timeout(5):
        assert await ending is None
    assert not staying.done()
    staying.cancel()
    # What was stored is stored still, and seen again when the resource is.
    api.server.registry.add(discoveries())
    assert (await rest.get(f"{PATH}/a")).status == 200


async def test_typed_clients_follow(api: ApiInMemory, client: Client) -> None:
    with pytest.raises(NotFound):
        await client.create(discovery_of("a"))
    assert "groupdiscoveries" not in [resource.plural for resource in await client.resources()]
    added = discoveries()
    api.server.registry.add(added)
    await client.create(discovery_of("a"))
    assert [item.metadata.name for item in (await client.list(apidiscovery.APIGroupDiscovery, "default")).items] == ["a"]
    (known,) = [resource for resource in await client.resources() if resource.plural == "groupdiscoveries"]
    (again,) = [resource for resource in await client.resources() if resource.plural == "groupdiscoveries"]
    assert (
        known is again
        and known.namespaced
        and (known.storage.api_version, known.storage.message) == ("apidiscovery.k8s.io/v2", apidiscovery.APIGroupDiscovery)
    )
    api.server.registry.remove(added)
    with pytest.raises(NotFound):
        await client.get(apidiscovery.APIGroupDiscovery, "a", "default")


async def test_clients_find_the_parent_of_a_body_in_the_registry(client: Client) -> None:
    (pods,) = [resource for resource in await client.resources() if resource.storage.message is core.Pod]
    assert {sub.name: sub.body for sub in pods.subresources if sub.body is not None}["binding"] is core.Binding
    binding = core.Binding()
    binding.metadata.name, binding.metadata.namespace, binding.target.name = "p", "default", "n"
    with pytest.raises(NotFound, match='pods "p" not found'):
        await client.create(binding, subresource="binding", name="p")
    with pytest.raises(NotFound, match="is not served"):
        await client.create(binding, subresource="nope", name="p")


async def test_a_resource_is_read_whatever_happens_meanwhile() -> None:
    """Changes before, during and after the reading of a new resource's objects, and a whole load in its midst."""
    store, registry, resource = MemoryStore(), Registry(), discoveries()
    cache = WatchCache(registry)
    feed = Feed(store, cache)
    backend = Backend(store, cache, feed)

    def put(name: str, state: str) -> None:
        obj = discovery_of(name)
        obj.metadata.labels["state"] = state
        store.apply(
            Transaction(
                {},
                [
                    Put(
                        f"{resource.key_prefix}default/{name}",
                        envelope.wrap("apidiscovery.k8s.io/v2", "APIGroupDiscovery", obj.SerializeToString()),
                    )
                ],
            )
        )

    put("kept", "1")
    put("changed", "1")
    put("gone", "1")
    running = asyncio.create_task(feed.run())
    await backend.synced()
    await backend.reach(store.revision)
    registry.add(resource)
    assert not cache.whole.is_set()
    put("changed", "2")
    store.apply(Transaction({}, deletes=[f"{resource.key_prefix}default/gone"]))
    put("new", "1")
    await backend.synced()
    await backend.reach(store.revision)
    found = {entry.name: entry.shared_message.metadata.labels["state"] for entry in cache.collection(resource).listing(resource.key_prefix)}
    assert found == {"kept": "1", "changed": "2", "new": "1"}
    registry.remove(resource)
    put("unseen", "1")
    await backend.reach(store.revision)
    registry.add(resource)
    assert not cache.fill(resource, [], cache.revision - 1)  # a reading that began before
    assert cache.is_opening(resource)
    cache.load([], store.revision)  # a whole reading of the store, which is empty by now, comes first
    await backend.synced()
    assert not cache.is_opening(resource) and len(cache.collection(resource)) == 0
    running.cancel()


class Unwilling(MemoryStore):
    """Refuses to read one prefix for as long as there are errors left."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[Exception] = [status_error("ServiceUnavailable", "away"), Compacted(7)]

    async def range(self, prefix: str, *, start: str = "", revision: int = 0, limit: int = 0) -> RangePage:
        if self.errors and prefix == discoveries().key_prefix:
            raise self.errors.pop(0)
        return await super().range(prefix, start=start, revision=revision, limit=limit)


@virtual_time
async def test_a_resource_is_read_as_soon_as_the_store_allows() -> None:
    store, registry, resource = Unwilling(), Registry(), discoveries()
    cache = WatchCache(registry)
    feed = Feed(store, cache)
    backend = Backend(store, cache, feed)
    store.apply(
        Transaction(
            {},
            [
                Put(
                    f"{resource.key_prefix}default/a",
                    envelope.wrap("apidiscovery.k8s.io/v2", "APIGroupDiscovery", discovery_of("a").SerializeToString()),
                )
            ],
        )
    )
    running = asyncio.create_task(feed.run())
    await backend.synced()
    registry.add(resource)
    await backend.synced()
    assert store.errors == [] and len(cache.collection(resource)) == 1
    running.cancel()
    await asyncio.wait({running})


def test_names_and_keys_are_held_by_one_resource() -> None:
    registry, added = Registry((discoveries(),)), []
    registry.subscribe(lambda old, new: added.append((old, new)))
    with pytest.raises(ValueError, match="belong to groupdiscoveries"):
        registry.add(
            Resource(
                "others",
                (Version("apidiscovery.k8s.io", "v2", "Other", core.Node, core.NodeList),),
                key="groupdiscoveries",
            )
        )
    with pytest.raises(ValueError, match="is registered already"):
        registry.add(
            Resource(
                "groupdiscoveries",
                (Version("apidiscovery.k8s.io", "v2", "Other", core.Node, core.NodeList),),
                key="others",
            )
        )
    with pytest.raises(ValueError, match="is registered already"):
        registry.add(Resource("others", (Version("apidiscovery.k8s.io", "v2", "APIGroupDiscovery", core.Node, core.NodeList),)))
    with pytest.raises(KeyError):
        registry.remove(discoveries())
    assert added == []
    (first,) = registry
    second = discoveries()
    registry.replace(first, second)
    assert added == [(first, second)] and second in registry and first not in registry
    assert (
        registry.served("apidiscovery.k8s.io", "v2", "groupdiscoveries")
        is registry.named("apidiscovery.k8s.io", "v2", "APIGroupDiscovery")
        is registry.of(apidiscovery.APIGroupDiscovery)
        is second.storage
    )
