"""How soon a definition is served, and how it goes while others are at it."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from itertools import islice
from typing import Any

import pytest

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.machinery.resources import Resource
from knarr.service import collector
from knarr.service.tasks import cancel
from services.apiserver.audit.auditor import Auditor
from services.apiserver.audit.backlog import Backlog
from services.apiserver.audit.policy import Policy
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rbac.authorizer import RoleAuthorizer
from services.apiserver.rbac.grants import Grants
from services.apiserver.request import Request
from tests.apiserver.definitions.asgi import CRDS, WIDGETS, Rest, definition, running, widget
from tests.apiserver.definitions.converted import NAME, V1, V2, convert, converting, v2_widget

SOON_SECONDS = 1.0
# What a definition may leave behind when it is gone.
KEPT_BYTES = 4096


async def test_a_definition_is_established_and_published_within_a_second() -> None:
    """Counted in this process's own time: all of the server is in it, and the machine may have other things to do."""
    async with running() as rest:
        # What is loaded with the first one is loaded once.
        await rest.define(definition("gadgets", kind="Gadget"))
        before, start = (await rest("GET", "/openapi/v3")).json["paths"], time.process_time()
        await rest.define(definition())
        assert time.process_time() - start < SOON_SECONDS
        assert (await rest("POST", WIDGETS, widget())).status == 201
        assert "org.example.v1.Widget" in (await rest("GET", "/openapi/v2")).json["definitions"]
        after = (await rest("GET", "/openapi/v3")).json["paths"]["apis/example.org/v1"]
        assert after != before["apis/example.org/v1"]
        assert "org.example.v1.Widget" in (await rest("GET", after["serverRelativeURL"])).json["components"]["schemas"]
        assert time.process_time() - start < SOON_SECONDS


async def test_it_goes_while_its_objects_are_written_and_watched_from_eight_sides() -> None:
    async with running() as rest:
        await rest.define(definition())
        made: list[str] = []

        async def write(side: int) -> int:
            number = 0
            while True:
                answer = await rest("POST", WIDGETS, widget(f"w{side}-{number}"))
                if answer.status != 201:
                    return answer.status
                made.append(answer.json["metadata"]["name"])
                number += 1
                await rest("PATCH", f"{WIDGETS}/w{side}-{number}", {"spec": {"n": number}}, "application/merge-patch+json")
                await asyncio.sleep(0)

        async with rest.watch(f"{WIDGETS}?watch=1&resourceVersion={rest.api.store.revision}") as events:
            writers = [asyncio.create_task(write(side)) for side in range(8)]
            while len(made) < 40:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            assert (await rest("DELETE", f"{CRDS}/widgets.example.org")).status == 200
            assert {await writer for writer in writers} <= {404, 405}
            await rest.until_gone("widgets.example.org")
            told: list[Any] = []
            while (event := await events.get()) is not None:
                told.append(event)
        assert not list(rest.api.store.items("/registry/example.org/"))
        # Whoever watched has heard of each, from its beginning to its end.
        names = {kind: {event["object"]["metadata"]["name"] for event in told if event["type"] == kind} for kind in ("ADDED", "DELETED")}
        assert names["ADDED"] == names["DELETED"] == set(made)


async def test_what_is_under_way_when_it_goes_is_not_left_behind() -> None:
    """A webhook may take half a minute for what is to be stored; by then its definition may be gone."""
    held, asked = asyncio.Event(), asyncio.Event()

    async def slow(body: Any) -> Any:
        asked.set()
        await held.wait()
        return await convert(body)

    async with converting(slow) as (rest, _):
        making = asyncio.create_task(rest("POST", V2, v2_widget(host="db")))
        await asked.wait()
        await rest("DELETE", f"{CRDS}/{NAME}")
        await rest.until_gone(NAME)
        held.set()
        refused = await making
        assert (refused.status, refused.json["message"]) == (405, "create not allowed while custom resource definition is terminating")
        assert not list(rest.api.store.items("/registry/example.org/"))
        assert (await rest("GET", V1)).status == 404


