"""Who owns what after creates, updates and patches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling_v2
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Invalid, StatusError
from services.apiserver.results import Ref
from tests.apiserver.apply.managed import entry, managers, owned
from tests.apiserver.pipeline.world import World, config_map, deployment, node, pod, ref, running

CONFIG_MAP = ref(core.ConfigMap, "c")
DEPLOYMENT = ref(apps.Deployment, "d")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as found:
        yield found


async def create(world: World, obj: Any, manager: str = "maker") -> Any:
    return (await world.caller.create(ref(type(obj)), obj, meta.CreateOptions(field_manager=manager))).message


async def update(world: World, where: Ref, obj: Any, manager: str = "changer") -> Any:
    return (await world.caller.update(where, obj, meta.UpdateOptions(field_manager=manager))).message


async def patch(world: World, where: Ref, change: Any, manager: str = "changer", patch_type: str = "merge") -> Any:
    return (await world.caller.patch(where, patch_type, orjson.dumps(change), meta.PatchOptions(field_manager=manager))).message


async def get(world: World, where: Ref) -> Any:
    return (await world.caller.get(where)).message


async def test_a_creator_owns_what_it_says_and_defaults(world: World) -> None:
    made = deployment()
    made.metadata.labels["a"] = "b"
    made = await create(world, made)
    assert managers(made) == ["maker Update apps/v1"]
    found = owned(made)["maker Update apps/v1"]
    assert {
        ".metadata.labels",
        ".metadata.labels.a",
        ".spec.replicas",
        ".spec.selector",
        '.spec.template.spec.containers[name="c"].image',
    } <= set(found)
    assert not [path for path in found if path.startswith((".metadata.name", ".status", ".metadata.uid"))]
    item = made.metadata.managed_fields[0]
    assert (item.fields_type, item.HasField("time")) == ("FieldsV1", True)


async def test_an_updater_takes_what_it_changes_and_no_more(world: World) -> None:
    made = await create(world, config_map(a="1", b="2"))
    made.data["b"], made.data["c"] = "3", "4"
    changed = await update(world, CONFIG_MAP, made)
    assert owned(changed) == {"maker Update v1": [".data", ".data.a"], "changer Update v1": [".data.b", ".data.c"]}
    del changed.data["b"]
    assert owned(await update(world, CONFIG_MAP, changed, "third")) == {
        "maker Update v1": [".data", ".data.a"],
        "changer Update v1": [".data.c"],
    }


@pytest.mark.parametrize(
    ("patch_type", "change"),
    [
        ("merge", {"data": {"b": "3"}}),
        ("strategic", {"data": {"b": "3"}}),
        ("json", [{"op": "replace", "path": "/data/b", "value": "3"}]),
    ],
)
async def test_a_patch_is_an_update(world: World, patch_type: str, change: Any) -> None:
    await create(world, config_map(a="1", b="2"))
    changed = await patch(world, CONFIG_MAP, change, patch_type=patch_type)
    assert owned(changed) == {"maker Update v1": [".data", ".data.a"], "changer Update v1": [".data.b"]}


async def test_a_write_that_changes_nothing_is_none(world: World) -> None:
    made = await create(world, config_map(a="1"))
    again = await patch(world, CONFIG_MAP, {"data": {"a": "1"}})
    assert again == made
    assert await update(world, CONFIG_MAP, config_map(a="1")) == made


async def test_the_status_has_managers_of_its_own(world: World) -> None:
    first = node()
    first.metadata.labels["a"] = "b"
    made = await create(world, first)
    made.status.capacity["cpu"].string = "4"
    made.spec.unschedulable = True
    changed = await update(world, ref(core.Node, "n", "status"), made, "kubelet")
    assert sorted(managers(changed)) == ["kubelet Update v1 status", "maker Update v1"]
    assert owned(changed)["kubelet Update v1 status"] == [".status.capacity.cpu"]
    changed.spec.unschedulable = True
    changed.status.capacity["cpu"].string = "8"
    spec = owned(await update(world, ref(core.Node, "n"), changed, "cordon"))
    assert spec["cordon Update v1"] == [".spec.unschedulable"], "a write to the object does not reach its status"
    assert ".status.capacity.cpu" in spec["kubelet Update v1 status"]


async def test_a_scale_takes_the_replicas(world: World) -> None:
    await create(world, deployment())
    scale = autoscaling.Scale(metadata=meta.ObjectMeta(name="d"), spec=autoscaling.ScaleSpec(replicas=3))
    await update(world, ref(apps.Deployment, "d", "scale"), scale, "scaler")
    found = await get(world, DEPLOYMENT)
    assert owned(found)["scaler Update apps/v1 scale"] == [".spec.replicas"]
    assert ".spec.replicas" not in owned(found)["maker Update apps/v1"]


async def test_a_binding_and_a_deletion_leave_the_managers_as_they_are(world: World) -> None:
    """As in Kubernetes, where neither goes by the managers."""
    await create(world, node())
    made = await create(world, pod())
    binding = core.Binding(metadata=meta.ObjectMeta(name="p"), target=core.ObjectReference(kind="Node", name="n"))
    await world.caller.create(ref(core.Pod, "p", "binding"), binding, meta.CreateOptions(field_manager="binder"))
    assert managers(await get(world, ref(core.Pod, "p"))) == managers(made)


async def test_a_dry_run_shows_who_would_own_it(world: World) -> None:
    await create(world, config_map(a="1"))
    options = meta.PatchOptions(field_manager="changer", dry_run=["All"])
    shown: Any = (await world.caller.patch(CONFIG_MAP, "merge", b'{"data":{"a":"2"}}', options)).message
    assert "changer Update v1" in owned(shown)
    assert managers(await get(world, CONFIG_MAP)) == ["maker Update v1"]


async def test_who_does_not_name_its_manager_is_called_as_it_calls_itself(world: World) -> None:
    made: Any = (await world.caller.create(ref(core.ConfigMap), config_map(), meta.CreateOptions())).message
    assert managers(made) == []
    made = (await world.caller.create(ref(core.ConfigMap), config_map("other", a="1"), meta.CreateOptions())).message
    assert managers(made) == ["caller Update v1"]


@pytest.mark.parametrize("reset", [[], [{}]])
async def test_managers_are_reset_by_an_empty_entry(world: World, reset: Any) -> None:
    await create(world, config_map(a="1"))
    found = await patch(world, CONFIG_MAP, {"metadata": {"managedFields": reset}})
    assert managers(found) == []
    assert managers(await patch(world, CONFIG_MAP, {"data": {"a": "2"}})) == [], "nobody starts to keep them but who applies"


async def test_managers_may_be_written(world: World) -> None:
    """As kubectl does to make what it applied at its own side an apply at the server's."""
    made = await create(world, config_map(a="1", b="2"))
    del made.metadata.managed_fields[:]
    made.metadata.managed_fields.append(entry("mine", {"f:data": {"f:a": {}, "f:b": {}}}, operation="Apply"))
    made.data["b"] = "3"
    found = await update(world, CONFIG_MAP, made)
    assert owned(found) == {"mine Apply v1": [".data.a"], "changer Update v1": [".data.b"]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"operation": "Nothing"}, {"api_version": ""}, {"fields_type": "FieldsV2"}, {"fields_type": ""},
    ],
    ids=lambda wrong: str(wrong),
)  # fmt: skip
async def test_managers_that_make_no_sense_are_not_taken(world: World, wrong: dict[str, str]) -> None:
    made = await create(world, config_map(a="1"))
    del made.metadata.managed_fields[:]
    item = entry("mine", {"f:data": {"f:a": {}}})
    for field, value in wrong.items():
        setattr(item, field, value)
    made.metadata.managed_fields.append(item)
    assert managers(await update(world, CONFIG_MAP, made)) == ["maker Update v1"]


