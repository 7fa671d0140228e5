"""Extenders: who is asked about which nodes, what their answers do, and what their failures do."""

from __future__ import annotations

import asyncio
import dataclasses
import runpy
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web as http

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.scheduler.v1 import explain_pb2
from knarr.objects.conditions import get_condition
from services.scheduler.component import Scheduler
from services.scheduler.configuration.configuration import parse_configuration
from services.scheduler.configuration.reading import settings_of
from services.scheduler.extender import Extender, ExtenderFailed, ExtenderTls, ManagedResource
from services.scheduler.extenders.asking import Extenders
from services.scheduler.extenders.http_web import HttpWeb, context_of
from services.scheduler.pod_facts import PodFacts
from services.scheduler.seconds import Seconds
from services.scheduler.servicer import SchedulerServicer
from services.scheduler.settings import SchedulerSettings
from tests.scheduler.objects import node, pod
from tests.scheduler.test_component import Fixture
from tests.support.rights import SCHEDULER
from tests.support.virtual_time import VirtualClock, virtual_time

GPU = "example.com/gpu"
URL = "http://extender"


class Answers:
    """A web of one extender: what it answers by verb, and what it was asked. An exception is raised, a function is called."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.asked = answers, list[tuple[str, Any]]()

    async def post(self, extender: Extender, verb: str, body: Any) -> Any:
        self.asked.append((verb, body))
        answer = self.answers[verb]
        if isinstance(answer, Exception):
            raise answer
        return await answer(body) if callable(answer) else answer

    async def close(self) -> None:
        return


class Extended(Fixture):
    def __init__(self, web: Answers, *nodes: core.Node, **extender: Any) -> None:
        super().__init__(*nodes)
        found = Extender(url_prefix=URL, node_cache_capable=True, **extender)
        settings = SchedulerSettings(seed=1, extenders=(found,))
        self.scheduler = Scheduler(self.api.client(SCHEDULER), settings, clock=VirtualClock(), web=web)


async def placed(made: Extended, found: core.Pod) -> str:
    await made.client.create(found)
    await asyncio.sleep(0.5)
    return str((await made.pod(found.metadata.name)).spec.node_name)


@virtual_time
async def test_it_narrows_and_ranks_what_the_plugins_leave() -> None:
    # As a program writes it that is not in Go.
    web = Answers(
        sift={"nodenames": ["n1", "n2"], "failedNodes": {"n3": "too hot"}}, rank=[{"host": "n1", "score": 0}, {"host": "n2", "score": 10}]
    )
    cordoned = node("n0")
    cordoned.spec.unschedulable = True
    made = Extended(web, cordoned, node("n1"), node("n2"), node("n3"), filter_verb="sift", prioritize_verb="rank", weight=50)
    async with made.running():
        assert await placed(made, pod("a", cpu="1")) == "n2"
        answer = await SchedulerServicer(made.scheduler).Explain(explain_pb2.ExplainRequest(pod="a"), None)
        assert answer.choice == "n2" and answer.verdicts[2].scores["Extender"] == 10 * 10 * 50
    (_, sift), (_, rank), *_ = web.asked
    assert sift["NodeNames"] == ["n1", "n2", "n3"] and sift["Nodes"] is None and sift["Pod"]["metadata"]["name"] == "a"
    assert rank["NodeNames"] == ["n1", "n2"]


@virtual_time
async def test_whom_it_refuses_all_nodes_is_told_its_reasons_and_tried_when_anything_happens() -> None:
    web = Answers(sift={"NodeNames": [], "FailedNodes": {"n1": "too hot"}, "FailedAndUnresolvableNodes": {"n2": "no gpu"}})
    made = Extended(web, node("n1"), node("n2"), filter_verb="sift")
    async with made.running():
        assert not await placed(made, pod("a", cpu="1"))
        condition = get_condition((await made.pod("a")).status, "PodScheduled")
        assert condition is not None and condition.reason == "Unschedulable"
        assert condition.message.startswith("0/2 nodes are available: 1 no gpu, 1 too hot.")
        answer = await SchedulerServicer(made.scheduler).Explain(explain_pb2.ExplainRequest(pod="a"), None)
        assert answer.summary == "0/2 nodes are available: 1 no gpu, 1 too hot."
        assert [(one.node, one.refused_by, list(one.reasons)) for one in answer.verdicts] == [
            ("n1", "Extender", ["too hot"]),
            ("n2", "Extender", ["no gpu"]),
        ]
        await asyncio.sleep(30)
        web.answers["sift"] = {"NodeNames": ["n3"]}
        made.api.seed(node("n3"))
        await asyncio.sleep(2)
        assert (await made.pod("a")).spec.node_name == "n3"


@virtual_time
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ExtenderFailed("failed sift with extender at URL http://extender/sift, code 500"), "failed sift with extender at URL"),
        ({"Error": "out of order"}, "out of order"),
        ({"NodeNames": ["n9"]}, 'extender "http://extender" claims a filtered node "n9" which is not found in the input node list'),
        ([1], "an extender answered no object: [1]"),
    ],
)
async def test_its_failure_is_told_and_the_pod_tried_again(answer: Any, words: str) -> None:
    web = Answers(sift=answer)
    made = Extended(web, node("n1"), filter_verb="sift")
    async with made.running():
        assert not await placed(made, pod("a", cpu="1"))
        condition = get_condition((await made.pod("a")).status, "PodScheduled")
        assert condition is not None and condition.reason == "SchedulerError" and condition.message.startswith(words)
        assert made.events("FailedScheduling")[0] == condition.message
        web.answers["sift"] = {"NodeNames": ["n1"]}
        await asyncio.sleep(3)
        assert (await made.pod("a")).spec.node_name == "n1"


@virtual_time
async def test_one_that_may_be_ignored_is() -> None:
    made = Extended(Answers(sift=ExtenderFailed("away")), node("n1"), filter_verb="sift", ignorable=True)
    async with made.running():
        assert await placed(made, pod("a", cpu="1")) == "n1"


@virtual_time
@pytest.mark.parametrize("answer", [ExtenderFailed("away"), {"no": "list"}, [{"host": "n1"}], None])
async def test_one_that_gives_no_scores_hinders_nobody(answer: Any) -> None:
    made = Extended(Answers(rank=answer), node("n1"), node("n2"), prioritize_verb="rank", weight=1)
    async with made.running():
        assert await placed(made, pod("a", cpu="1"))


@virtual_time
async def test_it_is_asked_about_pods_that_use_what_it_manages_and_binds_those() -> None:
    async def bind(body: Any) -> Any:
        binding = core.Binding()
        binding.metadata.namespace, binding.metadata.name, binding.target.name = body["PodNamespace"], body["PodName"], body["Node"]
        await made.client.create(binding, subresource="binding", name=body["PodName"])
        return {}

    web = Answers(bind=bind, sift={"NodeNames": ["n1"]})
    made = Extended(web, node("n1"), filter_verb="sift", bind_verb="bind", managed_resources=(ManagedResource(GPU),))
    using = pod("b")
    using.spec.containers[0].resources.requests[GPU].string = "1"
    using.spec.containers[0].resources.limits[GPU].string = "1"
    large = node("n1")
    large.status.allocatable[GPU].string = "4"
    made.api.seed(large)
    async with made.running():
        assert await placed(made, pod("a", cpu="1")) == "n1" and not web.asked
        assert await placed(made, using) == "n1"
    assert [verb for verb, _ in web.asked] == ["sift", "bind"]
    assert web.asked[1][1] | {"PodUID": ""} == {"PodName": "b", "PodNamespace": "default", "PodUID": "", "Node": "n1"}


@virtual_time
async def test_a_binding_that_came_about_though_it_failed_is_one() -> None:
    async def bind(body: Any) -> Any:
        binding = core.Binding()
        binding.metadata.namespace, binding.metadata.name, binding.target.name = body["PodNamespace"], body["PodName"], body["Node"]
        await made.client.create(binding, subresource="binding", name=body["PodName"])
        raise ExtenderFailed("too late")

    made = Extended(Answers(bind=bind), node("n1"), bind_verb="bind")
    async with made.running():
        assert await placed(made, pod("a", cpu="1")) == "n1"
        await asyncio.sleep(5)
        assert made.events("Scheduled") == ["Successfully assigned default/a to n1"] and not made.events("FailedScheduling")


@virtual_time
async def test_a_binding_that_it_refuses_is_told_and_tried_again() -> None:
    web = Answers(bind={"Error": "not today"})
    made = Extended(web, node("n1"), bind_verb="bind")
    async with made.running():
        assert not await placed(made, pod("a", cpu="1"))
        assert made.events("FailedScheduling") == ["binding rejected: not today"]
        await asyncio.sleep(3)
        assert len(web.asked) > 1


@virtual_time
async def test_what_changes_while_it_thinks_is_seen() -> None:
    async def sift(body: Any) -> Any:
        await asyncio.sleep(3)
        return {"NodeNames": body["NodeNames"]}

    made = Extended(Answers(sift=sift), node("n1", cpu="1"), filter_verb="sift")
    async with made.running():
        await made.client.create(pod("a", cpu="1"))
        await asyncio.sleep(1)
        # Somebody else takes the room, and another node comes.
        made.api.seed(pod("other", "1", node_name="n1"), node("n2"))
        await asyncio.sleep(15)
        assert (await made.pod("a")).spec.node_name == "n2"


def test_a_file_says_who_extends() -> None:
    text = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
extenders:
- urlPrefix: https://127.0.0.1:8888/scheduler
  filterVerb: filter
  preemptVerb: preempt
  prioritizeVerb: prioritize
  weight: 2
  enableHTTPS: true
  httpTimeout: 200ms
  nodeCacheCapable: true
  managedResources: [{name: example.com/gpu, ignoredByScheduler: true}]
  tlsConfig: {caData: aGVsbG8=}
"""
    found = parse_configuration(text.encode())
    (one,) = settings_of(found).extenders
    assert (one.url("filter"), one.timeout_seconds, one.weight) == ("https://127.0.0.1:8888/scheduler/filter", 0.2, 2)
    assert one.tls_config == ExtenderTls(ca_data=b"hello")
    assert found.profiles[0].args["NodeResourcesFit"].ignores(GPU)
    assert not found.unused


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("urlPrefix: x, filterVerb: f", 'extenders[0].urlPrefix: Invalid value: "x": must be the beginning of a URL, http:// or https://'),
        ("urlPrefix: 'http://x', prioritizeVerb: p", "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it"),
        (
            "urlPrefix: 'http://x', managedResources: [{name: cpu}]",
            'extenders[0].managedResources[0].name: Invalid value: "cpu": is an invalid extended resource name',
        ),
        ("urlPrefix: 'http://x', bindVerb: b}, {urlPrefix: 'http://y', bindVerb: b", "only one extender can implement bind"),
    ],
)
def test_what_is_wrong_with_one_is_said(text: str, told: str) -> None:
    head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
    with pytest.raises(ValueError) as error:
        parse_configuration(f"{head}extenders: [{{{text}}}]\n".encode())
    assert told in str(error.value)


