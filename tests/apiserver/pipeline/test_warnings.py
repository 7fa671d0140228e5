"""What plugins say beside their verdict to the caller, whether he is refused or not."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Forbidden
from knarr.objects.copies import copy_of
from services.apiserver.admission.attributes import Attributes
from services.apiserver.request import MAX_WARNING_LETTERS, MAX_WARNINGS
from services.apiserver.rest.errors import error_response
from tests.apiserver.pipeline.world import config_map, fill, pod, ref, running
from tests.support.virtual_time import virtual_time


@virtual_time
async def test_warnings_reach_the_caller_once() -> None:
    async with running() as world:

        async def warn(phase: str, attributes: Attributes) -> bool:
            attributes.request.warn("old")
            return False

        world.witness.act = warn
        written = await world.caller.create(ref(core.ConfigMap), config_map(), meta.CreateOptions())
        assert written.warnings == ("old",)


@virtual_time
async def test_an_owner_is_kept_once_and_its_writer_warned() -> None:
    async with running() as world:
        twice = [meta.OwnerReference(api_version="v1", kind="Pod", name="p", uid=uid) for uid in ("u", "v", "u")]
        owned = config_map()
        owned.metadata.owner_references.extend(twice)
        created = await world.caller.create(ref(core.ConfigMap), owned, meta.CreateOptions())
        stored: Any = created.message
        assert [owner.uid for owner in stored.metadata.owner_references] == ["u", "v"]
        assert [words.rpartition(": ")[2] for words in created.warnings] == ["u"]
        changed = copy_of(stored)
        changed.metadata.owner_references.extend(twice[1:])
        changed.data["b"] = "c"
        replaced = await world.caller.update(ref(core.ConfigMap, stored.metadata.name), changed, meta.UpdateOptions())
        found: Any = replaced.message
        assert [owner.uid for owner in found.metadata.owner_references] == ["u", "v"]
        assert [words.rpartition(": ")[2] for words in replaced.warnings] == ["v, u"]


@virtual_time
async def test_who_is_refused_is_warned_too() -> None:
    async with running() as world:

        async def refuse(phase: str, attributes: Attributes) -> bool:
            attributes.request.warn("old")
            raise Forbidden(meta.Status(message="no", reason="Forbidden", code=403))

        world.witness.act = refuse
        with pytest.raises(Forbidden) as refused:
            await world.caller.create(ref(core.ConfigMap), config_map(), meta.CreateOptions())
        assert (b"warning", b'299 - "old"') in error_response(refused.value).headers


@virtual_time
async def test_what_is_said_of_the_create_of_an_update_is_said_of_the_update() -> None:
    async with running() as world:

        async def note(phase: str, attributes: Attributes) -> bool:
            attributes.request.warn("made")
            return False

        world.witness.act = note
        lease = coordination.Lease(metadata=meta.ObjectMeta(name="l"))
        request = world.caller.request("update", ref(coordination.Lease, "l"), meta.UpdateOptions())
        written: Any = await world.caller.api.update(request, lease)
        assert (written.created, list(written.warnings)) == (True, ["made"])


@virtual_time
async def test_warnings_are_bounded() -> None:
    async with running() as world:
        request = world.caller.request("create", ref(core.ConfigMap), meta.CreateOptions())
        for number in range(1000):
            request.warn(f"{number} {'x' * 10_000}")
        assert len(request.warnings) == MAX_WARNINGS and max(map(len, request.warnings)) == MAX_WARNING_LETTERS


@virtual_time
async def test_what_is_said_of_a_binding_by_the_old_path_is_heard() -> None:
    async with running() as world:
        await fill(world, [pod("p")])

        async def warn(phase: str, attributes: Attributes) -> bool:
            attributes.request.warn(attributes.subresource)
            return False

        world.witness.act = warn
        binding = core.Binding(metadata=meta.ObjectMeta(name="p"), target=core.ObjectReference(kind="Node", name="n"))
        written = await world.caller.create(ref(core.Binding), binding, meta.CreateOptions())
        assert list(written.warnings) == ["binding"]


@virtual_time
async def test_a_pod_whose_host_would_have_dots_is_warned_of_once() -> None:
    async with running() as world:
        written = await world.caller.create(ref(core.Pod), pod("a.b"), meta.CreateOptions())
        words = "this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended"
        assert written.warnings == (f"metadata.name: {words}: [must not contain dots]",)
        stored: Any = written.message
        stored.metadata.labels["a"] = "b"
        again = await world.caller.update(ref(core.Pod, "a.b"), stored, meta.UpdateOptions())
        assert not again.warnings
