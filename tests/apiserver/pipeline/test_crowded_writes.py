"""Many who change one object at once, none of whom says which state of it he has seen: each gets through, as in Kubernetes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import NotFound
from services.apiserver.admission.attributes import Attributes
from services.apiserver.results import Written
from tests.apiserver.pipeline.world import World, config_map, ref, running
from tests.support.virtual_time import virtual_time

NAMED = ref(core.ConfigMap, "c")
WRITERS = 60


async def _patch(world: World, key: str) -> Written:
    return await world.caller.patch(NAMED, "merge", json.dumps({"data": {key: "v"}}).encode(), meta.PatchOptions())


def _crowd(world: World) -> list[asyncio.Task[Written]]:
    return [asyncio.create_task(_patch(world, f"k{writer}")) for writer in range(WRITERS)]


@virtual_time
async def test_every_patch_gets_through_and_few_are_worked_out_twice() -> None:
    async with running() as world:
        await world.caller.create(NAMED, config_map(), meta.CreateOptions())
        rounds = 0

        async def act(phase: str, attributes: Attributes) -> bool:
            nonlocal rounds
            rounds += phase == "validate"
            await asyncio.sleep(0.001)
            return False

        world.witness.act = act
        await asyncio.gather(*_crowd(world))
        written: Any = (await world.caller.get(NAMED)).message
        assert len(written.data) == WRITERS
        # All begin at once, and all but the first begin again: then each in its turn.
        assert rounds <= 2 * WRITERS


@virtual_time
async def test_who_deletes_gets_through_among_them() -> None:
    async with running() as world:
        await world.caller.create(NAMED, config_map(), meta.CreateOptions())

        async def act(phase: str, attributes: Attributes) -> bool:
            # Whoever deletes is slower than all others.
            await asyncio.sleep(0.05 if attributes.operation == "DELETE" else 0.001)
            return False

        world.witness.act = act
        crowd = _crowd(world)
        await world.caller.delete(NAMED, meta.DeleteOptions())
        answers = await asyncio.gather(*crowd, return_exceptions=True)
        assert all(isinstance(answer, Written | NotFound) for answer in answers)


@virtual_time
async def test_a_webhook_may_write_the_object_that_it_is_asked_about() -> None:
    async with running() as world:
        await world.caller.create(NAMED, config_map(), meta.CreateOptions())
        asked = 0

        async def act(phase: str, attributes: Attributes) -> bool:
            nonlocal asked
            asked += phase == "mutate"
            # Twice: so the write that it is asked about goes on in its turn, and the second one comes upon that.
            if phase == "mutate" and asked in (1, 3):
                await _patch(world, f"by webhook {asked}".replace(" ", "-"))
            return False

        world.witness.act = act
        await _patch(world, "a")
        written: Any = (await world.caller.get(NAMED)).message
        assert set(written.data) == {"a", "by-webhook-1", "by-webhook-3"}
