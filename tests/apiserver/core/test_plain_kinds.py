"""A kind that is nothing but an entry in the registry, without a strategy: the whole API serves it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.node.v1 import node_pb2 as node
from knarr.machinery.catalog import SCALE, STATUS
from knarr.machinery.resources import Resource, Version
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.strategies import LATE, STRATEGIES, strategy_for
from tests.support.faces import RestClient

GROUP, MERGE = "plain.example", "application/merge-patch+json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def without_spec() -> Resource:
    return Resource("handlers", (Version(GROUP, "v1", "Handler", node.RuntimeClass, node.RuntimeClassList),), namespaced=False)


def with_scale() -> Resource:
    """Its selector is a map of labels, as in the older kinds."""
    version = Version(GROUP, "v1", "Copier", core.ReplicationController, core.ReplicationControllerList)
    return Resource("copiers", (version,), subresources=(STATUS, SCALE))


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiInMemory]:
    """The messages are those of kinds that have rules of their own; without these they are as good as any."""
    for message in (core.ReplicationController, node.RuntimeClass):
        monkeypatch.delitem(LATE, message)
    monkeypatch.setattr(strategy_for, "_entries", dict(STRATEGIES))
    async with ApiInMemory() as found:
        found.server.registry.add(without_spec())
        found.server.registry.add(with_scale())
        yield found


@pytest.fixture
def rest(api: ApiInMemory) -> RestClient:
    return RestClient(api)


HANDLERS, COPIERS = f"/apis/{GROUP}/v1/handlers", f"/apis/{GROUP}/v1/namespaces/default/copiers"
BODIES: dict[str, dict[str, Any]] = {
    HANDLERS: {"handler": "runc"},
    COPIERS: {"spec": {"replicas": 2, "selector": {"tier": "front", "app": "web"}}},
}


@pytest.mark.parametrize("path", [HANDLERS, COPIERS])
async def test_it_is_written_read_shown_and_deleted(rest: RestClient, path: str) -> None:
    made = await rest.call("POST", path, {"metadata": {"name": "a"}, **BODIES[path]})
    assert made.status == 201
    assert BODIES[path].items() <= made.json.items()
    replaced = await rest.call("PUT", f"{path}/a", {**made.json, "metadata": {**made.json["metadata"], "labels": {"x": "y"}}})
    assert (replaced.status, replaced.json["metadata"]["labels"]) == (200, {"x": "y"})
    patched = await rest.call("PATCH", f"{path}/a", {"metadata": {"labels": {"x": "z"}}}, content_type=MERGE)
    assert (patched.status, patched.json["metadata"]["labels"]) == (200, {"x": "z"})
    assert [item["metadata"]["name"] for item in (await rest.get(path)).json["items"]] == ["a"]
    table = (await rest.get(path, accept=TABLE)).json
    assert ([column["name"] for column in table["columnDefinitions"]], table["rows"][0]["cells"][0]) == (["Name", "Created At"], "a")
    assert (await rest.call("DELETE", f"{path}/a")).status == 200
    assert (await rest.get(f"{path}/a")).status == 404


async def test_a_scale_is_of_any_workload_that_has_one(rest: RestClient) -> None:
    await rest.call("POST", COPIERS, {"metadata": {"name": "a"}, **BODIES[COPIERS]})
    scale = (await rest.get(f"{COPIERS}/a/scale")).json
    assert (scale["spec"], scale["status"]["selector"]) == ({"replicas": 2}, "app=web,tier=front")
    assert (await rest.call("PUT", f"{COPIERS}/a/scale", {**scale, "spec": {"replicas": 5}})).json["spec"] == {"replicas": 5}
    assert (await rest.get(f"{COPIERS}/a")).json["spec"]["replicas"] == 5
