"""The life of an object of each kind in each version, as conformance suites since Kubernetes 1.21 ask for it: several are made, got,
listed, watched, patched, replaced, deleted and deleted together; and conditions of a status are patched and replaced by itself.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from knarr.machinery.resources import Version
from tests.apiserver.rest.http_client import HttpClient
from tests.apiserver.rest.live import TOKEN, LiveServer, running_server
from tests.apiserver.rest.test_answers_to_writes import VERSIONS, body_of, name_of

JSON, MERGE, STRATEGIC = "application/json", "application/merge-patch+json", "application/strategic-merge-patch+json"
# Their conditions the suites write, by group and kind.
WITH_CONDITIONS = {
    ("", "Namespace"), ("", "Node"), ("", "PersistentVolumeClaim"), ("", "ReplicationController"), ("", "Service"),
    ("apps", "DaemonSet"), ("apps", "Deployment"), ("apps", "ReplicaSet"), ("apps", "StatefulSet"), ("batch", "Job"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"), ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
}  # fmt: skip


@dataclass
class Collection:
    """Where the objects of one version lie that the tests make: all of them have its label."""

    client: HttpClient
    watcher: HttpClient
    version: Version
    label: str

    @property
    def path(self) -> str:
        return self._root + ("/namespaces/default/" if self.version.resource.namespaced else "/") + self.version.resource.plural

    @property
    def everywhere(self) -> str:
        return f"{self._root}/{self.version.resource.plural}"

    @property
    def _root(self) -> str:
        return f"/api{'s/' + self.version.group if self.version.group else ''}/{self.version.version}"

    @property
    def selected(self) -> str:
        return "?labelSelector=" + quote(f"lifecycle={self.label}")

    async def ask(self, method: str, path: str, body: Any = None, content_type: str = JSON) -> Any:
        answer = await self.client.request(method, path, body, content_type=content_type)
        assert answer.status in (200, 201, 202), answer.body
        return answer.json

    async def create(self, name: str) -> Any:
        body = body_of(self.version, name)
        body["metadata"]["labels"] = {"lifecycle": self.label}
        return await self.ask("POST", self.path, body)

    async def replace(self, place: str, change: Callable[[Any], object]) -> Any:
        """As clients do it: anew from what is there, as long as others write between (the server does, of a policy's types)."""
        while True:
            obj = await self.ask("GET", place)
            change(obj)
            answer = await self.client.request("PUT", place, obj, content_type=JSON)
            if answer.status != 409:
                assert answer.status == 200, answer.body
                return answer.json

    async def left(self) -> list[str]:
        """Those that nothing holds back."""
        listed = await self.ask("GET", self.path + self.selected)
        return [item["metadata"]["name"] for item in listed["items"] if not item["metadata"].get("deletionTimestamp")]

    async def watch(self, revision: str) -> None:
        await self.watcher.send("GET", f"{self.path}{self.selected}&watch=true&resourceVersion={revision}")
        assert (await self.watcher.head()).status == 200

    async def seen(self, annotations: dict[str, str]) -> None:
        """Waits until the watch tells that an object has these."""
        while True:
            for line in (await self.watcher.chunk()).splitlines():
                event = orjson.loads(line)
                assert event["type"] == "MODIFIED", event
                if annotations.items() <= event["object"]["metadata"].get("annotations", {}).items():
                    return


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(tmp_path_factory.mktemp("lifecycles"), in_memory=True) as found:
        yield found


@pytest.fixture
async def collection(server: LiveServer, version: Version, request: pytest.FixtureRequest) -> AsyncIterator[Collection]:
    context = ssl.create_default_context(cafile=str(server.ca))
    async with AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(HttpClient(server.port, context, TOKEN)) for _ in range(2)]
        yield Collection(one, other, version, request.function.__name__)


def of(version: Version) -> str:
    return f"{version.qualified}.{version.version}"


@pytest.mark.parametrize("version", VERSIONS, ids=of)
async def test_the_life_of_objects(collection: Collection, version: Version) -> None:
    c, names = collection, [name_of(version, what) for what in ("early", "late")]
    for name in names:
        created = await c.create(name)
    name = names[-1]
    assert (await c.ask("GET", f"{c.path}/{name}"))["metadata"]["uid"] == created["metadata"]["uid"]
    listed = await c.ask("GET", c.path + c.selected)
    assert len(listed["items"]) == len((await c.ask("GET", c.everywhere + c.selected))["items"]) == 2
    await c.watch(listed["metadata"]["resourceVersion"])

    patched = await c.ask("PATCH", f"{c.path}/{name}", {"metadata": {"annotations": {"patched": "true"}}}, MERGE)
    assert int(patched["metadata"]["resourceVersion"]) > int(created["metadata"]["resourceVersion"])
    await c.seen({"patched": "true"})
    updated = await c.replace(f"{c.path}/{name}", lambda obj: obj["metadata"]["annotations"].update(updated="true"))
    assert {"patched": "true", "updated": "true"}.items() <= updated["metadata"]["annotations"].items()
    await c.seen({"patched": "true", "updated": "true"})

    await c.ask("DELETE", f"{c.path}/{name}")
    assert await c.left() == names[:1]
    if "deletecollection" in version.resource.verbs:  # namespaces go one by one
        await c.ask("DELETE", c.path + c.selected)
        assert await c.left() == []


@pytest.mark.parametrize("version", [found for found in VERSIONS if (found.group, found.kind) in WITH_CONDITIONS], ids=of)
async def test_the_conditions_of_a_status(collection: Collection, version: Version) -> None:
    """By /status alone, and by it nothing else but the status and what labels and annotations say."""
    c, name = collection, name_of(version, "conditioned")
    created = await c.create(name)
    place = f"{c.path}/{name}/status"
    assert (await c.ask("GET", place))["metadata"]["uid"] == created["metadata"]["uid"]
    condition = {"type": "StatusPatched", "status": "True", "reason": "E2E", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    patch = {"status": {"conditions": [condition]}, "spec": {"paused": True}}
    patched = await c.ask("PATCH", place, patch, MERGE)
    assert condition.items() <= _of_type(patched, "StatusPatched").items()
    assert patched["spec"] == created["spec"]
    other = {**condition, "type": "StatusUpdate"}
    updated = await c.replace(place, lambda obj: obj["status"]["conditions"].append(other))
    assert other.items() <= _of_type(updated, "StatusUpdate").items()
    added = {"status": {"conditions": [{**condition, "type": "StatusAdded"}]}}
    await c.ask("PATCH", place, added, STRATEGIC)
    await c.replace(f"{c.path}/{name}", lambda obj: obj.update(status={}))
    assert _of_type(await c.ask("GET", place), "StatusAdded")


def _of_type(obj: Any, kind: str) -> Any:
    return next(condition for condition in obj["status"]["conditions"] if condition["type"] == kind)
