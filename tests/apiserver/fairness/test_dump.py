"""The tables of who waits, as Kubernetes' are laid out, for administrators alone."""

from __future__ import annotations

import asyncio

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError
from knarr.service.authentication import TokenTable, User, hash_token
from services.apiserver.fairness.dump import DETAILS, LEVELS, QUEUES, REQUESTS
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.request import Request
from services.apiserver.results import Ref
from services.apiserver.settings import ApiServerSettings
from tests.apiserver.fairness.test_fairness import flow, one, person, world
from tests.support.faces import RestClient

POD = version_of(core.Pod)
FOLDER = "/debug/api_priority_and_fairness"


def table(body: bytes) -> list[list[str]]:
    return [[cell.strip() for cell in line.split(",")] for line in body.decode().splitlines()]


async def read(rest: RestClient, path: str) -> list[dict[str, str]]:
    answer = await rest.get(f"{FOLDER}/{path}")
    assert (answer.status, answer.headers["content-type"]) == (200, ["text/plain; charset=utf-8"])
    header, *lines = table(answer.body)
    return [dict(zip(header, line, strict=True)) for line in lines]


async def test_who_waits_is_told() -> None:
    async with world(seats=20) as (api, fairness):
        rest, going, jane = RestClient(api), asyncio.Event(), person("jane")
        where = flow(fairness, jane)
        before = {line["PriorityLevelName"]: line for line in await read(rest, "dump_priority_levels")}
        assert list(before["exempt"]) == list(LEVELS)
        assert list(before) == sorted(before)
        assert before["global-default"]["IsIdle"] == "true"
        tasks = [asyncio.create_task(one(fairness, jane, [], going)) for _ in range(30)]
        for _ in range(20):
            await asyncio.sleep(0)
        about = Request(jane, "get", Ref(POD, "default", "web", "status"), None)
        entering = fairness.enter(where, 1, about)
        assert isinstance(entering, asyncio.Future)
        waiting = where.level.waiting

        line = next(line for line in await read(rest, "dump_priority_levels") if line["PriorityLevelName"] == "global-default")
        assert (line["IsIdle"], line["IsQuiescing"], line["WaitingRequests"]) == ("false", "false", str(waiting))
        assert (line["ExecutingRequests"], line["RejectedRequests"]) == (
            str(where.level.executing),
            before["global-default"]["RejectedRequests"],
        )

        queues = await read(rest, "dump_queues")
        assert list(queues[0]) == list(QUEUES)
        own = [line for line in queues if line["PriorityLevelName"] == "global-default"]
        assert [int(line["Index"]) for line in own] == list(range(where.level.shape.queues))
        assert sum(int(line["PendingRequests"]) for line in own) == sum(int(line["InitialSeatsSum"]) for line in own) == waiting
        assert all(line["TotalWorkSum"] == f"{int(line['MaxSeatsSum']) * 0.003:.8f}ss" for line in own)

        requests = await read(rest, "dump_requests")
        assert list(requests[0]) == list(REQUESTS)
        assert len(requests) == waiting
        assert {(line["FlowSchemaName"], line["FlowDistingsher"], line["StartTime"]) for line in requests} == {
            ("global-default", "jane", "0001-01-01T00:00:00Z")
        }
        detailed = await read(rest, "dump_requests?includeRequestDetails=1")
        assert list(detailed[0]) == [*REQUESTS, *DETAILS]
        assert [[line[name] for name in DETAILS] for line in detailed if line["UserName"]] == [
            ["jane", "get", "", "default", "web", "v1", "pods", "status"]
        ]

        entering.cancel()
        going.set()
        await asyncio.gather(*tasks)
        await one(fairness, jane, [])
        line = next(line for line in await read(rest, "dump_priority_levels") if line["PriorityLevelName"] == "global-default")
        assert int(line["CancelledRequests"]) == int(before["global-default"]["CancelledRequests"]) + 1
        assert (line["IsIdle"], line["WaitingRequests"]) == ("true", "0")


async def test_requests_by_rest_say_their_path() -> None:
    async with world(seats=20) as (api, fairness):
        rest, going = RestClient(api), asyncio.Event()
        janes = RestClient(api, tokens=TokenTable({hash_token("secret"): person("jane")}))
        tasks = [asyncio.create_task(one(fairness, person("jane"), [], going)) for _ in range(30)]
        for _ in range(20):
            await asyncio.sleep(0)
        paths = ("/api/v1/namespaces/default/pods?limit=1", "/apis/apps/v1/namespaces/default/deployments?watch=1", "/metrics")
        asked = [asyncio.create_task(janes.get(path)) for path in paths]
        for _ in range(20):
            await asyncio.sleep(0)
        told = await read(rest, "dump_requests?includeRequestDetails=1")
        assert sorted([line[name] for name in DETAILS] for line in told if line["APIPath"]) == [
            ["jane", "get", "/metrics", "", "", "", "", ""],
            ["jane", "list", "/api/v1/namespaces/default/pods", "default", "", "v1", "pods", ""],
            ["jane", "watch", "/apis/apps/v1/namespaces/default/deployments", "default", "", "apps/v1", "deployments", ""],
        ]
        for task in asked:
            task.cancel()
        going.set()
        await asyncio.gather(*tasks, *asked, return_exceptions=True)


async def test_columns_stand_below_one_another() -> None:
    async with world() as (api, _):
        lines = (await RestClient(api).get(f"{FOLDER}/dump_queues")).body.decode().splitlines()
        header = lines[0]
        starts = [header.index(name) for name in QUEUES[1:]]
        assert all(line[start - 1] == " " != line[start] for line in lines for start in starts)


async def test_only_who_may_reads_them() -> None:
    async with world() as (api, _):
        with pytest.raises(StatusError, match="forbidden"):
            await api.server.api.visit(User("jane", groups=("system:authenticated",)), "get", f"{FOLDER}/dump_queues")
        answer = await RestClient(api).get(f"{FOLDER}/dump_nothing")
        assert answer.status == 404
        assert not [path for path in (await RestClient(api).get("/")).json["paths"] if path.startswith("/debug")]


async def test_without_fairness_there_are_none() -> None:
    async with ApiInMemory(settings=ApiServerSettings(requests_at_once=0)) as api:
        assert (await RestClient(api).get(f"{FOLDER}/dump_queues")).status == 404
