"""What was used is remembered for an hour and no more, and what is gone is forgotten."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.web.api import JSON, Api, Refused
from services.web.packed import ObjectKey
from services.web.usage import KEPT_SAMPLES, METRICS, MISSED_SAMPLES, MOST_OBJECTS, Memory, Sampler, amount, used
from tests.support.set_clock import SetClock

NODE, POD = ObjectKey("nodes", "", "node-1"), ObjectKey("pods", "shop", "web-1")
MIB = 2**20


@pytest.mark.parametrize(("text", "value"), [("250m", 0.25), ("12345678n", 0.012345678), ("3", 3.0), ("64Mi", 64 * MIB), ("x", 0.0)])
def test_amounts(text: str, value: float) -> None:
    assert amount(text) == pytest.approx(value)


def test_a_pod_uses_what_its_containers_use() -> None:
    containers = [{"usage": {"cpu": "100m", "memory": "10Mi"}}, {"usage": {"cpu": "50m", "memory": "6Mi"}}, {}]
    assert used({"containers": containers}) == pytest.approx((0.15, 16 * MIB))
    assert used({"usage": {"cpu": "2", "memory": "1Gi"}}) == (2.0, 2**30)


def test_the_oldest_samples_are_forgotten_first() -> None:
    memory = Memory()
    for number in range(3 * KEPT_SAMPLES):
        memory.take(float(number), [(NODE, number / 1000, number * MIB)])
    told = memory.of(NODE)
    first = 2 * KEPT_SAMPLES
    assert told["at"][0] == first * 1000 and len(told["at"]) == KEPT_SAMPLES
    assert told["memory"] == [number * MIB for number in range(first, 3 * KEPT_SAMPLES)]
    assert told["cpu"][-1] == pytest.approx((3 * KEPT_SAMPLES - 1) / 1000, rel=1e-5)
    # However long it goes on, no more than twice as many lie there.
    assert len(memory._kept[NODE][0]) <= 2 * KEPT_SAMPLES + 1


def test_one_that_missed_a_few_samples_has_a_gap_and_one_that_is_gone_is_forgotten() -> None:
    memory = Memory()
    memory.take(0.0, [(NODE, 1.0, MIB), (POD, 0.5, MIB)])
    memory.take(10.0, [(NODE, 1.0, MIB)])
    memory.take(20.0, [(NODE, 1.0, MIB), (POD, 0.5, MIB)])
    assert memory.of(POD)["at"] == [0, 20_000]
    for number in range(MISSED_SAMPLES + 1):
        memory.take(30.0 + number, [(NODE, 1.0, MIB)])
    assert memory.of(POD) == {"at": [], "cpu": [], "memory": []} and len(memory) == 1


def test_objects_are_bounded() -> None:
    memory = Memory()
    memory.take(0.0, ((ObjectKey("pods", "shop", str(number)), 0.1, MIB) for number in range(MOST_OBJECTS + 50)))
    assert len(memory) == MOST_OBJECTS


class Metrics(Api):
    """An API server that answers what a test says, by what comes after the group's path; an exception is raised."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.questioned = asyncio.Event()

    async def json(self, method: str, path: str, body: Any = None, accept: str = JSON, content: str = JSON) -> Any:
        self.questioned.set()
        answer = self.answers[path.removeprefix(f"{METRICS}/")]
        if isinstance(answer, Exception):
            raise answer
        return {"items": answer}


NODES = [{"metadata": {"name": "node-1"}, "usage": {"cpu": "1", "memory": "5Mi"}}]
NO_PODS = Refused(403, "no right to list pods")


def pods(namespace: str, *names: str) -> list[Any]:
    usage = {"cpu": "250m", "memory": "3Mi"}
    return [{"metadata": {"namespace": namespace, "name": name}, "containers": [{"usage": usage}]} for name in names]


