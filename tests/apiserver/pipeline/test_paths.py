"""Every path through the pipeline, by verb and sub-resource: the authorizer is asked once, and admission in both phases where something
is written. A sub-resource or a verb that the registry has and ``PATHS`` has not fails ``test_every_path_is_listed``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.authentication.v1 import authentication_pb2 as authentication
from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.machinery import catalog
from knarr.machinery.errors import Forbidden, StatusError, forbidden, status_error
from services.apiserver.admission.attributes import Attributes
from tests.apiserver.pipeline.world import Seen, World, config_map, deployment, fill, namespace, node, pod, ref, running
from tests.support.caller import CALLER
from tests.support.signing import signing_request
from tests.support.virtual_time import virtual_time

Call = Callable[[World], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Path:
    """``call`` goes it; ``verb`` is what the authorizer is asked about. What admission sees, in each phase, has ``operation``, ``name``
    and ``obj`` and ``old``, the kinds of the objects; no operation: admission is not asked."""

    call: Call
    verb: str
    operation: str = ""
    name: str = ""
    obj: str = ""
    old: str = ""


DRY_RUN = ["All"]


async def _first(stream: AsyncIterator[Any]) -> Any:
    try:
        return await anext(stream)
    finally:
        await stream.aclose()  # type: ignore[attr-defined]


async def _watch(world: World) -> None:
    await _first(world.caller.watch(ref(core.ConfigMap), meta.ListOptions()))


async def _log(world: World) -> None:
    options = face.LogRequest(namespace="default", pod="p")
    assert [data async for data in await world.caller.logs(ref(core.Pod, "p", "log"), options)] == [b"line"]


async def _nothing() -> AsyncIterator[face.ExecRequest]:
    none: tuple[face.ExecRequest, ...] = ()
    for never in none:
        yield never


async def _exec(world: World) -> None:
    options = face.ExecStart(namespace="default", pod="p", command=["ls"], stdout=True)
    command = await world.caller.exec(ref(core.Pod, "p", "exec"), options)
    assert [response.status.status async for response in command(_nothing())] == ["Success"]


async def _attach(world: World) -> None:
    options = face.ExecStart(namespace="default", pod="p", stdout=True)
    command = await world.caller.attach(ref(core.Pod, "p", "attach"), options)
    assert [response.status.status async for response in command(_nothing())] == ["Success"]


async def _port_forward(world: World) -> None:
    async def said() -> AsyncIterator[bytes]:
        yield b"hello"

    forward = await world.caller.port_forward(ref(core.Pod, "p", "portforward"), core.PodPortForwardOptions(ports=[80]))
    assert [data async for data in forward(80, said())] == [b"hello"]


def _proxy(verb: str) -> Callable[[World], Awaitable[Any]]:
    async def call(world: World) -> None:
        found = await world.caller.proxy(verb, ref(core.Node, "n:8080", "proxy"), core.NodeProxyOptions(path="/x"))
        assert (found.scheme, found.host) == ("http", "10.0.0.9:8080")

    return call


def _binding() -> core.Binding:
    return core.Binding(metadata=meta.ObjectMeta(name="free"), target=core.ObjectReference(kind="Node", name="n"))


def _eviction() -> policy.Eviction:
    return policy.Eviction(metadata=meta.ObjectMeta(name="p"))


def _scale() -> autoscaling.Scale:
    return autoscaling.Scale(metadata=meta.ObjectMeta(name="d"), spec=autoscaling.ScaleSpec(replicas=3))


def _with_status() -> apps.Deployment:
    changed = deployment()
    changed.status.replicas = 4
    return changed


SIGNING = certificates.CertificateSigningRequestSpec(request=signing_request("r"), signer_name="example.com/signer", usages=["client auth"])
DEBUG = b'{"spec":{"ephemeralContainers":[{"name":"debug","image":"busybox"}]}}'


def _debugged() -> core.Pod:
    changed = pod(on="n")
    common = core.EphemeralContainerCommon(name="debug", image="busybox")
    changed.spec.ephemeral_containers.add(ephemeral_container_common=common)
    return changed


def _request() -> certificates.CertificateSigningRequest:
    return certificates.CertificateSigningRequest(metadata=meta.ObjectMeta(name="r"), spec=SIGNING)


def _approved() -> certificates.CertificateSigningRequest:
    request = _request()
    request.status.conditions.add(type="Approved", status="True")
    return request


# By sub-resource and verb.
PATHS: dict[tuple[str, str], Path] = {
    ("", "get"): Path(lambda w: w.caller.get(ref(core.ConfigMap, "c")), "get"),
    ("", "list"): Path(lambda w: w.caller.list(ref(core.ConfigMap), meta.ListOptions()), "list"),
    ("", "watch"): Path(_watch, "watch"),
    ("", "create"): Path(
        lambda w: w.caller.create(ref(core.ConfigMap), config_map("new"), meta.CreateOptions()), "create", "CREATE", "new", "ConfigMap"
    ),
    ("", "update"): Path(
        lambda w: w.caller.update(ref(core.ConfigMap, "c"), config_map(a="b"), meta.UpdateOptions()),
        "update", "UPDATE", "c", "ConfigMap", "ConfigMap",
    ),
    ("", "patch"): Path(
        lambda w: w.caller.patch(ref(core.ConfigMap, "c"), "merge", b'{"data":{"a":"b"}}', meta.PatchOptions()),
        "patch", "UPDATE", "c", "ConfigMap", "ConfigMap",
    ),
    ("", "delete"): Path(
        lambda w: w.caller.delete(ref(core.ConfigMap, "c"), meta.DeleteOptions()), "delete", "DELETE", "c", "", "ConfigMap"
    ),
    ("", "deletecollection"): Path(
        lambda w: w.caller.delete_collection(ref(core.ConfigMap), meta.DeleteOptions(), meta.ListOptions()),
        "deletecollection", "DELETE", "c", "", "ConfigMap",
    ),
    ("status", "get"): Path(lambda w: w.caller.get(ref(apps.Deployment, "d", "status")), "get"),
    ("status", "update"): Path(
        lambda w: w.caller.update(ref(apps.Deployment, "d", "status"), _with_status(), meta.UpdateOptions()),
        "update", "UPDATE", "d", "Deployment", "Deployment",
    ),
    ("status", "patch"): Path(
        lambda w: w.caller.patch(ref(apps.Deployment, "d", "status"), "merge", b'{"status":{"replicas":4}}', meta.PatchOptions()),
        "patch", "UPDATE", "d", "Deployment", "Deployment",
    ),
    ("approval", "get"): Path(lambda w: w.caller.get(ref(certificates.CertificateSigningRequest, "r", "approval")), "get"),
    ("approval", "update"): Path(
        lambda w: w.caller.update(ref(certificates.CertificateSigningRequest, "r", "approval"), _approved(), meta.UpdateOptions()),
        "update", "UPDATE", "r", "CertificateSigningRequest", "CertificateSigningRequest",
    ),
    ("approval", "patch"): Path(
        lambda w: w.caller.patch(
            ref(certificates.CertificateSigningRequest, "r", "approval"), "merge",
            b'{"status":{"conditions":[{"type":"Approved","status":"True"}]}}', meta.PatchOptions(),
        ),
        "patch", "UPDATE", "r", "CertificateSigningRequest", "CertificateSigningRequest",
    ),
    ("scale", "get"): Path(lambda w: w.caller.get(ref(apps.Deployment, "d", "scale")), "get"),
    ("scale", "update"): Path(
        lambda w: w.caller.update(ref(apps.Deployment, "d", "scale"), _scale(), meta.UpdateOptions()),
        "update", "UPDATE", "d", "Scale", "Scale",
    ),
    ("scale", "patch"): Path(
        lambda w: w.caller.patch(ref(apps.Deployment, "d", "scale"), "merge", b'{"spec":{"replicas":3}}', meta.PatchOptions()),
        "patch", "UPDATE", "d", "Scale", "Scale",
    ),
    ("finalize", "update"): Path(
        lambda w: w.caller.update(ref(core.Namespace, "going", "finalize"), namespace("going"), meta.UpdateOptions()),
        "update", "UPDATE", "going", "Namespace", "Namespace",
    ),
    ("binding", "create"): Path(
        lambda w: w.caller.create(ref(core.Pod, "free", "binding"), _binding(), meta.CreateOptions()), "create", "CREATE", "free", "Binding"
    ),
    ("ephemeralcontainers", "get"): Path(lambda w: w.caller.get(ref(core.Pod, "p", "ephemeralcontainers")), "get"),
    ("ephemeralcontainers", "update"): Path(
        lambda w: w.caller.update(ref(core.Pod, "p", "ephemeralcontainers"), _debugged(), meta.UpdateOptions()),
        "update", "UPDATE", "p", "Pod", "Pod",
    ),
    ("ephemeralcontainers", "patch"): Path(
        lambda w: w.caller.patch(ref(core.Pod, "p", "ephemeralcontainers"), "strategic", DEBUG, meta.PatchOptions()),
        "patch", "UPDATE", "p", "Pod", "Pod",
    ),
    ("resize", "get"): Path(lambda w: w.caller.get(ref(core.Pod, "p", "resize")), "get"),
    ("resize", "update"): Path(
        lambda w: w.caller.update(ref(core.Pod, "p", "resize"), pod(on="n"), meta.UpdateOptions()), "update", "UPDATE", "p", "Pod", "Pod"
    ),
    ("resize", "patch"): Path(
        lambda w: w.caller.patch(ref(core.Pod, "p", "resize"), "merge", b"{}", meta.PatchOptions()), "patch", "UPDATE", "p", "Pod", "Pod"
    ),
    ("eviction", "create"): Path(
        lambda w: w.caller.create(ref(core.Pod, "p", "eviction"), _eviction(), meta.CreateOptions()),
        "create", "CREATE", "p", "Eviction",
    ),
    ("token", "create"): Path(
        lambda w: w.caller.create(ref(core.ServiceAccount, "default", "token"), authentication.TokenRequest(), meta.CreateOptions()),
        "create", "CREATE", "default", "TokenRequest",
    ),
    ("log", "get"): Path(_log, "get"),
    # A WebSocket begins with a GET; whoever may only read must not run anything all the same.
    ("exec", "get"): Path(_exec, "create", "CONNECT", "p", "ExecStart"),
    ("exec", "create"): Path(_exec, "create", "CONNECT", "p", "ExecStart"),
    ("attach", "get"): Path(_attach, "create", "CONNECT", "p", "ExecStart"),
    ("attach", "create"): Path(_attach, "create", "CONNECT", "p", "ExecStart"),
    ("portforward", "get"): Path(_port_forward, "create", "CONNECT", "p", "PodPortForwardOptions"),
    ("portforward", "create"): Path(_port_forward, "create", "CONNECT", "p", "PodPortForwardOptions"),
    **{
        ("proxy", verb): Path(_proxy(verb), verb, "CONNECT", "n:8080", "NodeProxyOptions")
        for verb in ("create", "delete", "get", "patch", "update")
    },
}  # fmt: skip
WRITING = {key: path for key, path in PATHS.items() if path.operation}
EVERY_PATH = pytest.mark.parametrize("key", PATHS, ids=lambda key: ":".join(key))
EVERY_WRITE = pytest.mark.parametrize("key", WRITING, ids=lambda key: ":".join(key))


async def begin(world: World) -> None:
    await world.caller.create(ref(core.Namespace), namespace("going"), meta.CreateOptions())
    reached = node()
    reached.status.addresses.add(type="InternalIP", address="10.0.0.9")
    await fill(world, [config_map(), deployment(), reached, pod(on="n"), pod("free"), _request()])


def stored(world: World) -> list[tuple[str, bytes]]:
    return [(item.key, item.value) for item in world.store.items("")]  # type: ignore[attr-defined]


def test_every_path_is_listed() -> None:
    served = {("", verb) for resource in catalog.registry() for verb in resource.verbs}
    served |= {(found.name, verb) for resource in catalog.registry() for found in resource.subresources for verb in found.verbs}
    assert served == set(PATHS)


@EVERY_PATH
def test_the_authorizer_is_asked_once_and_admission_in_both_phases(key: tuple[str, str]) -> None:
    @virtual_time
    async def run() -> None:
        async with running() as world:
            await begin(world)
            path = PATHS[key]
            await path.call(world)
            (request,) = world.guard.asked
            assert (request.user, request.verb, request.subresource) == (CALLER, path.verb, key[0])
            phases = ("mutate", "validate") if path.operation else ()
            resource, where = request.resource.plural, request.namespace
            assert world.witness.seen == [
                Seen(phase, path.operation, resource, key[0], where, path.name, path.obj, path.old, CALLER.name, False) for phase in phases
            ]

    run()


@EVERY_PATH
def test_nothing_is_read_or_written_for_whom_the_authorizer_refuses(key: tuple[str, str]) -> None:
    @virtual_time
    async def run() -> None:
        async with running() as world:
            await begin(world)
            before, world.guard.refuse = stored(world), forbidden("things", "t", "no")
            with pytest.raises(Forbidden, match="no"):
                await PATHS[key].call(world)
            assert (stored(world), world.witness.seen, world.node.asked) == (before, [], [])

    run()


@EVERY_WRITE
@pytest.mark.parametrize("phase", ["mutate", "validate"])
def test_a_refusal_in_either_phase_leaves_everything_as_it_was(key: tuple[str, str], phase: str) -> None:
    @virtual_time
    async def run() -> None:
        async with running() as world:
            await begin(world)
            before = stored(world)

            async def refuse(now: str, attributes: Attributes) -> bool:
                if now == phase:
                    raise status_error("Forbidden", f"refused in {phase}")
                return False

            world.witness.act = refuse
            with pytest.raises(Forbidden, match=f"refused in {phase}"):
                await WRITING[key].call(world)
            assert (stored(world), world.node.asked) == (before, [])

    run()


@EVERY_WRITE
@pytest.mark.parametrize("phase", ["mutate", "validate"])
def test_a_slow_plugin_is_named_at_the_deadline_and_etcd_is_not(key: tuple[str, str], phase: str) -> None:
    @virtual_time
    async def run() -> None:
        async with running() as world:
            await begin(world)
            before, loop_time = stored(world), world.caller.request("get", ref(core.Pod), None).deadline

            async def wait(now: str, attributes: Attributes) -> bool:
                if now == phase:
                    await asyncio.sleep(3600)
                return False

            world.witness.act = wait
            with pytest.raises(StatusError) as caught:
                await WRITING[key].call(world)
            message = caught.value.status.message
            assert (caught.value.code, caught.value.reason) == (504, "Timeout")
            assert "the admission plugin Witness" in message and "etcd" not in message
            assert world.caller.request("get", ref(core.Pod), None).deadline - loop_time == world.caller.seconds
            assert stored(world) == before

    run()