async def test_managers_whose_fields_cannot_be_read_are_not_taken(world: World) -> None:
    made = await create(world, config_map(a="1"))
    del made.metadata.managed_fields[:]
    item = entry("mine", {})
    item.fields_v1.raw = b'{"f:a":' * 300 + b"{}" + b"}" * 300
    made.metadata.managed_fields.append(item)
    assert managers(await update(world, CONFIG_MAP, made)) == ["maker Update v1"]


async def test_a_name_that_is_none_is_refused(world: World) -> None:
    for manager, detail in (("x" * 129, "Too long: may not be more than 128 bytes"), ("a\nb", 'Invalid value: "a\\nb": invalid character U+000A (at position 1)')):  # noqa: E501  # fmt: skip
        with pytest.raises(Invalid) as caught:
            await create(world, config_map(), manager)
        assert [(cause.field, cause.message) for cause in caught.value.status.details.causes] == [("fieldManager", detail)]
    with pytest.raises(Invalid) as caught:
        await world.caller.patch(CONFIG_MAP, "merge", b"{}", meta.PatchOptions(force=True))
    assert (
        caught.value.status.message == 'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch'
    )


async def test_other_versions_are_written_in_their_own_words(world: World) -> None:
    """A manager's fields are those of the version that it wrote in, and what others change in another version is taken from them."""
    first = autoscaling.HorizontalPodAutoscaler(metadata=meta.ObjectMeta(name="h"))
    first.spec.scale_target_ref.kind, first.spec.scale_target_ref.name = "Deployment", "d"
    first.spec.scale_target_ref.api_version = "apps/v1"
    first.spec.max_replicas, first.spec.target_cpu_utilization_percentage = 3, 50
    where, newer = ref(autoscaling.HorizontalPodAutoscaler), ref(autoscaling_v2.HorizontalPodAutoscaler, "h")
    options = meta.CreateOptions(field_manager="maker")
    await world.caller.create(where, where.version.to_storage(first), options)
    found = await patch(world, newer, {"spec": {"maxReplicas": 5, "metrics": None}})
    assert ".spec.targetCPUUtilizationPercentage" not in owned(found)["maker Update autoscaling/v1"]
    assert owned(found)["changer Update autoscaling/v2"] == [".spec.maxReplicas", ".spec.metrics"]


async def test_more_than_ten_updaters_are_merged(world: World) -> None:
    await create(world, config_map(a="1"))
    for number in range(12):
        found = await patch(world, CONFIG_MAP, {"data": {f"k{number}": "1"}}, f"m{number:02}")
    assert len(managers(found)) == 10
    assert "ancient-changes Update v1" in managers(found)


async def test_bad_patches_leave_no_trace(world: World) -> None:
    made = await create(world, config_map(a="1"))
    with pytest.raises(StatusError):
        await patch(world, CONFIG_MAP, {"data": 1})
    assert await get(world, CONFIG_MAP) == made