async def test_what_the_viewer_may_not_see_is_left_out_and_told() -> None:
    sampler = Sampler(Metrics({"nodes": NODES, "pods": NO_PODS}), SetClock())
    assert await sampler.sample()
    assert sampler.memory.of(NODE)["memory"] == [5 * MIB]
    assert sampler.standing(NODE) == "" and sampler.standing(POD) == "no right to list pods"


async def test_without_metrics_it_is_said_and_asked_less_often() -> None:
    missing = Refused(404, "the server could not find the requested resource")
    sampler = Sampler(Metrics({"nodes": missing, "pods": missing}), SetClock())
    assert not await sampler.sample()
    assert "could not find" in sampler.standing(POD) and len(sampler.memory) == 0


async def test_pods_of_the_namespaces_that_he_may_see_are_measured_and_no_others() -> None:
    answers = {
        "nodes": Refused(403, "no right to list nodes"),
        "pods": NO_PODS,
        "namespaces/shop/pods": pods("shop", "web-1"),
        "namespaces/theirs/pods": Refused(403, "no right to list pods in theirs"),
    }
    sampler = Sampler(Metrics(answers), SetClock(), ["shop", "theirs"])
    assert await sampler.sample()
    assert sampler.memory.of(POD)["memory"] == [3 * MIB] and len(sampler.memory) == 1
    theirs, unnamed = POD._replace(namespace="theirs"), POD._replace(namespace="unnamed")
    told = {key: sampler.standing(key) for key in (POD, NODE, theirs, unnamed)}
    assert told == {POD: "", NODE: "no right to list nodes", theirs: "no right to list pods in theirs", unnamed: "no right to list pods"}


@pytest.mark.parametrize("code", [401, 403])
async def test_what_he_may_see_no_more_is_forgotten(code: int) -> None:
    answers: dict[str, Any] = {"nodes": NODES, "pods": [*pods("shop", "web-1"), *pods("theirs", "web-1")]}
    theirs = POD._replace(namespace="theirs")
    sampler = Sampler(Metrics(answers), SetClock(), ["shop"])
    await sampler.sample()
    assert len(sampler.memory) == 3
    answers |= {"nodes": Refused(code, "no more"), "pods": Refused(403, "no more"), "namespaces/shop/pods": pods("shop", "web-1")}
    await sampler.sample()
    assert len(sampler.memory.of(POD)["at"]) == 2
    assert not sampler.memory.of(theirs)["at"] and not sampler.memory.of(NODE)["at"]
    answers["namespaces/shop/pods"] = Refused(code, "no more")
    await sampler.sample()
    assert len(sampler.memory) == 0 and sampler.standing(POD) == "no more"


async def test_what_was_measured_outlasts_an_api_server_that_is_away() -> None:
    answers: dict[str, Any] = {"nodes": NODES, "pods": NO_PODS, "namespaces/shop/pods": pods("shop", "web-1")}
    sampler = Sampler(Metrics(answers), SetClock(), ["shop"])
    await sampler.sample()
    answers |= dict.fromkeys(answers, ConnectionRefusedError("nobody listens"))
    assert not await sampler.sample()
    assert sampler.memory.of(POD)["at"] and sampler.memory.of(NODE)["at"]
    assert sampler.standing(POD) == "the API server does not answer: nobody listens"


async def test_a_namespace_that_he_names_is_asked_for_at_once() -> None:
    namespaces: list[str] = []
    refused = Refused(403, "no right")
    api = Metrics({"nodes": refused, "pods": refused, "namespaces/shop/pods": pods("shop", "web-1")})
    sampler = Sampler(api, SetClock(), namespaces)
    sampling = asyncio.create_task(sampler.run())
    async with asyncio.timeout(20):
        await api.questioned.wait()
        assert len(sampler.memory) == 0
        namespaces.append("shop")
        sampler.named()
        while not sampler.memory.of(POD)["at"]:  # noqa: ASYNC110
            await asyncio.sleep(0)
    sampling.cancel()
    await asyncio.wait([sampling])