async def test_over_http() -> None:
    async def sift(request: http.Request) -> http.Response:
        return http.json_response({"nodenames": (await request.json())["NodeNames"]})

    async def slow(request: http.Request) -> http.Response:
        await asyncio.Event().wait()
        return http.Response()

    app = http.Application()
    app.router.add_post("/x/sift", sift)
    app.router.add_post("/x/slow", slow)
    runner = http.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = http.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    web, extender = HttpWeb(), Extender(url_prefix=f"http://127.0.0.1:{port}/x/")
    try:
        assert await web.post(extender, "sift", {"NodeNames": ["n1"]}) == {"nodenames": ["n1"]}
        with pytest.raises(ExtenderFailed, match=rf"failed none with extender at URL http://127\.0\.0\.1:{port}/x/none, code 404"):
            await web.post(extender, "none", {})
        with pytest.raises(ExtenderFailed, match="context deadline exceeded"):
            await web.post(dataclasses.replace(extender, http_timeout=Seconds(0.2)), "slow", {})
        secure = Extender(url_prefix=f"https://127.0.0.1:{port}/x", enable_https=True)
        with pytest.raises(ExtenderFailed, match='Post "https://127'):
            await web.post(secure, "sift", {})
    finally:
        await web.close()
        await runner.cleanup()
    with pytest.raises(ExtenderFailed, match=f"dial tcp 127.0.0.1:{port}: connect: connection refused"):
        await web.post(extender, "sift", {})
    await web.close()


