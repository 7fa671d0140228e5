"""Objects of extension API servers for who asks by gRPC, or within the process: controllers that empty a namespace."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from aiohttp import web

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import BadRequest, Forbidden, NotFound, StatusError
from knarr.machinery.resources import Registry, Resource, Version
from knarr.objects.keys import metadata_of
from knarr.service.authentication import User, set_current_user
from services.apiserver.aggregation.keeper import LINE_BYTES
from services.apiserver.elsewhere import FOLLOW_SECONDS, MAX_RESOURCES, Elsewhere
from services.apiserver.servicer import ResourceServicer
from tests.apiserver.aggregation.conftest import Cluster
from tests.apiserver.definitions.asgi import definition
from tests.support.extension import GROUP, ROOT, VERSION, ExtensionServer
from tests.support.rights import ROLES

FLUNDERS = f"{ROOT}/namespaces/default/flunders"
ITEMS = [
    {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Flunder",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": revision, "finalizers": ["x/y"]},
        "spec": {"size": 1},
    }
    for name, revision in (("one", "17"), ("two", "no number"))
]


class Context:
    """Of an RPC without a deadline."""

    def time_remaining(self) -> None:
        return None


async def flunder(cluster: Cluster) -> Resource:
    return next(found for found in await cluster.client.resources() if found.plural == "flunders")


@pytest.fixture
async def served(cluster: Cluster, extension: ExtensionServer) -> Cluster:
    """Two flunders, which may be deleted; what was sent is kept in ``bodies``."""

    async def listed(request: web.BaseRequest) -> web.StreamResponse:
        body = {"kind": "FlunderList", "metadata": {"resourceVersion": "20", "continue": "more"}, "items": ITEMS}
        return web.Response(body=orjson.dumps(body))

    async def one(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "DELETE":
            extension.bodies.append(orjson.loads(await request.read()))
        return web.Response(body=orjson.dumps(ITEMS[0]))

    async def missing(request: web.BaseRequest) -> web.StreamResponse:
        status = {"kind": "Status", "status": "Failure", "reason": "NotFound", "message": "no such flunder", "code": 404}
        return web.Response(status=404, body=orjson.dumps(status))

    extension.play = {FLUNDERS: listed, f"{FLUNDERS}/one": one, f"{FLUNDERS}/none": missing}
    await cluster.served(extension)
    return cluster


async def test_what_controllers_delete_is_told(served: Cluster) -> None:
    found = {resource.plural: resource for resource in await served.client.resources()}
    verbs = ("delete", "get", "list", "update", "watch")
    assert (found["flunders"].namespaced, found["flunders"].verbs, found["flunders"].storage.kind) == (True, verbs, "Flunder")
    assert (found["fischers"].namespaced, found["fischers"].verbs) == (False, verbs)


async def test_a_page_of_objects(served: Cluster, extension: ExtensionServer) -> None:
    resource = await flunder(served)
    page = await served.client.list(resource.storage.message, "default", limit=2, label_selector="a=b")
    found: list[Any] = list(page.items)
    assert [(one.metadata.name, one.metadata.uid, list(one.metadata.finalizers)) for one in found] == [
        ("one", "uid-one", ["x/y"]), ("two", "uid-two", ["x/y"]),
    ]  # fmt: skip
    assert (page.continue_token, found[0].metadata.resource_version) == ("more", "17")
    _, target, headers = extension.heard[-1]
    assert (target, headers["x-remote-user"]) == (f"{FLUNDERS}?labelSelector=a%3Db&limit=2", ["admin"])


async def test_a_deletion(served: Cluster, extension: ExtensionServer) -> None:
    resource = await flunder(served)
    await served.client.delete(resource.storage.message, "one", "default", propagation_policy="Background", uid="uid-one")
    (body,) = extension.bodies
    assert body == {
        "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background", "preconditions": {"uid": "uid-one"},
    }  # fmt: skip
    with pytest.raises(NotFound, match="no such flunder"):
        await served.client.delete(resource.storage.message, "none", "default")


async def test_by_grpc(served: Cluster) -> None:
    set_current_user(User("bob", groups=("system:masters",)))
    servicer = ResourceServicer(served.api.server.api, served.api.server.registry)
    told = [
        found for found in (await servicer.ListResources(face.ListResourcesRequest(), Context())).resources if found.plural == "flunders"
    ]
    assert [version.message for version in told[0].versions] == ["knarr.api.runtime.v1.Unknown"]
    ref = face.ResourceRef(group=GROUP, resource="flunders", namespace="default")
    page = await servicer.List(face.ListRequest(ref=ref), Context())
    assert len(page.items) == 2
    ref.name = "one"
    answer = await servicer.Get(face.GetRequest(ref=ref), Context())
    assert b'"size":1' in answer.object.value
    await servicer.Delete(face.DeleteRequest(ref=ref), Context())
    for refused in (
        servicer.Patch(face.PatchRequest(ref=ref, type=face.PATCH_TYPE_MERGE, patch=b"{}"), Context()),
        servicer.DeleteCollection(face.DeleteCollectionRequest(ref=ref), Context()),
    ):
        with pytest.raises(StatusError) as caught:
            await refused
        assert caught.value.code == 405


METRICS = f"{ROOT}/namespaces/default/pods/*/rate"


async def test_what_has_no_objects(served: Cluster, extension: ExtensionServer) -> None:
    async def values(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b'{"items": [{"value": "5"}]}')

    extension.play[METRICS] = values
    answer = await served.client.ask_elsewhere(GROUP, "pods", "default", "*", "rate", query={"labelSelector": "a=b"})
    assert answer == b'{"items": [{"value": "5"}]}'
    _, target, headers = extension.heard[-1]
    assert (target, headers["x-remote-user"]) == (f"{METRICS}?labelSelector=a%3Db", ["admin"])
    set_current_user(User("bob", groups=("system:masters",)))
    servicer = ResourceServicer(served.api.server.api, served.api.server.registry)
    ref = face.ResourceRef(group=GROUP, resource="pods", namespace="default", name="*", subresource="rate")
    assert (await servicer.AskElsewhere(face.AskElsewhereRequest(ref=ref), Context())).answer == answer


@pytest.mark.parametrize("name", ["..", "a/../b", "a/b"])
async def test_no_name_leads_elsewhere(served: Cluster, name: str) -> None:
    with pytest.raises(BadRequest, match="have a slash"):
        await served.client.ask_elsewhere(GROUP, "pods", "default", name, "rate", query={})


async def test_what_has_no_objects_is_asked_for_by_who_may(served: Cluster) -> None:
    stranger = served.api.client(User("mallory", groups=("system:authenticated",)))
    served.api.server.api.pipeline.authorizer.modes = (ROLES,)  # type: ignore[attr-defined]
    with pytest.raises(Forbidden, match=r'cannot get resource "pods/rate" in API group "wardle\.example\.com"'):
        await stranger.ask_elsewhere(GROUP, "pods", "default", "*", "rate", query={})


def watched(extension: ExtensionServer, *lines: bytes, status: int = 200) -> None:
    """What is answered to a list or watch of flunders."""

    async def play(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, body=b"\n".join(lines))

    extension.play[FLUNDERS] = play


async def heard(served: Cluster) -> list[tuple[str, str]]:
    resource, found = await flunder(served), list[tuple[str, str]]()
    async for batch in served.client.watch(resource.storage.message, "default", resource_version="17"):
        found += [(event.type, metadata_of(event.object).resource_version) for event in batch]
    return found


async def test_a_watch(served: Cluster, extension: ExtensionServer) -> None:
    bookmark = {"type": "BOOKMARK", "object": {"kind": "Flunder", "metadata": {"resourceVersion": "30"}}}
    told = [{"type": "MODIFIED", "object": ITEMS[0]}, bookmark, {"type": "DELETED", "object": ITEMS[0]}]
    watched(extension, *map(orjson.dumps, told), b"")
    assert await heard(served) == [("MODIFIED", "17"), ("BOOKMARK", "30"), ("DELETED", "17")]
    _, target, headers = extension.heard[-1]
    assert target == f"{FLUNDERS}?watch=true&allowWatchBookmarks=true&resourceVersion=17&timeoutSeconds={FOLLOW_SECONDS}"
    assert headers["x-remote-user"] == ["admin"]


@pytest.mark.parametrize(
    ("lines", "status", "words"),
    [
        ([b'{"type":"ERROR","object":{"kind":"Status","reason":"Expired","message":"too old","code":410}}', b""], 200, "too old"),
        ([b'{"type":"ERROR"}', b""], 200, "the other server ended a watch"),
        ([b"nonsense", b""], 200, "cannot be read"),
        ([b'{"type":"ADDED","object":{"metadata":{"name":5}}}', b""], 200, "cannot be read"),
        ([b'{"type":"EXPLODED","object":{}}', b""], 200, "it is no event of a watch"),
        ([b"[]", b""], 200, "it is no event of a watch"),
        ([b"x" * (LINE_BYTES + 1)], 200, f"a line of the answer has more than {LINE_BYTES} bytes"),
        ([b'{"kind":"Status","reason":"Forbidden","message":"not you","code":403}'], 403, "not you"),
        ([b"away"], 502, "the other server answered 502"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_watch_that_ends_badly(served: Cluster, extension: ExtensionServer, lines: list[bytes], status: int, words: str) -> None:
    watched(extension, *lines, status=status)
    with pytest.raises(StatusError, match=words):
        await heard(served)


async def test_a_watch_of_one_that_is_away(served: Cluster) -> None:
    served.node.ports = {}
    with pytest.raises(StatusError, match="connection refused") as caught:
        await heard(served)
    assert caught.value.code == 503


async def test_a_replacement(served: Cluster, extension: ExtensionServer) -> None:
    async def play(request: web.BaseRequest) -> web.StreamResponse:
        extension.bodies.append((request.method, orjson.loads(await request.read() or b"null")))
        return web.Response(body=orjson.dumps(ITEMS[0]))

    extension.play[f"{FLUNDERS}/one"] = play
    resource = await flunder(served)
    found: Any = await served.client.get(resource.storage.message, "one", "default")
    del found.metadata.finalizers[:]
    await served.client.update(found)
    metadata = {key: value for key, value in ITEMS[0]["metadata"].items() if key != "finalizers"}  # type: ignore[attr-defined]
    assert extension.bodies[-1] == ("PUT", {**ITEMS[0], "metadata": {**metadata, "creationTimestamp": None}})


@pytest.mark.parametrize("body", [b"nonsense", b"[]", b"{}", b'{"items":[5]}', b'{"items":[{"metadata":{"name":5}}]}'])
async def test_a_list_that_is_none(served: Cluster, extension: ExtensionServer, body: bytes) -> None:
    async def lie(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=body)

    extension.play[FLUNDERS] = lie
    resource = await flunder(served)
    with pytest.raises(StatusError) as caught:
        await served.client.list(resource.storage.message, "default")
    assert caught.value.code == 503


async def test_a_server_that_is_away(served: Cluster) -> None:
    """Its objects may be there still: a namespace waits for it."""
    resource = await flunder(served)
    served.node.ports = {}
    with pytest.raises(StatusError, match="connection refused") as caught:
        await served.client.list(resource.storage.message, "default")
    assert caught.value.code == 503
    assert await flunder(served) is resource


async def test_a_definition_of_the_same_resource_is_told_instead(served: Cluster) -> None:
    """Clients know a resource by its group and its name."""
    defined = definition("flunders", GROUP, "Flunder")
    answer = await served.rest.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", orjson.dumps(defined))
    assert answer.status == 201

    async def own() -> bool:
        return (await flunder(served)).stored

    await served.until(own)
    assert len([found for found in await served.client.resources() if found.plural == "flunders"]) == 1


def test_names_that_come_twice() -> None:
    def resource(plural: str, version: str, kind: str) -> Resource:
        made = Version("g", version, kind, meta.PartialObjectMetadata, None)
        return Resource(plural, (made,), stored=False, key=f"elsewhere/g/{version}/{plural}")

    elsewhere = Elsewhere()
    elsewhere.serve([resource("as", "v1", "A"), resource("as", "v2", "A"), resource("bs", "v1", "A"), resource("cs", "v1", "C")])
    assert [(found.plural, found.storage.version) for found in elsewhere.registry] == [("as", "v1"), ("cs", "v1")]
    assert len(elsewhere.beside(Registry())) == 2


def test_so_many_are_told_and_nothing_is_done_for_the_same() -> None:
    """A hundred servers may each say that they serve a thousand; and whenever one comes or goes, all are told anew."""

    def made(number: int) -> Resource:
        version = Version(GROUP, VERSION, f"Kind{number}", meta.PartialObjectMetadata, None)
        return Resource(f"kind{number}s", (version,), stored=False, key=f"elsewhere/kind{number}s")

    found, elsewhere = [made(number) for number in range(2 * MAX_RESOURCES)], Elsewhere()
    elsewhere.serve(iter(found))
    before = elsewhere.registry
    assert [*before] == found[:MAX_RESOURCES]
    elsewhere.serve(iter(found))
    assert elsewhere.registry is before
    elsewhere.serve(found[1:3])
    assert [*elsewhere.registry] == found[1:3]
    elsewhere.serve(())
    assert not [*elsewhere.registry]
