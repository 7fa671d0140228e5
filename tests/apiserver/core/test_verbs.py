"""The verbs on a real etcd."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError
from services.apiserver.api import Ref
from tests.support.caller import Caller

CONFIG_MAPS = version_of(core.ConfigMap)


def config_map(name: str, **data: str) -> core.ConfigMap:
    obj = core.ConfigMap(data=data)
    obj.metadata.name = name
    return obj


def ref(name: str = "", namespace: str = "default") -> Ref:
    return Ref(CONFIG_MAPS, namespace, name)


async def create(api: Caller, name: str, **data: str) -> Any:
    return (await api.create(ref(), config_map(name, **data), meta.CreateOptions())).message


async def test_created_objects_are_read_back_and_listed(api: Caller) -> None:
    created = await create(api, "a", k="v")
    assert created.metadata.uid and created.metadata.creation_timestamp.seconds
    found: Any = (await api.get(ref("a"))).message
    assert found == created and found.data["k"] == "v"
    page = await api.list(ref(), meta.ListOptions())
    assert [entry.name for entry in page.entries] == ["a"] and page.revision >= int(created.metadata.resource_version)


async def test_one_of_many_concurrent_creates_wins(api: Caller) -> None:
    results = await asyncio.gather(*(create(api, "same", who=str(n)) for n in range(20)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, StatusError)]
    assert len(refused) == 19 and {error.reason for error in refused} == {"AlreadyExists"}


async def test_a_watch_sees_every_change_after_its_revision(api: Caller) -> None:
    first = await create(api, "a")
    options = meta.ListOptions(resource_version=first.metadata.resource_version)
    watch = api.watch(ref(), options)
    created = await create(api, "b")
    created.data["x"] = "y"
    updated: Any = (await api.update(ref("b"), created, meta.UpdateOptions())).message
    await api.delete(ref("b"), meta.DeleteOptions())
    seen: list[tuple[str, str]] = []
    async with asyncio.timeout(5):
        async for batch in watch:
            seen += [(event.type, event.entry.name) for event in batch if event.entry]
            if len(seen) == 3:
                break
    await watch.aclose()  # type: ignore[attr-defined]
    assert seen == [("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "b")]
    assert int(updated.metadata.resource_version) > int(created.metadata.resource_version or 0)


async def test_a_deleted_object_is_gone(api: Caller) -> None:
    created = await create(api, "a")
    status: Any = (await api.delete(ref("a"), meta.DeleteOptions())).message
    assert status.status == "Success" and status.details.uid == created.metadata.uid
    with pytest.raises(StatusError, match='configmaps "a" not found'):
        await api.get(ref("a"))


async def test_a_limit_that_is_not_positive_is_none(api: Caller) -> None:
    for name in "ab":
        await create(api, name)
    for limit in (0, -1):
        page = await api.list(ref(), meta.ListOptions(limit=limit))
        assert (len(page.entries), page.continue_token) == (2, "")


@pytest.mark.parametrize("token", ["bad", "b§d", "eyJ2IjoiYSJ9", "W10", "eyJydiI6MCwic3RhcnQiOiJhIn0", "eyJydiI6NSwic3RhcnQiOiIifQ"])
async def test_a_continue_token_that_no_list_gave_is_refused(api: Caller, token: str) -> None:
    with pytest.raises(StatusError, match=r"continue key is not valid: (it is not one|incorrect encoded start)") as caught:
        await api.list(ref(), meta.ListOptions(limit=1, continue_token=token))
    assert caught.value.code == 400