async def test_the_example_answers() -> None:
    path = Path(__file__).parents[2] / "examples" / "scheduler-extender" / "extender.py"
    names = runpy.run_path(str(path))
    kind = names["Extender"]
    kind.closed, kind.log_message = Path(__file__).with_name("absent"), lambda *_: None
    server = names["ThreadingHTTPServer"](("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    web = HttpWeb()
    (found,) = parse_configuration(path.with_name("scheduler.yaml").read_bytes()).extenders
    asking = Extenders([dataclasses.replace(found, url_prefix=f"http://127.0.0.1:{server.server_port}")], web)
    try:
        advice = await asking.advise(PodFacts.of(pod("a")), {"n1": node("n1"), "n2": node("n2")})
        assert advice.allowed == {"n1", "n2"} and dict(advice.scores["Extender"]) == {"n1": 100, "n2": 90}
    finally:
        await asking.close()
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()


def test_whom_it_trusts() -> None:
    plain, strange = Extender(url_prefix="https://x"), Extender(url_prefix="https://x", enable_https=True)
    for one, mode in ((plain, ssl.CERT_REQUIRED), (strange, ssl.CERT_NONE)):
        context = context_of(one)
        assert isinstance(context, ssl.SSLContext) and context.verify_mode is mode


def test_two_at_one_place_are_trusted_each_as_it_says() -> None:
    web, plain, strange = HttpWeb(), Extender(url_prefix="https://x"), Extender(url_prefix="https://x", enable_https=True)
    first, second, again = (web._context(one) for one in (plain, strange, dataclasses.replace(plain)))
    assert isinstance(first, ssl.SSLContext) and first.verify_mode is ssl.CERT_REQUIRED and again is first
    assert isinstance(second, ssl.SSLContext) and second.verify_mode is ssl.CERT_NONE
