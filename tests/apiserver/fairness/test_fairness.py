"""Turns of a loop and seats, shared out among clients of which one is noisy; and what both faces make of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.flowcontrol.v1 import flowcontrol_pb2 as flowcontrol
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError, TooManyRequests
from knarr.service.authentication import User
from services.apiserver.fairness import fairness as module
from services.apiserver.fairness.fairness import MAX_STREAMS, MAX_WAIT_SECONDS, TURN_SEATS, Fairness, Ticket, list_seats
from services.apiserver.fairness.flows import Flow
from services.apiserver.fairness.metrics import REJECTED
from services.apiserver.fairness.upkeep import keep_fairness
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.settings import ApiServerSettings
from tests.support.faces import RestClient, rpc_client
from tests.support.virtual_time import virtual_time

KNOWN = "system:authenticated"
MASTER = User("root", groups=("system:masters", KNOWN))


def person(name: str) -> User:
    return User(name, groups=(KNOWN,))


@asynccontextmanager
async def world(seats: int = 600) -> AsyncIterator[tuple[ApiInMemory, Fairness]]:
    async with ApiInMemory(settings=ApiServerSettings(requests_at_once=seats)) as api:
        await keep_fairness(api.client())
        fairness = api.server.api.fairness
        assert isinstance(fairness, Fairness)
        yield api, fairness


def flow(fairness: Fairness, user: User) -> Flow:
    return fairness.flows.of_resource(user, "get", "", "pods", "", "default")


async def passed(fairness: Fairness, user: User, width: int = 1) -> Ticket | None:
    entering = fairness.enter(flow(fairness, user), width)
    return entering if entering is None or isinstance(entering, Ticket) else await fairness.let_in(entering)


async def one(fairness: Fairness, user: User, done: list[str], going: asyncio.Event | None = None) -> None:
    ticket = await passed(fairness, user)
    try:
        if going is not None:
            await going.wait()
        done.append(user.name)
    finally:
        fairness.leave(ticket)


async def test_who_is_alone_waits_for_nobody() -> None:
    async with world() as (_, fairness):
        done: list[str] = []
        await asyncio.gather(*(one(fairness, person("jane"), done) for _ in range(100)))
        assert len(done) == 100
        assert all(level.in_use == level.executing == level.waiting == 0 for level in fairness.flows.levels)


async def test_a_crowd_of_one_client_does_not_come_before_another() -> None:
    """Of a thousand requests in one turn of the loop those of somebody else are among the first."""
    async with world() as (_, fairness):
        done: list[str] = []
        await asyncio.gather(one(fairness, person("quiet"), done), one(fairness, person("noisy"), done))
        done.clear()
        noisy = [one(fairness, person("noisy"), done) for _ in range(250)]
        await asyncio.gather(*noisy, one(fairness, person("quiet"), done))
        assert done.index("quiet") <= 8 * TURN_SEATS
        assert len(done) == 251
        assert all(level.in_use == level.executing == level.waiting == 0 for level in fairness.flows.levels)


async def test_exempt_requests_wait_for_nobody() -> None:
    async with world() as (_, fairness):
        done: list[str] = []
        crowd = [one(fairness, person(f"user-{number % 3}"), done) for number in range(200)]
        masters = [one(fairness, MASTER, done) for _ in range(50)]
        await asyncio.gather(*crowd, *masters)
        assert max(at for at, name in enumerate(done) if name == "root") < 120


async def test_seats_are_held_by_those_who_wait_for_something() -> None:
    async with world(seats=24) as (_, fairness):
        level = flow(fairness, person("jane")).level
        going, done = asyncio.Event(), list[str]()
        first = [asyncio.create_task(one(fairness, person("jane"), done, going)) for _ in range(60)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert 0 < level.in_use < 24
        assert level.waiting == 60 - level.in_use
        going.set()
        await asyncio.gather(*first)
        assert (level.in_use, level.waiting, len(done)) == (0, 0, 60)


async def test_a_list_takes_more_seats() -> None:
    assert [list_seats(objects) for objects in (0, 99, 100, 550, 1000, 300_000)] == [1, 1, 2, 6, 10, 10]
    async with world() as (_, fairness):
        ticket = await passed(fairness, person("jane"), 10)
        assert ticket is not None
        assert ticket.level.in_use == 10
        fairness.leave(ticket)
        assert ticket.level.in_use == 0


async def test_whose_queues_are_full_is_sent_away() -> None:
    async with world(seats=20) as (_, fairness):
        going = asyncio.Event()
        jane = person("jane")
        where = flow(fairness, jane)
        tasks = [asyncio.create_task(one(fairness, jane, [], going)) for _ in range(400)]
        for _ in range(20):
            await asyncio.sleep(0)
        refused = [task for task in tasks if task.done()]
        shape = where.level.shape
        assert len(refused) == 400 - where.level.in_use - shape.hand_size * shape.queue_length
        with pytest.raises(TooManyRequests, match="Too many requests, please try again later") as error:
            await refused[0]
        assert error.value.status.details.retry_after_seconds == 1
        assert REJECTED.of("global-default", "global-default", "queue-full").value >= len(refused)
        # Somebody else has queues of his own.
        other = asyncio.create_task(one(fairness, person("joe"), []))
        going.set()
        await other
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(result, StatusError) for result in results) == len(refused)


@virtual_time
async def test_who_waits_too_long_is_sent_away() -> None:
    loop = asyncio.get_running_loop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "monotonic", loop.time)
        async with world(seats=20) as (_, fairness):
            going, jane = asyncio.Event(), person("jane")
            tasks = [asyncio.create_task(one(fairness, jane, [], going)) for _ in range(30)]
            began = loop.time()
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            assert MAX_WAIT_SECONDS <= loop.time() - began <= MAX_WAIT_SECONDS + 2
            gone = [task for task in tasks if task.done()]
            assert all(isinstance(task.exception(), TooManyRequests) for task in gone)
            assert flow(fairness, jane).level.waiting == 0
            going.set()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert flow(fairness, jane).level.in_use == 0


async def test_who_goes_while_waiting_leaves_nothing_behind() -> None:
    async with world(seats=20) as (_, fairness):
        going, jane = asyncio.Event(), person("jane")
        tasks = [asyncio.create_task(one(fairness, jane, [], going)) for _ in range(60)]
        for _ in range(10):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        going.set()
        for task in tasks[1::4]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await one(fairness, jane, [])
        level = flow(fairness, jane).level
        assert (level.in_use, level.executing, level.waiting) == (0, 0, 0)
        assert fairness.flows.seats.in_use == 0


async def test_a_level_that_changes_keeps_those_who_wait() -> None:
    async with world(seats=20) as (api, fairness):
        going, done, jane = asyncio.Event(), list[str](), person("jane")
        tasks = [asyncio.create_task(one(fairness, jane, done, going)) for _ in range(30)]
        for _ in range(10):
            await asyncio.sleep(0)
        before = flow(fairness, jane).level.in_use
        level = await api.client().get(flowcontrol.PriorityLevelConfiguration, "global-default")
        own = flowcontrol.PriorityLevelConfiguration()
        own.CopyFrom(level)
        own.spec.limited.nominal_concurrency_shares = 2000
        await api.client().update(own)
        # Somebody else's request is what has the change seen; the seats are there for all then.
        await one(fairness, MASTER, [])
        for _ in range(20):
            await asyncio.sleep(0)
        assert flow(fairness, jane).level.in_use > before
        going.set()
        await asyncio.gather(*tasks)
        assert len(done) == 30


async def test_streams_of_a_user_are_bounded() -> None:
    async with world() as (_, fairness):
        jane = person("jane")
        for _ in range(MAX_STREAMS):
            fairness.open(jane)
            fairness.open(MASTER)
        with pytest.raises(TooManyRequests, match=f'user "jane" has {MAX_STREAMS} watches and streams open already'):
            fairness.open(jane)
        fairness.open(MASTER)
        fairness.open(person("joe"))
        fairness.close(jane)
        fairness.open(jane)


CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


async def test_answers_tell_how_they_were_classified() -> None:
    async with world() as (api, _):
        schema = await api.client().get(flowcontrol.FlowSchema, "exempt")
        level = await api.client().get(flowcontrol.PriorityLevelConfiguration, "exempt")
        for path in (CONFIG_MAPS, f"{CONFIG_MAPS}/missing", "/api", f"{CONFIG_MAPS}?watch=true&timeoutSeconds=1&resourceVersion=1"):
            answer = await RestClient(api).get(path)
            assert answer.headers["x-kubernetes-pf-flowschema-uid"] == [schema.metadata.uid]
            assert answer.headers["x-kubernetes-pf-prioritylevel-uid"] == [level.metadata.uid]


def spent(fairness: Fairness) -> tuple[int, int, int]:
    levels = fairness.flows.levels
    return sum(level.in_use for level in levels), sum(level.executing for level in levels), sum(fairness._streams.values())


async def test_rest_gives_back_what_it_was_let_in_by(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as (api, fairness):
        client = RestClient(api)
        for method, path, body in (
            ("GET", CONFIG_MAPS, None),
            ("GET", "/nowhere", None),
            ("PUT", CONFIG_MAPS, {}),
            ("POST", CONFIG_MAPS, b"{"),
            ("GET", f"{CONFIG_MAPS}?watch=true&timeoutSeconds=1&resourceVersion=1", None),
            ("GET", f"{CONFIG_MAPS}?watch=true&resourceVersion=nonsense", None),
            ("GET", "/api/v1/namespaces/default/pods/none/log", None),
            ("GET", f"{CONFIG_MAPS}?limit=nonsense", None),
        ):
            await client.call(method, path, body, impersonate_user="jane")
            assert spent(fairness) == (0, 0, 0), path


async def test_rest_refuses_with_the_time_after_which_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as (api, fairness):
        monkeypatch.setattr(fairness.flows.seats, "may_take", lambda *_: False)
        monkeypatch.setattr(fairness.flows, "follow", lambda: None)
        asking = [asyncio.create_task(RestClient(api).get(CONFIG_MAPS, impersonate_user="jane")) for _ in range(320)]
        done, waiting = await asyncio.wait(asking, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        answer = done.pop().result()
        assert (answer.status, answer.headers["retry-after"]) == (429, ["1"])
        assert answer.json["message"] == "Too many requests, please try again later."
        for task in waiting:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_grpc_waits_and_gives_back_too(tmp_path: Path) -> None:
    async with world() as (api, fairness), rpc_client(api, tmp_path) as client:
        entered: list[str] = []
        real = fairness.enter

        def enter(flow: Flow, width: int = 1, about: object = None) -> Any:
            entered.append(flow.schema.name)
            return real(flow, width)

        fairness.enter = enter  # type: ignore[method-assign]
        made = await client.create(core.ConfigMap(metadata=meta.ObjectMeta(name="one", namespace="default")))
        await client.list(core.ConfigMap, "default")
        before = str(int(made.metadata.resource_version) - 1)
        assert await anext(client.watch(core.ConfigMap, "default", resource_version=before))
        assert entered == ["exempt"] * 3
    assert spent(fairness) == (0, 0, 0)


async def test_without_seats_there_is_no_order() -> None:
    async with ApiInMemory(settings=ApiServerSettings(requests_at_once=0)) as api:
        assert api.server.api.fairness is None
        assert (await RestClient(api).get(CONFIG_MAPS)).status == 200


async def test_calls_by_grpc_go_on_in_turns_too() -> None:
    """All have waited for the same, the quiet one came last; of the noisy one's there goes on one in a turn."""
    async with world() as (api, _):
        stored, done = asyncio.Event(), list[str]()

        async def call(name: str) -> str:
            await stored.wait()
            done.append(name)
            return name

        async def paced(name: str) -> str:
            answer: str = await api.server.pace(person(name), call(name))
            return answer

        calls = [asyncio.create_task(paced(name)) for name in (*["noisy"] * 100, "quiet")]
        # All begin, in turns.
        for _ in range(110):
            await asyncio.sleep(0)
        stored.set()
        await calls[-1]
        assert len(done) <= 4
        assert await asyncio.gather(*calls) == ["noisy"] * 100 + ["quiet"]


async def test_who_is_alone_by_grpc_is_not_held_up() -> None:
    async with world() as (api, _):
        done: list[int] = []

        async def call(number: int) -> None:
            done.append(number)

        async def paced(number: int) -> None:
            await api.server.pace(person("jane"), call(number))

        calls = [asyncio.create_task(paced(number)) for number in range(50)]
        await asyncio.sleep(0)
        assert len(done) == 50
        await asyncio.gather(*calls)
