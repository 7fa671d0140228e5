"""What holds for requests on every path: who asks is known, and how they are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import catalog
from knarr.machinery.errors import BadRequest, Forbidden, NotFound, StatusError
from knarr.machinery.resources import Registry, Resource, Route, Version
from knarr.service.authentication import User, set_current_user
from services.apiserver.api import Ref, Request
from services.apiserver.authorization import AllowAuthenticated, refusal
from services.apiserver.local import REMEMBERED, LocalClient
from services.apiserver.pipeline.parts import PARTS
from services.apiserver.pipeline.posted import POSTED
from services.apiserver.pipeline.proxy import FINDERS
from services.apiserver.servicer import ResourceServicer, type_url
from tests.apiserver.pipeline.world import World, config_map, deployment, fill, node, pod, ref, running
from tests.support.virtual_time import virtual_time

ALICE = User("alice", groups=("system:authenticated",))
REFERENCE = face.ResourceRef(version="v1", resource="configmaps", namespace="default", name="c")


class Context:
    """Of an RPC whose caller waits five more seconds."""

    def time_remaining(self) -> float:
        return 5.0

    def peer(self) -> str:
        return "ipv4:192.0.2.7:4711"

    async def send_initial_metadata(self, metadata: object) -> None:
        pass


def packed(obj: Any) -> AnyMessage:
    return AnyMessage(type_url=type_url(type(obj)), value=obj.SerializeToString())


async def _commands() -> AsyncIterator[face.ExecRequest]:
    yield face.ExecRequest(start=face.ExecStart(namespace="default", pod="p", command=["ls"], stdout=True))


async def _attachment() -> AsyncIterator[face.AttachRequest]:
    yield face.AttachRequest(start=face.ExecStart(namespace="default", pod="p", stdout=True))


async def _connection() -> AsyncIterator[face.PortForwardRequest]:
    yield face.PortForwardRequest(start=face.PortForwardStart(namespace="default", pod="p", port=80))
    yield face.PortForwardRequest(data=b"x")


async def _passed() -> AsyncIterator[face.ProxyRequest]:
    yield face.ProxyRequest(start=face.ProxyStart(ref=face.ResourceRef(resource="pods", namespace="default", name="p")))


async def _without_address(stream: AsyncIterator[Any]) -> None:
    with pytest.raises(BadRequest, match="address not allowed"):
        await anext(stream)


async def _one(stream: AsyncIterator[Any]) -> None:
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]


async def _unserved(call: Awaitable[Any]) -> None:
    with pytest.raises(StatusError):
        await call


ELSEWHERE = face.ResourceRef(group="elsewhere.example.org", version="v1", resource="numbers", namespace="default")
COLLECTION = face.ResourceRef(version="v1", resource="configmaps", namespace="default")
RPCS: dict[str, tuple[str, Callable[[ResourceServicer], Awaitable[Any]]]] = {
    "Get": ("get", lambda to: to.Get(face.GetRequest(ref=REFERENCE), Context())),
    "List": ("list", lambda to: to.List(face.ListRequest(ref=COLLECTION), Context())),
    "Watch": ("watch", lambda to: _one(to.Watch(face.WatchRequest(ref=COLLECTION), Context()))),
    "Create": ("create", lambda to: to.Create(face.CreateRequest(ref=COLLECTION, object=packed(config_map("new"))), Context())),
    "Update": ("update", lambda to: to.Update(face.UpdateRequest(ref=REFERENCE, object=packed(config_map())), Context())),
    "Patch": (
        "patch",
        lambda to: to.Patch(face.PatchRequest(ref=REFERENCE, type=face.PATCH_TYPE_MERGE, patch=b'{"data":{"a":"b"}}'), Context()),
    ),
    "AskElsewhere": ("list", lambda to: _unserved(to.AskElsewhere(face.AskElsewhereRequest(ref=ELSEWHERE), Context()))),
    "Delete": ("delete", lambda to: to.Delete(face.DeleteRequest(ref=REFERENCE), Context())),
    "DeleteCollection": ("deletecollection", lambda to: to.DeleteCollection(face.DeleteCollectionRequest(ref=COLLECTION), Context())),
    "Log": ("get", lambda to: _one(to.Log(face.LogRequest(namespace="default", pod="p"), Context()))),
    "Exec": ("create", lambda to: _one(to.Exec(_commands(), Context()))),
    "Attach": ("create", lambda to: _one(to.Attach(_attachment(), Context()))),
    "PortForward": ("create", lambda to: _one(to.PortForward(_connection(), Context()))),
    "Proxy": ("get", lambda to: _without_address(to.Proxy(_passed(), Context()))),
}


def test_every_rpc_about_objects_is_listed() -> None:
    methods = set(face.DESCRIPTOR.services_by_name["ResourceService"].methods_by_name)
    # Server-side apply is refused for everybody, the list of what is served is no request for an object.
    assert methods - set(RPCS) == {"Apply", "ListResources"}


@pytest.mark.parametrize("name", RPCS)
def test_the_caller_of_an_rpc_and_its_deadline_come_through(name: str) -> None:
    @virtual_time
    async def run() -> None:
        async with running() as world:
            await fill(world, [config_map(), node(), pod(on="n")])
            set_current_user(ALICE)
            verb, call = RPCS[name]
            await call(ResourceServicer(world.caller.api, catalog.registry()))
            (request,) = world.guard.asked
            assert (request.user, request.verb, request.deadline) == (ALICE, verb, 5.0)
            assert {seen.user for seen in world.witness.seen} <= {"alice"}

    run()


@virtual_time
async def test_a_component_of_the_process_asks_in_its_own_name() -> None:
    async with running() as world:
        client = LocalClient(world.caller.api, ALICE, catalog.registry())
        created = await client.create(core.ConfigMap(metadata=meta.ObjectMeta(name="c", namespace="default")))
        await client.update(created)
        await client.get(core.ConfigMap, "c", "default")
        await client.list(core.ConfigMap)
        await client.delete(core.ConfigMap, "c", "default")
        verbs = [(request.user.name, request.verb, request.deadline) for request in world.guard.asked]
        assert verbs == [("alice", verb, 60.0) for verb in ("create", "update", "get", "list", "delete")]


@virtual_time
async def test_what_a_component_of_the_process_asks_for_again_is_known_by_the_same_reference() -> None:
    async with running() as world:
        client = LocalClient(world.caller.api, ALICE, catalog.registry())
        for name in ("a", "b"):
            await client.create(core.ConfigMap(metadata=meta.ObjectMeta(name=name, namespace="default")))
            await client.get(core.ConfigMap, "a", "default")
        asked = [(request.verb, request.ref) for request in world.guard.asked]
        assert all(request.is_kept for request in world.guard.asked)
        assert asked[0][1] is asked[2][1] and asked[1][1] is asked[3][1] and asked[0][1] is not asked[1][1]
        # Of many the first is forgotten, and is another one that says the same.
        for number in range(REMEMBERED):
            with pytest.raises(NotFound):
                await client.get(core.ConfigMap, str(number), "default")
        await client.get(core.ConfigMap, "a", "default")
        again = world.guard.asked[-1].ref
        assert again == asked[1][1] and again is not asked[1][1]


def test_whoever_is_not_made_out_may_do_nothing() -> None:
    with pytest.raises(Forbidden):
        AllowAuthenticated().authorize(Request(User.ANONYMOUS, "list", ref(core.Pod), meta.ListOptions()))
    AllowAuthenticated().authorize(Request(ALICE, "list", ref(core.Pod), meta.ListOptions()))


@pytest.mark.parametrize(
    ("verb", "where", "words"),
    [
        (
            "list",
            ref(core.Pod),
            'pods is forbidden: User "alice" cannot list resource "pods" in API group "" in the namespace "default"',
        ),
        (
            "update",
            ref(apps.Deployment, "d", "scale"),
            'deployments.apps "d" is forbidden: User "alice" cannot update resource "deployments/scale" in API group "apps" '
            'in the namespace "default"',
        ),
        (
            "get",
            ref(core.Namespace, "shop"),
            'namespaces "shop" is forbidden: User "alice" cannot get resource "namespaces" in API group "" in the namespace "shop"',
        ),
        (
            "delete",
            ref(core.Node, "n"),
            'nodes "n" is forbidden: User "alice" cannot delete resource "nodes" in API group "" at the cluster scope',
        ),
    ],
)
def test_refusals_are_in_kubernetes_words(verb: str, where: Ref, words: str) -> None:
    error = refusal(Request(ALICE, verb, where, None))
    assert (error.code, error.status.message, error.status.details.kind) == (403, words, where.resource.plural)
    assert refusal(Request(ALICE, verb, where, None), "not today").status.message == f"{words}: not today"


@virtual_time
async def test_a_request_is_taken_for_its_own_verb_only() -> None:
    """Else one verb would be authorized and another one done."""
    async with running() as world:
        await fill(world, [config_map()])
        request = world.caller.request("get", ref(core.ConfigMap, "c"), meta.DeleteOptions())
        with pytest.raises(ValueError, match="a request to get came as one to delete"):
            await world.caller.api.delete(request)
        assert world.guard.asked == []


def test_every_sub_resource_has_its_way() -> None:
    """What is read and written is a part of the object; what is posted is done; the rest are streams, or are passed on."""
    found = {entry.name for resource in catalog.registry() for entry in resource.subresources}
    assert found == (set(PARTS) - {""}) | set(POSTED) | {"log", "exec", "attach", "portforward", "proxy"}


def test_every_proxy_has_its_way() -> None:
    options = {entry.body for resource in catalog.registry() for entry in resource.subresources if entry.route is Route.PROXY}
    assert options == FINDERS.keys()


def test_options_tell_dry_runs_and_managers() -> None:
    where = ref(core.ConfigMap, "c")
    create = Request(ALICE, "create", where, meta.CreateOptions(dry_run=["All"], field_manager="me"))
    delete = Request(ALICE, "delete", where, meta.DeleteOptions())
    assert (create.dry_run, create.field_manager, delete.dry_run, delete.field_manager) == (True, "me", False, "")


LIMITS = Resource("limits", (Version("plain.example", "v1", "Limit", core.LimitRange, core.LimitRangeList),))


@virtual_time
async def test_a_kind_without_a_strategy_works() -> None:
    async with running(registry=Registry((*catalog.BUILT_IN, LIMITS))) as world:
        await _live(world, Ref(LIMITS.storage, "default"))


async def _live(world: World, collection: Ref) -> None:
    made = core.LimitRange(metadata=meta.ObjectMeta(name="l"))
    made.spec.limits.add(type="Container")
    await world.caller.create(collection, made, meta.CreateOptions())
    one = Ref(collection.version, "default", "l")
    await world.caller.patch(one, "merge", b'{"metadata":{"labels":{"a":"b"}}}', meta.PatchOptions())
    page = await world.caller.list(collection, meta.ListOptions(label_selector="a=b", field_selector="metadata.name=l"))
    assert [entry.name for entry in page.entries] == ["l"]
    await world.caller.delete(one, meta.DeleteOptions())
    assert not (await world.caller.list(collection, meta.ListOptions())).entries


@virtual_time
async def test_a_log_and_a_command_reach_the_container_that_is_meant() -> None:
    async with running() as world:
        several = pod("several", on="n")
        several.spec.containers.add(name="side", image="busybox")
        await fill(world, [node(), pod(on="n"), several, deployment()])
        for name, container in (("p", ""), ("several", "side")):
            wanted = face.LogRequest(namespace="default", pod=name, container=container)
            await _one(await world.caller.logs(ref(core.Pod, name, "log"), wanted))
            assert wanted.container == container  # the caller's own is left alone
        assert world.node.asked == [("p", "n", "c"), ("several", "n", "side")]
