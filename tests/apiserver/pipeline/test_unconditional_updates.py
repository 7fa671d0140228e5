"""Updates that are meant for whatever is stored: without a resourceVersion, or with 0, which Kubernetes takes for none."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Conflict
from tests.apiserver.pipeline.world import config_map, ref, running
from tests.support.virtual_time import virtual_time

NAMED = ref(core.ConfigMap, "c")


@virtual_time
@pytest.mark.parametrize("revision", ["", "0"])
async def test_no_resource_version_and_zero_replace_what_is_there(revision: str) -> None:
    async with running() as world:
        await world.caller.create(NAMED, config_map(), meta.CreateOptions())
        changed = config_map()
        changed.metadata.resource_version = revision
        changed.data["a"] = "b"
        written: Any = (await world.caller.update(NAMED, changed, meta.UpdateOptions())).message
        assert written.data["a"] == "b" and written.metadata.resource_version not in ("", "0")


@virtual_time
async def test_any_other_one_is_held_against_the_stored_one() -> None:
    async with running() as world:
        await world.caller.create(NAMED, config_map(), meta.CreateOptions())
        changed = config_map()
        changed.metadata.resource_version = "1"
        with pytest.raises(Conflict):
            await world.caller.update(NAMED, changed, meta.UpdateOptions())