async def _cycle(rest: Rest, number: int) -> None:
    spec = {"type": "object", "properties": {f"f{index}": {"type": "string"} for index in range(50)}}
    schema = {"type": "object", "properties": {"spec": spec}}
    kept, name = f"things{number}", f"things{number}.example.org"
    await rest.define(definition(kept, kind=f"Thing{number}", schema=schema))
    body = {"apiVersion": "example.org/v1", "kind": f"Thing{number}", "metadata": {"name": "a"}, "spec": {"f1": "x"}}
    path = f"/apis/example.org/v1/namespaces/default/{kept}"
    async with rest.watch(f"{path}?watch=1") as events:
        assert (await rest("POST", path, body)).status == 201
        assert (await events.get())["type"] == "ADDED"
    await rest("GET", "/openapi/v3/apis/example.org/v1")
    await rest("DELETE", f"{CRDS}/{name}")
    await rest.until_gone(name)


class _Roles:
    """Has roles looked at, whatever they say."""

    def __init__(self) -> None:
        self.modes: list[RoleAuthorizer] = []

    def authorize(self, request: Request) -> None:
        for mode in self.modes:
            mode.decide(request)


async def test_nobody_holds_what_is_gone() -> None:
    """Who decides and who tells the audit log remember what was asked: not the definition that it was about, which has all its schemas."""
    roles = _Roles()
    everything = rbac.PolicyRule(verbs=["*"], api_groups=["*"], resources=["*"])
    role = rbac.ClusterRole(metadata=meta.ObjectMeta(name="all"), rules=[everything])
    binding = rbac.ClusterRoleBinding(metadata=meta.ObjectMeta(name="all"), subjects=[rbac.Subject(kind="Group", name="system:masters")])
    binding.role_ref.CopyFrom(rbac.RoleRef(api_group="rbac.authorization.k8s.io", kind="ClusterRole", name="all"))
    api = ApiInMemory(authorizer=roles, auditor=Auditor(Policy([]), Backlog(_NoSink())))
    api.seed(role, binding)
    async with running(api) as rest:
        roles.modes.append(RoleAuthorizer(Grants(api.server.backend.cache)))
        # What was done last may still be at hand somewhere.
        await _cycle(rest, 12345)
        await _cycle(rest, 54321)
        gc.collect()
        assert not [found for found in gc.get_objects() if isinstance(found, Resource) and found.plural == "things12345"]


class _NoSink:
    def write(self, lines: bytes) -> None:
        raise AssertionError

    def close(self) -> None:
        pass


async def test_all_there_is_is_looked_through_once_a_definition_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resource and its versions hold one another: they would lie about, with all their schemas, for as long as much else is old."""
    looked = list[int]()
    async with running() as rest:
        monkeypatch.setattr(collector, "_gone", False)
        await rest.define(definition())
        assert not collector._gone
        await rest("DELETE", f"{CRDS}/widgets.example.org")
        async with asyncio.timeout(10):
            while not collector._gone:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        monkeypatch.setattr(collector, "GIVE_BACK_SECONDS", 0.0)
        monkeypatch.setattr(collector, "FEW_OBJECTS", 0)
        monkeypatch.setattr(gc, "collect", looked.append)
        giving_back = asyncio.create_task(collector.give_back())
        async with asyncio.timeout(10):
            while len(looked) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        await cancel([giving_back])
    assert looked[:2] == [2, 1]


async def test_memory_is_where_it_was() -> None:
    """Beside the histories of the cache and of the store, which are bounded by themselves and let go here: some KiB a definition at most.
    Of as many as the time of a test allows while each allocation is traced."""
    async with running() as rest:

        def kept() -> int:
            for collection in rest.api.server.backend.cache:
                collection.history.forget(rest.api.store.revision)
            if rest.api.store.oldest < rest.api.store.revision:
                rest.api.store.forget(rest.api.store.revision)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            # A table that has grown to its next size grows no more for as long again: of the rounds, the one that kept least counts.
            numbers = iter(range(100))
            grown: list[int] = []
            while len(grown) < 3 and (not grown or min(grown) >= 10 * KEPT_BYTES):
                before = kept()
                for number in islice(numbers, 10):
                    await _cycle(rest, number)
                grown.append(kept() - before)
            assert min(grown) < 10 * KEPT_BYTES
        finally:
            tracemalloc.stop()
