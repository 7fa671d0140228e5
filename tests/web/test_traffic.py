"""Connections a second of each edge, from counters that only grow: and what the page asks of components, once for all who look."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.message import Message

from knarr.api.controller.v1 import controller_service_pb2 as controller
from knarr.api.proxy.v1 import proxy_service_pb2 as proxy
from knarr.api.scheduler.v1 import scheduler_service_pb2 as scheduler
from knarr.api.scheduler.v1 import what_if_pb2
from services.web.history import Link
from services.web.parts import NoParts, Unanswered
from services.web.shared import Shared
from services.web.traffic import Edge, Look, Traffic, rates
from services.web.wants import wanted
from services.web.what_if import Unclear, asked_for, what_if
from tests.support.set_clock import SetClock
from tests.web.test_why import AnsweringParts

EDGE = Edge("shop", "web", "TCP", 80, "10.244.0.9", 8080)
OTHER = EDGE._replace(address="10.244.0.10")


def look(at: float, **counts: int) -> Look:
    edges = {"web": EDGE, "other": OTHER}
    return Look(at, {edges[name]: count for name, count in counts.items()}, {}, "nftables")


def test_a_rate_is_what_a_counter_grew_by() -> None:
    assert rates(look(10, web=100), look(12, web=130)) == {EDGE: 15.0}


def test_a_new_endpoint_has_counted_since_the_last_look() -> None:
    assert rates(look(10, web=5), look(12, web=5, other=4)) == {EDGE: 0.0, OTHER: 2.0}


def test_a_counter_that_began_anew_is_taken_for_what_it_counts_now() -> None:
    assert rates(look(10, web=100), look(12, web=6)) == {EDGE: 3.0}


@pytest.mark.parametrize("before", [None, look(12, web=1), look(-100, web=1)])
def test_a_first_look_tells_no_rate_nor_does_one_that_is_too_long_ago(before: Look | None) -> None:
    assert rates(before, look(12, web=50)) == {EDGE: None}


def routes(connections: int) -> proxy.GetRoutesResponse:
    endpoint = proxy.Endpoint(address="10.244.0.9", port=8080, pod="web-1", connections=connections)
    route = proxy.Route(namespace="shop", service="web", protocol="TCP", port=80, endpoints=[endpoint])
    return proxy.GetRoutesResponse(datapath="nftables", routes=[route])


async def test_traffic_is_asked_of_the_proxy() -> None:
    clock, parts = SetClock(), AnsweringParts(routes(100))
    traffic = Traffic(parts, clock)
    assert (await traffic.now())["edges"][0]["rate"] is None
    clock.move(4.0)
    parts.answers[proxy.GetRoutesResponse] = routes(110)
    told = await traffic.now()
    assert told["datapath"] == "nftables"
    assert told["edges"] == [{**EDGE._asdict(), "pod": "web-1", "connections": 110, "rate": 2.5}]


async def test_an_answer_is_got_once_for_all_who_ask_at_once() -> None:
    clock, asked, go = SetClock(), 0, asyncio.Event()

    async def get() -> int:
        nonlocal asked
        asked += 1
        await go.wait()
        return asked

    shared = Shared(get, 2.0, clock)
    crowd = [asyncio.create_task(shared()) for _ in range(5)]
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*crowd) == [1] * 5
    clock.move(1.9)
    assert await shared() == 1
    clock.move(0.2)
    assert await shared() == 2


async def test_a_refusal_is_not_kept() -> None:
    answers = iter([Unanswered("away"), None])

    async def get() -> str:
        if (error := next(answers)) is not None:
            raise error
        return "there"

    shared = Shared(get, 60.0)
    with pytest.raises(Unanswered):
        await shared()
    assert await shared() == "there"


async def test_controllers_tell_what_they_want_next() -> None:
    key = controller.ActiveKey(
        controller="job", key="shop/x", state=controller.KEY_STATE_RETRIED, last_error="no", failures=2, next_in_seconds=1.25
    )
    listed = controller.ListControllersResponse(leader=True, controllers=[controller.ControllerStatus(name="job", queue_depth=3, syncs=9)])
    told = await wanted(AnsweringParts(listed, controller.ListKeysResponse(keys=[key], left_out=7)))
    assert told["controllers"] == [{"name": "job", "depth": 3, "running": 0, "syncs": 9, "errors": 0}]
    expected = {"controller": "job", "key": "shop/x", "state": "retried", "error": "no", "failures": 2, "next": 1.2, "last": 0.0}
    assert told["keys"] == [expected] and told["left_out"] == 7 and told["leader"]


def counted(connections: int, since: int = 0) -> proxy.GetRoutesResponse:
    answer = routes(connections)
    if since:
        answer.routes[0].endpoints[0].in_force_since.FromMilliseconds(since)
    return answer


async def test_the_first_connection_was_between_the_look_that_missed_it_and_the_next() -> None:
    clock = SetClock()
    parts = AnsweringParts(counted(0, since=1500))
    traffic = Traffic(parts, clock)
    times = []
    for connections in (0, 0, 3, 9):
        parts.answers[proxy.GetRoutesResponse] = counted(connections, since=1500)
        await traffic.now()
        times.append(round(clock.now().timestamp() * 1000))
        clock.move(2.0)
    rule, request = traffic.links("shop", "web-1")
    assert rule == Link("rule", 1500, 0, "services", "web", "kube-proxy")
    assert request == Link("request", times[2], 0, "services", "web", "", within=times[2] - times[1])
    assert traffic.links("shop", "web-2") == [] == traffic.links("theirs", "web-1")
    # The address is another pod's from now on.
    another = counted(1)
    another.routes[0].endpoints[0].pod = "web-2"
    parts.answers[proxy.GetRoutesResponse] = another
    await traffic.now()
    assert traffic.links("shop", "web-1") == [] and [link.step for link in traffic.links("shop", "web-2")] == ["request"]


async def test_of_what_was_counted_before_the_first_look_no_first_is_told() -> None:
    clock, parts = SetClock(), AnsweringParts(counted(7))
    traffic = Traffic(parts, clock)
    for _ in range(2):
        await traffic.now()
        clock.move(2.0)
    assert traffic.links("shop", "web-1") == []


async def test_what_if_is_asked_of_the_scheduler() -> None:
    outcome = what_if_pb2.PodOutcome(namespace="shop", pod="web-1", fate=what_if_pb2.FATE_PLACED, to="node-2")
    parts = AnsweringParts(what_if_pb2.WhatIfResponse(pods=[outcome]))
    told = await what_if(parts, {"requests": "shop/web-1", "container": "web", "cpu": "2"})
    assert told["pods"][0]["fate"] == "FATE_PLACED" and told["pods"][0]["to"] == "node-2" and told["budgets"] == []
    question = parts.asked[0][2]
    # What a scheduler reads of it.
    question = scheduler.WhatIfRequest.FromString(question.SerializeToString())
    assert question.set_requests.container == "web" and dict(question.set_requests.requests) == {"cpu": "2"}
    with pytest.raises(Unanswered):
        await what_if(NoParts(), {"drain": "node-1"})


def test_what_the_page_asks_has_the_places_and_names_of_what_the_scheduler_is_asked() -> None:
    there, whole = (message.DESCRIPTOR.oneofs_by_name["change"] for message in (what_if_pb2.WhatIfThere, scheduler.WhatIfRequest))
    places = {(field.name, field.number, field.message_type) for field in whole.fields}
    assert there.fields and {(field.name, field.number, field.message_type) for field in there.fields} <= places


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({}, "must say one of"),
        ({"drain": "a", "delete": "b/c"}, "must say one of"),
        ({"delete": "web"}, "is no NAMESPACE/POD"),
        ({"requests": "shop/web"}, "an amount of some resource"),
    ],
)
def test_a_question_that_names_nothing_is_refused(query: dict[str, str], words: str) -> None:
    with pytest.raises(Unclear, match=words):
        asked_for(query)


class SeveralParts(AnsweringParts):
    """A component with instances, each of which answers for itself."""

    def __init__(self, **instances: AnsweringParts) -> None:
        super().__init__()
        self._instances = instances

    async def ask_each(self, component: str, method: str, question: Message, answer: type[Any]) -> dict[str, Any]:
        return {name: await one.ask(component, method, question, answer) for name, one in self._instances.items()}


async def test_what_several_proxies_count_is_added_up_and_one_that_went_takes_only_its_own_away() -> None:
    clock, first, second = SetClock(), AnsweringParts(routes(100)), AnsweringParts(routes(1000))
    parts = SeveralParts(first=first, second=second)
    traffic = Traffic(parts, clock)
    await traffic.now()
    clock.move(4.0)
    first.answers[proxy.GetRoutesResponse], second.answers[proxy.GetRoutesResponse] = routes(110), routes(1040)
    (edge,) = (await traffic.now())["edges"]
    assert (edge["connections"], edge["rate"]) == (1150, 12.5)
    del parts._instances["second"]
    clock.move(4.0)
    (edge,) = (await traffic.now())["edges"]
    assert (edge["connections"], edge["rate"]) == (110, 0.0)


async def test_of_several_controllers_the_one_that_works_is_shown() -> None:
    waiting = AnsweringParts(controller.ListControllersResponse(), controller.ListKeysResponse())
    working = AnsweringParts(
        controller.ListControllersResponse(leader=True, controllers=[controller.ControllerStatus(name="deployment")]),
        controller.ListKeysResponse(left_out=1),
    )
    told = await wanted(SeveralParts(first=waiting, second=working))
    assert told["leader"] and told["controllers"][0]["name"] == "deployment" and told["left_out"] == 1
