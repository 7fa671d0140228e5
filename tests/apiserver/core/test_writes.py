"""What writes do on a real etcd: metadata, concurrency, deletion, sub-resources."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.message import Message

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError
from services.apiserver.api import Ref, Written
from tests.support.caller import Caller


def ref(message: type[Message], name: str = "", subresource: str = "", namespace: str = "default") -> Ref:
    version = version_of(message)
    return Ref(version, namespace if version.resource.namespaced else "", name, subresource)


def config_map(name: str = "a", **data: str) -> core.ConfigMap:
    obj = core.ConfigMap(data=data)
    obj.metadata.name = name
    return obj


def pod(name: str = "p", node: str = "") -> core.Pod:
    obj = core.Pod()
    obj.metadata.name, obj.spec.node_name = name, node
    obj.spec.containers.add(name="c", image="busybox")
    return obj


def deployment(name: str = "d") -> apps.Deployment:
    obj = apps.Deployment()
    obj.metadata.name = name
    obj.spec.selector.match_labels["a"] = obj.spec.template.metadata.labels["a"] = "b"
    obj.spec.template.spec.containers.add(name="c", image="nginx:1")
    return obj


async def create(api: Caller, obj: Any, **options: Any) -> Any:
    return (await api.create(ref(type(obj)), obj, meta.CreateOptions(**options))).message


async def get(api: Caller, message: type[Message], name: str) -> Any:
    return (await api.get(ref(message, name))).message


async def delete(api: Caller, message: type[Message], name: str, **options: Any) -> Written:
    return await api.delete(ref(message, name), meta.DeleteOptions(**options))


async def refused(call: Any) -> meta.Status:
    with pytest.raises(StatusError) as caught:
        await call
    return caught.value.status


async def test_namespaces_must_exist_and_live(api: Caller) -> None:
    missing = ref(core.ConfigMap, namespace="nope")
    status = await refused(api.create(missing, config_map(), meta.CreateOptions()))
    assert (status.code, status.message, status.details.kind) == (404, 'namespaces "nope" not found', "namespaces")
    namespace = core.Namespace()
    namespace.metadata.name = "n1"
    await create(api, namespace)
    going: Any = (await delete(api, core.Namespace, "n1")).message
    assert going.status.phase == "Terminating" and going.metadata.HasField("deletion_timestamp")
    status = await refused(api.create(ref(core.ConfigMap, namespace="n1"), config_map("x"), meta.CreateOptions()))
    assert status.message == 'configmaps "x" is forbidden: unable to create new content in namespace n1 because it is being terminated'
    assert [(cause.reason, cause.field) for cause in status.details.causes] == [("NamespaceTerminating", "metadata.namespace")]
    del going.spec.finalizers[:]
    await api.update(ref(core.Namespace, "n1", "finalize"), going, meta.UpdateOptions())
    assert (await refused(get(api, core.Namespace, "n1"))).code == 404
    assert (await refused(delete(api, core.Namespace, "default"))).reason == "Forbidden"


async def test_a_dry_run_leaves_nothing(api: Caller) -> None:
    tried = await create(api, config_map(k="v"), dry_run=["All"])
    assert tried.metadata.uid and not tried.metadata.resource_version
    assert (await refused(get(api, core.ConfigMap, "a"))).code == 404
    stored = await create(api, config_map(k="v"))
    changed: Any = (await api.patch(ref(core.ConfigMap, "a"), "merge", b'{"data":{"k":"w"}}', meta.PatchOptions(dry_run=["All"]))).message
    await delete(api, core.ConfigMap, "a", dry_run=["All"])
    assert changed.data["k"] == "w" and await get(api, core.ConfigMap, "a") == stored
    assert (await refused(create(api, config_map(), dry_run=["All"]))).reason == "AlreadyExists"


async def test_unconditional_writes_never_lose_to_one_another(api: Caller) -> None:
    await create(api, config_map())
    patches = (b'{"data":{"k%d":"v"}}' % number for number in range(5))
    await asyncio.gather(*(api.patch(ref(core.ConfigMap, "a"), "merge", patch, meta.PatchOptions()) for patch in patches))
    assert len((await get(api, core.ConfigMap, "a")).data) == 5


async def test_a_stale_revision_conflicts_in_kubernetes_words(api: Caller) -> None:
    first = await create(api, config_map())
    await api.patch(ref(core.ConfigMap, "a"), "merge", b'{"data":{"k":"v"}}', meta.PatchOptions())
    words = (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    status = await refused(api.update(ref(core.ConfigMap, "a"), first, meta.UpdateOptions()))
    assert (status.code, status.message) == (409, words)
    stale = b'{"metadata":{"resourceVersion":"1"},"data":{"k":"w"}}'
    assert (await refused(api.patch(ref(core.ConfigMap, "a"), "merge", stale, meta.PatchOptions()))).message == words


async def test_identity_does_not_change(api: Caller) -> None:
    created = await create(api, config_map())
    other = config_map("other")
    status = await refused(api.update(ref(core.ConfigMap, "a"), other, meta.UpdateOptions()))
    assert status.message == "the name of the object (other) does not match the name on the URL (a)"
    first, created.metadata.uid = created.metadata.uid, "another"
    status = await refused(api.update(ref(core.ConfigMap, "a"), created, meta.UpdateOptions()))
    assert (status.reason, status.message) == (
        "Conflict",
        'Operation cannot be fulfilled on configmaps "a": StorageError: invalid object, Code: 4, Key: /registry/configmaps/default/a, '
        f"ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: another, UID in object meta: {first}",
    )
    with_revision = config_map("b")
    with_revision.metadata.resource_version = "5"
    assert "resourceVersion should not be set" in (await refused(create(api, with_revision))).message


async def test_an_equal_object_is_not_written(api: Caller) -> None:
    created = await create(api, deployment())
    same: Any = (await api.patch(ref(apps.Deployment, "d"), "strategic", b'{"spec":{"replicas":1}}', meta.PatchOptions())).message
    created.spec.template.spec.containers[0].resources.SetInParent()
    updated: Any = (await api.update(ref(apps.Deployment, "d"), created, meta.UpdateOptions())).message
    assert same.metadata.resource_version == updated.metadata.resource_version and updated.metadata.generation == 1


async def test_generation_follows_the_spec_and_status_stays_apart(api: Caller) -> None:
    await create(api, deployment())
    target, status_target = ref(apps.Deployment, "d"), ref(apps.Deployment, "d", "status")
    both = b'{"spec":{"replicas":9},"status":{"replicas":3}}'
    by_status: Any = (await api.patch(status_target, "merge", both, meta.PatchOptions())).message
    assert (by_status.spec.replicas, by_status.status.replicas, by_status.metadata.generation) == (1, 3, 1)
    by_main: Any = (await api.patch(target, "merge", b'{"spec":{"replicas":2},"status":{"replicas":7}}', meta.PatchOptions())).message
    assert (by_main.spec.replicas, by_main.status.replicas, by_main.metadata.generation) == (2, 3, 2)


async def test_scale_reads_and_writes(api: Caller) -> None:
    await create(api, deployment())
    target = ref(apps.Deployment, "d", "scale")
    scale: Any = (await api.get(target)).message
    assert isinstance(scale, autoscaling.Scale) and scale.spec.replicas == 1 and scale.status.selector == "a=b"
    scale.spec.replicas = 4
    changed: Any = (await api.update(target, scale, meta.UpdateOptions())).message
    assert changed.spec.replicas == 4
    changed = (await api.patch(target, "merge", b'{"spec":{"replicas":2}}', meta.PatchOptions())).message
    assert changed.spec.replicas == 2 and (await get(api, apps.Deployment, "d")).metadata.generation == 3
    scale.spec.replicas = 5
    assert (await refused(api.update(target, scale, meta.UpdateOptions()))).reason == "Conflict"
    assert (await refused(api.get(ref(core.ConfigMap, "d", "scale")))).code == 404


async def test_only_who_writes_the_template_hears_its_warnings(api: Caller) -> None:
    obj = deployment()
    env = obj.spec.template.spec.containers[0].env
    env.add(name="A", value="1")
    env.add(name="A", value="2")
    warned = (await api.create(ref(apps.Deployment), obj, meta.CreateOptions())).warnings
    assert len(warned) == 1 and "env[1]" in warned[0]
    for subresource, patch in (("scale", b'{"spec":{"replicas":2}}'), ("status", b'{"status":{"replicas":2}}')):
        target = ref(apps.Deployment, "d", subresource)
        assert (await api.patch(target, "merge", patch, meta.PatchOptions())).warnings == ()
    again = await api.patch(ref(apps.Deployment, "d"), "merge", b'{"metadata":{"labels":{"a":"b"}}}', meta.PatchOptions())
    assert again.warnings == warned


async def test_a_pod_ends_in_its_grace_period_which_only_shrinks(api: Caller) -> None:
    await create(api, pod(node="n"))
    going: Any = (await delete(api, core.Pod, "p")).message
    assert going.metadata.deletion_grace_period_seconds == 30
    shorter: Any = (await delete(api, core.Pod, "p", grace_period_seconds=5)).message
    assert shorter.metadata.deletion_grace_period_seconds == 5
    assert shorter.metadata.deletion_timestamp.seconds == going.metadata.deletion_timestamp.seconds - 25
    again: Any = (await delete(api, core.Pod, "p", grace_period_seconds=60)).message
    assert again.metadata == shorter.metadata
    gone: Any = (await delete(api, core.Pod, "p", grace_period_seconds=0)).message
    assert (gone.metadata.uid, gone.metadata.deletion_grace_period_seconds) == (going.metadata.uid, 0)
    assert int(gone.metadata.resource_version) > int(again.metadata.resource_version)
    assert (await refused(get(api, core.Pod, "p"))).code == 404


async def test_a_grace_period_beyond_all_time_ends_at_its_end(api: Caller) -> None:
    lasting = pod(node="n")
    lasting.spec.termination_grace_period_seconds = 1 << 40
    await create(api, lasting)
    going: Any = (await delete(api, core.Pod, "p")).message
    assert datetime.fromtimestamp(going.metadata.deletion_timestamp.seconds, UTC) == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    before = int(time.time())
    shorter: Any = (await delete(api, core.Pod, "p", grace_period_seconds=5)).message
    assert before + 5 <= shorter.metadata.deletion_timestamp.seconds <= int(time.time()) + 5


async def test_eviction_and_binding(api: Caller) -> None:
    created = await create(api, pod())
    binding = core.Binding()
    binding.metadata.name = "p"
    binding.target.kind, binding.target.name = "Node", "n"
    written = await api.create(ref(core.Pod, "p", "binding"), binding, meta.CreateOptions())
    answer: Any = written.message
    assert (answer.status, answer.code) == ("Success", 201)
    status = await refused(api.create(ref(core.Pod, "p", "binding"), binding, meta.CreateOptions()))
    assert status.reason == "Conflict" and 'pod p is already assigned to node "n"' in status.message
    binding.target.kind, binding.target.name = "Pod", ""
    malformed = await refused(api.create(ref(core.Pod, "p", "binding"), binding, meta.CreateOptions()))
    assert (malformed.code, malformed.reason, malformed.details.kind) == (422, "Invalid", "Binding")
    assert [(cause.reason, cause.field) for cause in malformed.details.causes] == [
        ("FieldValueNotSupported", "target.kind"),
        ("FieldValueRequired", "target.name"),
    ]
    eviction = policy.Eviction()
    eviction.metadata.name = "p"
    eviction.delete_options.preconditions.uid = "another"
    assert (await refused(api.create(ref(core.Pod, "p", "eviction"), eviction, meta.CreateOptions()))).reason == "Conflict"
    eviction.delete_options.preconditions.uid = created.metadata.uid
    await api.create(ref(core.Pod, "p", "eviction"), eviction, meta.CreateOptions())
    assert (await get(api, core.Pod, "p")).metadata.HasField("deletion_timestamp")


@pytest.mark.parametrize(("policy_name", "finalizer"), [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")])
async def test_propagation_leaves_work_for_the_garbage_collector(api: Caller, policy_name: str, finalizer: str) -> None:
    await create(api, deployment())
    going: Any = (await delete(api, apps.Deployment, "d", propagation_policy=policy_name)).message
    assert list(going.metadata.finalizers) == [finalizer] and going.metadata.generation == 2
    patch = b'{"metadata":{"finalizers":["x.io/late"]}}'
    late = await refused(api.patch(ref(apps.Deployment, "d"), "merge", patch, meta.PatchOptions()))
    assert "no new finalizers can be added if the object is being deleted" in late.message
    last: Any = (await api.patch(ref(apps.Deployment, "d"), "merge", b'{"metadata":{"finalizers":null}}', meta.PatchOptions())).message
    assert not last.metadata.finalizers and last.metadata.deletion_grace_period_seconds == 0
    assert (await refused(get(api, apps.Deployment, "d"))).code == 404


async def test_delete_collection_takes_what_is_selected(api: Caller) -> None:
    for name in "abc":
        obj = config_map(name)
        obj.metadata.labels["keep"] = str(name == "b").lower()
        await create(api, obj)
    page = await api.delete_collection(ref(core.ConfigMap), meta.DeleteOptions(), meta.ListOptions(label_selector="keep=false"))
    assert [entry.name for entry in page.entries] == ["a", "c"]
    assert [entry.name for entry in (await api.list(ref(core.ConfigMap), meta.ListOptions())).entries] == ["b"]


@pytest.mark.parametrize(
    ("patch_type", "patch", "strays"),
    [
        ("merge", b'{"data":{"a":"b","a":"c"}}', ['duplicate field "data.a"']),
        ("merge", b'{"metadata":{"labels":{"x":"y"}},"metadata":{},"nope":1}', ['duplicate field "metadata"', 'unknown field "nope"']),
        ("strategic", b'{"data":{"a":"b","a":"c"},"nope":[1]}', ['duplicate field "data.a"', 'unknown field "nope"']),
        (
            "json", b'[{"op":"add","path":"/data","value":{},"x":1,"op":"add"}]',
            ['json patch duplicate field "[0].op"', 'json patch unknown field "[0].x"'],
        ),
    ],
)  # fmt: skip
async def test_what_a_patch_repeats_is_told_or_refused(api: Caller, patch_type: str, patch: bytes, strays: list[str]) -> None:
    await create(api, config_map())
    target = ref(core.ConfigMap, "a")
    error = await refused(api.patch(target, patch_type, patch, meta.PatchOptions(field_validation="Strict")))
    assert error.code == 422 and error.message.endswith("strict decoding error: " + ", ".join(strays))
    assert list((await api.patch(target, patch_type, patch, meta.PatchOptions(field_validation="Warn"))).warnings) == strays
    assert not (await api.patch(target, patch_type, patch, meta.PatchOptions(field_validation="Ignore"))).warnings


async def test_a_patch_after_which_there_is_no_object(api: Caller) -> None:
    await create(api, config_map())
    for patch_type, patch, shown, problem in (
        ("merge", b'{"data":5}', '\\"data\\":5', "json: cannot unmarshal"),
        ("strategic", b'{"immutable":"x"}', '"map[immutable:x]"', "unrecognized type: bool"),
        ("strategic", b'{"metadata":{"labels":"invalid"}}', '"map[metadata:map[labels:invalid]]"', "cannot restore map from string"),
        ("strategic", b'{"metadata":{"finalizers":"a"}}', '"map[metadata:map[finalizers:a]]"', "cannot restore slice from string"),
        ("strategic", b'{"metadata":{"generateName":5}}', '"map[metadata:map[generateName:5]]"', "cannot convert int64 to string"),
        ("strategic", b'{"metadata":[]}', '"map[metadata:[]]"', "cannot restore struct from: slice"),
    ):
        error = await refused(api.patch(ref(core.ConfigMap, "a"), patch_type, patch, meta.PatchOptions()))
        assert (error.code, error.details.causes[0].reason) == (422, "FieldValueInvalid")
        assert shown in error.message and problem in error.message
        assert error.message.startswith(' "" is invalid: patch: Invalid value: ')


async def test_bad_patches_are_refused_plainly(api: Caller) -> None:
    await create(api, config_map())
    target = ref(core.ConfigMap, "a")
    assert (await refused(api.patch(target, "apply", b"{}", meta.PatchOptions()))).code == 422
    assert (await refused(api.patch(target, "apply", b"{}", meta.PatchOptions(field_manager="m")))).code == 400
    assert (await refused(api.patch(target, "merge", b"{", meta.PatchOptions()))).code == 400
    assert (await refused(api.patch(target, "json", b"{}", meta.PatchOptions()))).code == 400
    strict = meta.PatchOptions(field_validation="Strict")
    unknown = await refused(api.patch(target, "merge", b'{"nope":1}', strict))
    assert (unknown.code, unknown.details.causes[0].field) == (422, "patch")
    assert unknown.message.endswith('strict decoding error: unknown field "nope"')
    lax = await api.patch(target, "merge", b'{"nope":1}', meta.PatchOptions(field_validation="Warn"))
    assert lax.warnings == ('unknown field "nope"',)
    assert (await refused(api.patch(ref(core.ConfigMap, "none"), "merge", b"{}", meta.PatchOptions()))).code == 404
