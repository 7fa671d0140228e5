"""Server-side apply through the pipeline: objects, their statuses and scales, one manager against others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import yaml

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import BadRequest, Conflict, Invalid, NotFound
from services.apiserver.results import Ref
from tests.apiserver.apply.managed import entry, managers, owned
from tests.apiserver.pipeline.world import World, config_map, ref, running

CONFIG_MAP = ref(core.ConfigMap, "c")
DEPLOYMENT = ref(apps.Deployment, "d")
SCALE = ref(apps.Deployment, "d", "scale")
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as found:
        yield found


async def apply(world: World, where: Ref, config: Any, manager: str = "m", **options: Any) -> Any:
    body = config if isinstance(config, bytes) else orjson.dumps(config)
    return (await world.caller.patch(where, "apply", body, meta.PatchOptions(field_manager=manager, **options))).message


async def update(world: World, where: Ref, change: Any, manager: str = "updater") -> Any:
    return (await world.caller.patch(where, "merge", orjson.dumps(change), meta.PatchOptions(field_manager=manager))).message


def configuration(name: str = "c", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def workload(image: str = "nginx:1", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": image}]
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers}}
    metadata = {"name": "d"}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec},
    }  # fmt: skip


async def test_what_is_not_there_is_created(world: World) -> None:
    written = await world.caller.patch(DEPLOYMENT, "apply", orjson.dumps(workload(replicas=2)), meta.PatchOptions(field_manager="m"))
    made: Any = written.message
    assert written.created
    assert (made.spec.replicas, made.spec.revision_history_limit, made.metadata.generation) == (2, 10, 1)
    assert managers(made) == ["m Apply apps/v1"]
    assert owned(made)["m Apply apps/v1"] == [
        ".spec.replicas", ".spec.selector",
        ".spec.template.metadata.labels.a",
        '.spec.template.spec.containers[name="c"]',
        '.spec.template.spec.containers[name="c"].image', '.spec.template.spec.containers[name="c"].name',
    ]  # fmt: skip


async def test_applying_again_writes_nothing(world: World) -> None:
    made = await apply(world, DEPLOYMENT, workload(replicas=2))
    again = await world.caller.patch(DEPLOYMENT, "apply", orjson.dumps(workload(replicas=2)), meta.PatchOptions(field_manager="m"))
    assert (again.message, again.created) == (made, False)


async def test_yaml_is_json(world: World) -> None:
    made = await apply(world, DEPLOYMENT, workload())
    assert await apply(world, DEPLOYMENT, yaml.safe_dump(workload()).encode()) == made


async def test_two_managers_share_an_object_and_what_one_gives_up_goes(world: World) -> None:
    await apply(world, CONFIG_MAP, configuration(a="1", b="2"), "one")
    both = await apply(world, CONFIG_MAP, configuration(c="3"), "other")
    assert dict(both.data) == {"a": "1", "b": "2", "c": "3"}
    left = await apply(world, CONFIG_MAP, configuration(a="1"), "one")
    assert dict(left.data) == {"a": "1", "c": "3"}
    assert owned(left) == {"one Apply v1": [".data.a"], "other Apply v1": [".data.c"]}


async def test_a_field_that_another_owns_is_a_conflict_that_names_it(world: World) -> None:
    await apply(world, DEPLOYMENT, workload(replicas=2), "one")
    with pytest.raises(Conflict) as caught:
        await apply(world, DEPLOYMENT, {**workload(), "spec": {"replicas": 3}}, "other")
    status = caught.value.status
    assert (status.code, status.message) == (409, 'Apply failed with 1 conflict: conflict with "one": .spec.replicas')
    assert [(cause.reason, cause.message, cause.field) for cause in status.details.causes] == [
        ("FieldManagerConflict", 'conflict with "one"', ".spec.replicas")
    ]
    assert (status.details.name, status.details.kind) == ("", "")
    forced = await apply(world, DEPLOYMENT, {**workload(), "spec": {"replicas": 3}}, "other", force=True)
    assert forced.spec.replicas == 3
    assert ".spec.replicas" not in owned(forced)["one Apply apps/v1"]
    assert owned(forced)["other Apply apps/v1"] == [".spec.replicas"]
    kept = await apply(world, DEPLOYMENT, workload("nginx:2"), "one")
    assert (kept.spec.replicas, kept.spec.template.spec.containers[0].image) == (3, "nginx:2")


async def test_many_conflicts_are_told_by_manager(world: World) -> None:
    await apply(world, CONFIG_MAP, configuration(a="1"), "one")
    await update(world, CONFIG_MAP, {"data": {"b": "1", "c": "1"}}, "kubectl-client-side-apply")
    with pytest.raises(Conflict) as caught:
        await apply(world, CONFIG_MAP, configuration(a="2", b="2", c="2"), "other")
    assert caught.value.status.message == (
        'Apply failed with 3 conflicts: conflicts with "kubectl-client-side-apply" using v1:\n- .data.b\n- .data.c\n'
        'conflicts with "one":\n- .data.a'
    )
    assert len(caught.value.status.details.causes) == 3


async def test_the_same_value_is_shared_and_no_conflict(world: World) -> None:
    await apply(world, CONFIG_MAP, configuration(a="1"), "one")
    await apply(world, CONFIG_MAP, configuration(a="1"), "other")
    await apply(world, CONFIG_MAP, configuration(), "one")
    found = await apply(world, CONFIG_MAP, configuration(a="2"), "other")
    assert (dict(found.data), owned(found)) == ({"a": "2"}, {"one Apply v1": [".data"], "other Apply v1": [".data.a"]})


async def test_defaults_are_not_owned_and_stay(world: World) -> None:
    await apply(world, DEPLOYMENT, workload(replicas=2))
    found = await apply(world, DEPLOYMENT, workload())
    assert found.spec.replicas == 1, "given up, and so defaulted"


async def test_lists_go_by_their_keys(world: World) -> None:
    config = workload()
    pod = config["spec"]["template"]["spec"]
    pod["containers"][0]["ports"] = [{"containerPort": 80}]
    pod["containers"][0]["env"] = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    await apply(world, DEPLOYMENT, config, "one")
    more = [{"name": "c", "ports": [{"containerPort": 443, "protocol": "TCP"}]}]
    other = {**config, "spec": {"template": {"spec": {"containers": more}}}}
    found = await apply(world, DEPLOYMENT, other, "other")
    (container,) = found.spec.template.spec.containers
    assert [port.container_port for port in container.ports] == [80, 443]
    pod["containers"][0]["env"].pop(0)
    found = await apply(world, DEPLOYMENT, config, "one")
    assert [variable.name for variable in found.spec.template.spec.containers[0].env] == ["B"]
    assert [port.container_port for port in found.spec.template.spec.containers[0].ports] == [80, 443]


async def test_finalizers_are_a_set(world: World) -> None:
    def with_finalizers(*names: str) -> Any:
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "finalizers": list(names)}}

    await apply(world, CONFIG_MAP, with_finalizers("a.example/x"), "one")
    found = await apply(world, CONFIG_MAP, with_finalizers("b.example/x"), "other")
    assert list(found.metadata.finalizers) == ["a.example/x", "b.example/x"]
    found = await apply(world, CONFIG_MAP, with_finalizers(), "one")
    assert list(found.metadata.finalizers) == ["b.example/x"]


async def test_what_was_there_before_anybody_applied_is_one_managers(world: World) -> None:
    """Objects from before managers were kept have none, and so have those whose managers were reset."""
    await world.caller.create(ref(core.ConfigMap), config_map(a="1", b="2"), meta.CreateOptions())
    await update(world, CONFIG_MAP, {"metadata": {"managedFields": [{}]}})
    with pytest.raises(Conflict) as caught:
        await apply(world, CONFIG_MAP, configuration(a="2"))
    assert 'conflict with "before-first-apply" using v1: .data.a' in caught.value.status.message
    found = await apply(world, CONFIG_MAP, configuration(a="1"))
    assert owned(found) == {"m Apply v1": [".data.a"], "before-first-apply Update v1": [".data", ".data.a", ".data.b"]}


async def test_the_status_is_applied_apart(world: World) -> None:
    await apply(world, DEPLOYMENT, workload(replicas=2), "one")
    status = {**workload(), "spec": {"replicas": 9}, "status": {"replicas": 1}}
    found = await apply(world, ref(apps.Deployment, "d", "status"), status, "controller")
    assert (found.spec.replicas, found.status.replicas) == (2, 1)
    assert owned(found)["controller Apply apps/v1 status"] == [".status.replicas"]
    again = await apply(world, DEPLOYMENT, {**workload(replicas=2), "status": {"replicas": 7}}, "one")
    assert again.status.replicas == 1
    assert not [path for path in owned(again)["one Apply apps/v1"] if path.startswith(".status")]


async def test_a_scale_is_applied(world: World) -> None:
    await apply(world, DEPLOYMENT, workload(replicas=2), "one")
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 5}}
    with pytest.raises(Conflict) as caught:
        await apply(world, SCALE, scale, "scaler")
    assert caught.value.status.message == 'Apply failed with 1 conflict: conflict with "one": .spec.replicas'
    shown = await apply(world, SCALE, scale, "scaler", force=True)
    assert (type(shown).__name__, shown.spec.replicas) == ("Scale", 5)
    found: Any = (await world.caller.get(DEPLOYMENT)).message
    assert (found.spec.replicas, owned(found)["scaler Apply apps/v1 scale"]) == (5, [".spec.replicas"])
    assert ".spec.replicas" not in owned(found)["one Apply apps/v1"]
    with pytest.raises(Conflict) as caught:
        await apply(world, DEPLOYMENT, workload(replicas=3), "one")
    assert 'conflict with "scaler" with subresource "scale": .spec.replicas' in caught.value.status.message


async def test_kubectl_goes_over_from_its_own_side_without_conflicts(world: World) -> None:
    last = configuration(a="1", b="2")
    annotated = {**last, "metadata": {"name": "c", "annotations": {LAST_APPLIED: orjson.dumps(last).decode()}}}
    made: Any = config_map(**last["data"])
    made.metadata.annotations[LAST_APPLIED] = annotated["metadata"]["annotations"][LAST_APPLIED]
    await world.caller.create(ref(core.ConfigMap), made, meta.CreateOptions(field_manager="kubectl-client-side-apply"))
    with pytest.raises(Conflict):
        await apply(world, CONFIG_MAP, configuration(a="9", b="2"), "somebody")
    found = await apply(world, CONFIG_MAP, configuration(a="9", b="2"), "kubectl")
    assert found.data["a"] == "9"
    assert orjson.loads(found.metadata.annotations[LAST_APPLIED]) == configuration(a="9", b="2"), "for those who still read it"
    await update(world, CONFIG_MAP, {"data": {"b": "7"}}, "somebody")
    with pytest.raises(Conflict) as caught:
        await apply(world, CONFIG_MAP, configuration(a="9", b="2"), "kubectl")
    assert caught.value.status.message == 'Apply failed with 1 conflict: conflict with "somebody" using v1: .data.b'


async def test_a_dry_run_stores_nothing(world: World) -> None:
    shown = await apply(world, CONFIG_MAP, configuration(a="1"), dry_run=["All"])
    assert (shown.data["a"], managers(shown)) == ("1", ["m Apply v1"])
    with pytest.raises(NotFound):
        await world.caller.get(CONFIG_MAP)


@pytest.mark.parametrize(
    ("where", "config", "message"),
    [
        pytest.param(CONFIG_MAP, [], "error decoding patch: expected an object", id="no object"),
        pytest.param(CONFIG_MAP, b"a: [", "error decoding patch: ", id="broken"),
        pytest.param(CONFIG_MAP, b"a: 1\n---\nb: 2\n", "error decoding patch: expected one document, got 2", id="two documents"),
        pytest.param(DEPLOYMENT, {"metadata": {"name": "d"}}, "invalid object type: /, Kind=", id="no type"),
        pytest.param(DEPLOYMENT, {**workload(), "apiVersion": "apps/v1beta1"}, "invalid object type: apps/v1beta1, Kind=Deployment",
                     id="another version"),
        pytest.param(CONFIG_MAP, workload(), "invalid object type: apps/v1, Kind=Deployment", id="another kind"),
        pytest.param(CONFIG_MAP, {**configuration(), "metadata": {"name": "c", "managedFields": []}}, "metadata.managedFields must be nil",
                     id="managers"),
        pytest.param(CONFIG_MAP, {**configuration(), "nope": 1},
                     "failed to create typed patch object (/c; /v1, Kind=ConfigMap): .nope: field not declared in schema", id="a stray"),
        pytest.param(DEPLOYMENT, {**workload(replicas="x"), "nope": 1},
                     "failed to create typed patch object (/d; apps/v1, Kind=Deployment): errors:\n"
                     "  .spec.replicas: expected numeric (int or float), got string\n  .nope: field not declared in schema", id="two"),
        pytest.param(CONFIG_MAP, configuration("other"), "the name of the object (other) does not match the name on the URL (c)",
                     id="name"),
        pytest.param(CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap"},
                     "the name of the object (c based on URL) was undeterminable: name must be provided", id="no name"),
        pytest.param(CONFIG_MAP, {**configuration(), "metadata": {"name": "c", "namespace": "other"}},
                     "the namespace of the provided object does not match the namespace sent on the request", id="namespace"),
        pytest.param(DEPLOYMENT, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": {"spec": {
            "containers": [{"name": "c"}, {"name": "c"}]}}}},
                     "failed to create typed patch object (/d; apps/v1, Kind=Deployment): .spec.template.spec.containers: "
                     'duplicate entries for key [name="c"]', id="a key twice"),
    ],
)  # fmt: skip
async def test_what_cannot_be_applied(world: World, where: Ref, config: Any, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        await apply(world, where, config)
    assert message in caught.value.status.message


async def test_keys_that_come_twice_are_told_or_refused(world: World) -> None:
    """By their lines: what is applied is read as YAML, JSON too."""
    body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},\n"data":{"a":"1","a":"2"}}'
    written = await world.caller.patch(CONFIG_MAP, "apply", body, meta.PatchOptions(field_manager="m"))
    assert list(written.warnings) == ['line 2: key "a" already set in map']
    strict = "error strict decoding patch: error converting YAML to JSON: yaml: unmarshal errors:\n  "
    with pytest.raises(BadRequest) as caught:
        await apply(world, CONFIG_MAP, body, field_validation="Strict")
    assert caught.value.status.message == f'{strict}line 2: key "a" already set in map'
    text = b"\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  a: '1'\n  a: '2'\nmetadata:\n  name: c\n"
    with pytest.raises(BadRequest) as caught:
        await apply(world, CONFIG_MAP, text, field_validation="Strict")
    assert caught.value.status.message == f'{strict}line 7: key "a" already set in map\n  line 9: key "metadata" already set in map'
    assert (await apply(world, CONFIG_MAP, text, field_validation="Ignore")).data["a"] == "2"


async def test_who_applies_must_be_named(world: World) -> None:
    with pytest.raises(Invalid) as caught:
        await apply(world, CONFIG_MAP, configuration(), "")
    assert caught.value.status.message == (
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
    )


async def test_an_object_that_is_meant_must_be_there(world: World) -> None:
    with pytest.raises(Conflict) as caught:
        await apply(world, CONFIG_MAP, {**configuration(), "metadata": {"name": "c", "uid": "u"}})
    assert "uid mismatch: the provided object specified uid u, and no existing object was found" in caught.value.status.message
    with pytest.raises(Conflict):
        await apply(world, CONFIG_MAP, {**configuration(), "metadata": {"name": "c", "resourceVersion": "5"}})
    with pytest.raises(NotFound):
        await apply(world, ref(apps.Deployment, "d", "status"), workload())
    made = await apply(world, CONFIG_MAP, configuration(a="1"))
    with pytest.raises(Invalid):
        await apply(world, CONFIG_MAP, {**configuration(a="2"), "metadata": {"name": "c", "uid": "u"}})
    with pytest.raises(Conflict):
        await apply(world, CONFIG_MAP, {**configuration(a="2"), "metadata": {"name": "c", "resourceVersion": "1"}})
    newest = {"name": "c", "resourceVersion": made.metadata.resource_version, "uid": made.metadata.uid}
    assert (await apply(world, CONFIG_MAP, {**configuration(a="2"), "metadata": newest})).data["a"] == "2"


async def test_who_may_not_create_may_not_create_by_applying(world: World) -> None:
    world.guard.asked.clear()
    await apply(world, CONFIG_MAP, configuration(a="1"))
    assert [request.verb for request in world.guard.asked] == ["patch", "create"]
    await apply(world, CONFIG_MAP, configuration(a="2"))
    assert [request.verb for request in world.guard.asked] == ["patch", "create", "patch"]


async def test_what_is_applied_is_admitted_and_validated(world: World) -> None:
    with pytest.raises(Invalid):
        await apply(world, DEPLOYMENT, workload(replicas=-1))
    await apply(world, DEPLOYMENT, workload())
    assert {(seen.operation, seen.phase) for seen in world.witness.seen} == {("CREATE", "mutate"), ("CREATE", "validate")}
    with pytest.raises(Invalid):
        await apply(world, DEPLOYMENT, {**workload(), "spec": {**workload()["spec"], "selector": {"matchLabels": {"x": "y"}}}})


async def test_two_who_create_at_once_both_apply(world: World) -> None:
    one, other = await asyncio.gather(
        apply(world, CONFIG_MAP, configuration(a="1"), "one"), apply(world, CONFIG_MAP, configuration(b="2"), "other")
    )
    found: Any = (await world.caller.get(CONFIG_MAP)).message
    assert dict(found.data) == {"a": "1", "b": "2"}
    assert sorted(managers(found)) == ["one Apply v1", "other Apply v1"]
    assert one.metadata.uid == other.metadata.uid


async def test_managers_of_a_version_that_is_gone_are_forgotten(world: World) -> None:
    made: Any = (await world.caller.create(ref(core.ConfigMap), config_map(a="1"), meta.CreateOptions())).message
    made.metadata.managed_fields.append(entry("old", {"f:data": {"f:a": {}}}, version="v1alpha1"))
    await world.caller.update(CONFIG_MAP, made, meta.UpdateOptions())
    found = await apply(world, CONFIG_MAP, configuration(a="2"), force=True)
    assert managers(found) == ["m Apply v1", "caller Update v1"]
