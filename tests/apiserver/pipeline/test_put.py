"""An update of an object that is not there: of some kinds it is a create, with all that belongs to one."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Conflict, Forbidden, Invalid, NotFound, forbidden
from tests.apiserver.pipeline.world import World, config_map, fill, ref, running
from tests.support.virtual_time import virtual_time

LEASE = ref(coordination.Lease, "l")


def lease(name: str = "l", holder: str = "me") -> coordination.Lease:
    return coordination.Lease(metadata=meta.ObjectMeta(name=name), spec=coordination.LeaseSpec(holder_identity=holder))


async def put(world: World, obj: coordination.Lease, options: meta.UpdateOptions | None = None) -> Any:
    return await world.caller.update(LEASE, obj, options or meta.UpdateOptions())


@virtual_time
async def test_it_is_authorized_and_admitted_as_a_create_too() -> None:
    async with running() as world:
        written = await put(world, lease(), meta.UpdateOptions(field_manager="me"))
        assert written.created and written.message.metadata.name == "l" and written.message.metadata.uid
        assert [(asked.verb, asked.name, type(asked.options).__name__) for asked in world.guard.asked] == [
            ("update", "l", "UpdateOptions"),
            ("create", "l", "CreateOptions"),
        ]
        assert [(seen.phase, seen.operation, seen.name) for seen in world.witness.seen] == [
            ("mutate", "CREATE", "l"),
            ("validate", "CREATE", "l"),
        ]


@virtual_time
async def test_who_may_update_but_not_create_creates_nothing() -> None:
    async with running() as world:

        async def only_updates(request: Any) -> None:
            if request.verb == "create":
                raise forbidden("leases", "l", "no", "coordination.k8s.io")

        world.guard.asking = only_updates
        with pytest.raises(Forbidden):
            await put(world, lease())
        with pytest.raises(NotFound):
            await world.caller.get(LEASE)


@virtual_time
async def test_it_is_validated_as_a_create() -> None:
    async with running() as world:
        wrong = lease()
        wrong.spec.lease_duration_seconds = -1
        with pytest.raises(Invalid, match="leaseDurationSeconds"):
            await put(world, wrong)
        world.guard.asked.clear()
        nowhere = ref(coordination.Lease, "l", namespace="nope")
        with pytest.raises(NotFound, match='namespaces "nope" not found'):
            await world.caller.update(nowhere, lease(), meta.UpdateOptions())


@virtual_time
async def test_a_dry_run_creates_nothing() -> None:
    async with running() as world:
        assert (await put(world, lease(), meta.UpdateOptions(dry_run=["All"]))).created
        with pytest.raises(NotFound):
            await world.caller.get(LEASE)


@virtual_time
async def test_an_update_of_one_that_was_there_brings_nothing_back() -> None:
    async with running() as world:
        stored: Any = (await put(world, lease())).message
        await world.caller.delete(LEASE, meta.DeleteOptions())
        with pytest.raises(Conflict, match=f"UID in precondition: {stored.metadata.uid}, UID in object meta: $"):
            await put(world, stored)
        only_revision = lease()
        only_revision.metadata.resource_version = stored.metadata.resource_version
        with pytest.raises(Conflict, match="the object has been modified"):
            await put(world, only_revision)


@virtual_time
async def test_parts_and_other_kinds_are_not_created() -> None:
    async with running() as world:
        with pytest.raises(NotFound):
            await world.caller.update(ref(core.ConfigMap, "c"), config_map(), meta.UpdateOptions())
        service = core.Service(metadata=meta.ObjectMeta(name="s"))
        with pytest.raises(NotFound):
            await world.caller.update(ref(core.Service, "s", "status"), service, meta.UpdateOptions())
        with pytest.raises(NotFound):
            await world.caller.patch(LEASE, "merge", b'{"spec":{"holderIdentity":"x"}}', meta.PatchOptions())


@virtual_time
async def test_one_that_comes_between_is_replaced() -> None:
    async with running() as world:
        came, where = False, ref(core.Endpoints, "e")

        async def race(phase: str, attributes: Any) -> bool:
            nonlocal came
            if not came and attributes.operation == "CREATE":
                came = True
                await fill(world, [core.Endpoints(metadata=meta.ObjectMeta(name="e", labels={"by": "other"}))])
            return False

        world.witness.act = race
        mine = core.Endpoints(metadata=meta.ObjectMeta(name="e", labels={"by": "me"}))
        written: Any = await world.caller.update(where, mine, meta.UpdateOptions())
        assert came and not written.created and written.message.metadata.labels["by"] == "me"
