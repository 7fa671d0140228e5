"""Plugins in other processes, over real connections: what they are told, what their answers do, and what their failures do."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.scheduler.v1 import explain_pb2
from knarr.api.scheduler.v1 import plugin_pb2 as api
from knarr.api.scheduler.v1 import plugin_pb2_grpc as api_grpc
from knarr.api.scheduler.v1 import scheduler_service_pb2 as face
from knarr.client.clock import SYSTEM_CLOCK
from knarr.objects.conditions import get_condition
from services.scheduler.component import Scheduler
from services.scheduler.configuration.configuration import parse_configuration
from services.scheduler.configuration.reading import settings_of
from services.scheduler.node_table import NodeTable
from services.scheduler.pod_facts import PodFacts
from services.scheduler.remote.told import CHUNK_BYTES, Told
from services.scheduler.remote_plugin import RemotePlugin
from services.scheduler.servicer import SchedulerServicer
from tests.scheduler.objects import node, pod
from tests.support.api import FaultyApi
from tests.support.rights import SCHEDULER

EXAMPLE = Path(__file__).parents[2] / "examples" / "scheduler-plugin-service"
NAME = "Odd"
FILE = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
  plugins: {multiPoint: {enabled: [{name: Odd, weight: 3}]}}
  pluginConfig:
  - name: Odd
    args: {kind: SchedulerPluginServiceArgs, address: ADDRESS, insecure: true, timeout: 300ms, MORE}
- schedulerName: plain
"""


class Odd(api_grpc.SchedulerPluginServiceServicer):
    """Does what a test says: ``refuses`` and ``points`` are of nodes by name; ``answers`` replaces a whole call."""

    def __init__(self, **info: bool) -> None:
        self.info = api.GetInfoResponse(name=NAME, **info)
        self.view = api.View()
        self.nodes: dict[int, str] = {}
        self.pods: dict[str, str] = {}
        self.calls = list[tuple[str, Any]]()
        self.refuses, self.points = dict[str, str](), dict[str, int]()
        self.answers: dict[str, Callable[[Any, grpc.aio.ServicerContext], Any]] = {}

    def asked(self, method: str) -> list[Any]:
        return [request for name, request in self.calls if name == method]

    async def _answer(self, method: str, request: Any, context: grpc.aio.ServicerContext, usual: Callable[[], Any]) -> Any:
        self.calls.append((method, request))
        if method in self.answers:
            return await self.answers[method](request, context)
        if hasattr(request, "view") and method != "UpdateNodes" and request.view != self.view:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not that view")
        return usual()

    async def GetInfo(self, request: Any, context: Any) -> Any:
        return await self._answer("GetInfo", request, context, lambda: self.info)

    async def UpdateNodes(self, request: Any, context: Any) -> Any:
        if request.base_revision == 0:
            self.nodes, self.pods = {}, {}
        elif (request.view.session, request.base_revision) != (self.view.session, self.view.revision):
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not that base")
        return await self._answer("UpdateNodes", request, context, lambda: self.take(request))

    def take(self, request: api.UpdateNodesRequest) -> api.UpdateNodesResponse:
        for number in request.removed_nodes:
            del self.nodes[number]
        self.nodes.update({told.number: told.node.metadata.name for told in request.nodes})
        self.pods.update({placed.pod.metadata.uid: placed.node for placed in request.pods})
        for uid in request.removed_pods:
            del self.pods[uid]
        self.view = request.view
        return api.UpdateNodesResponse()

    async def Filter(self, request: Any, context: Any) -> Any:
        def usual() -> api.FilterResponse:
            found = [(number, self.refuses[self.nodes[number]]) for number in request.candidates if self.nodes[number] in self.refuses]
            return api.FilterResponse(refusals=[api.Refusal(reason=reason, nodes=[number]) for number, reason in found])

        return await self._answer("Filter", request, context, usual)

    async def Score(self, request: Any, context: Any) -> Any:
        def usual() -> api.ScoreResponse:
            return api.ScoreResponse(scores=[self.points.get(self.nodes[number], 0) for number in request.candidates])

        return await self._answer("Score", request, context, usual)

    async def Reserve(self, request: Any, context: Any) -> Any:
        return await self._answer("Reserve", request, context, api.ReserveResponse)

    async def Unreserve(self, request: Any, context: Any) -> Any:
        return await self._answer("Unreserve", request, context, api.UnreserveResponse)

    async def PreBind(self, request: Any, context: Any) -> Any:
        return await self._answer("PreBind", request, context, api.PreBindResponse)


@asynccontextmanager
async def serving(plugin: Odd, port: int = 0) -> AsyncIterator[int]:
    server = grpc.aio.server()
    api_grpc.add_SchedulerPluginServiceServicer_to_server(plugin, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


class Cluster:
    def __init__(self, port: int, *nodes: core.Node, more: str = "") -> None:
        self.api = FaultyApi(SYSTEM_CLOCK)
        self.api.seed(*nodes)
        self.client = self.api.client()
        file = FILE.replace("ADDRESS", f"127.0.0.1:{port}").replace("MORE", more)
        self.scheduler = Scheduler(self.api.client(SCHEDULER), settings_of(parse_configuration(file.encode())))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.scheduler.run())
        try:
            yield
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Callable[[], Any]) -> Any:
        async with asyncio.timeout(20):
            while True:
                if found := condition():
                    return found
                await asyncio.sleep(0.01)

    def node_of(self, name: str) -> str:
        return next(found.spec.node_name for found in self.api.all(core.Pod) if found.metadata.name == name)

    async def placed(self, found: core.Pod) -> str:
        await self.client.create(found)
        return str(await self.until(lambda: self.node_of(found.metadata.name)))

    async def told(self, name: str) -> tuple[str, str]:
        """Reason and message of the condition of a pod that is refused."""

        def condition() -> Any:
            found = next(found for found in self.api.all(core.Pod) if found.metadata.name == name)
            return get_condition(found.status, "PodScheduled")

        found = await self.until(condition)
        return found.reason, found.message

    async def explained(self, name: str) -> explain_pb2.ExplainResponse:
        return await SchedulerServicer(self.scheduler).Explain(explain_pb2.ExplainRequest(pod=name), None)


async def test_it_narrows_and_ranks_what_the_plugins_leave() -> None:
    plugin = Odd(filter=True, score=True)
    plugin.refuses, plugin.points = {"n3": "node(s) were odd"}, {"n1": 1, "n2": 100, "n3": 100}
    cordoned = node("n0")
    cordoned.spec.unschedulable = True
    async with serving(plugin) as port:
        made = Cluster(port, cordoned, node("n1"), node("n2"), node("n3"))
        async with made.running():
            assert await made.placed(pod("a", cpu="1")) == "n2"
            answer = await made.explained("a")
            assert answer.verdicts[2].scores[NAME] == 300 and answer.weights[NAME] == 3 and answer.filters[-1] == NAME
            assert (answer.verdicts[3].refused_by, list(answer.verdicts[3].reasons)) == (NAME, ["node(s) were odd"])
    assert sorted(plugin.nodes.values()) == ["n0", "n1", "n2", "n3"]
    assert [plugin.nodes[number] for number in plugin.asked("Filter")[0].candidates] == ["n1", "n2", "n3"]
    assert [plugin.nodes[number] for number in plugin.asked("Score")[0].candidates] == ["n1", "n2"]


async def test_it_is_told_of_what_has_changed_alone() -> None:
    plugin = Odd(filter=True, pods=True)
    async with serving(plugin) as port:
        made = Cluster(port, *(node(f"n{number}") for number in range(20)))
        async with made.running():
            first = await made.placed(pod("a", cpu="1"))
            second = await made.placed(pod("b", cpu="1"))
            await made.client.delete(core.Pod, "a", "default", grace_period_seconds=0)
            await made.client.delete(core.Node, next(f"n{number}" for number in range(20) if f"n{number}" not in (first, second)))
            await made.until(lambda: len(made.scheduler.state.table) == 19 and made.scheduler.state.table.node_of("uid-default-a") == "")
            await made.placed(pod("c", cpu="1"))
    told = plugin.asked("UpdateNodes")
    assert [len(one.nodes) for one in told] == [20, 0, 0]
    assert [one.pods[0].pod.metadata.name for one in told[1:]] == ["a", "b"]
    assert [(len(one.removed_nodes), len(one.removed_pods)) for one in told] == [(0, 0), (0, 0), (1, 1)]
    assert len({one.view.session for one in told}) == 1
    assert second in plugin.pods.values() and len(plugin.nodes) == 19


async def test_one_that_was_started_anew_is_told_everything() -> None:
    plugin = Odd(filter=True, pods=True)
    async with serving(plugin) as port:
        made = Cluster(port, node("n1"))
        async with made.running():
            await made.placed(pod("a", cpu="1"))
            plugin.view = api.View()
            await made.placed(pod("b", cpu="1"))
    first, _, again = plugin.asked("UpdateNodes")[0], plugin.asked("UpdateNodes")[1], plugin.asked("UpdateNodes")[-1]
    assert again.base_revision == 0 and again.view.session != first.view.session
    assert plugin.nodes == {0: "n1"} and set(plugin.pods.values()) == {"n1"}
    assert made.api.all(core.Event)


async def test_whom_it_refuses_all_nodes_is_told_and_tried_when_a_node_changes() -> None:
    plugin = Odd(filter=True)
    plugin.refuses = {"n1": "node(s) were odd", "n2": "node(s) were even"}
    async with serving(plugin) as port:
        made = Cluster(port, node("n1"), node("n2"))
        async with made.running():
            await made.client.create(pod("a", cpu="1"))
            reason, message = await made.told("a")
            assert reason == "Unschedulable"
            assert message.startswith("0/2 nodes are available: 1 node(s) were even, 1 node(s) were odd.")
            (waiting,) = (await SchedulerServicer(made.scheduler).GetQueue(face.GetQueueRequest(), None)).pods
            assert waiting.state == "unschedulable" and list(waiting.refused_by) == [NAME]
            plugin.refuses = {}
            changed = await made.client.get(core.Node, "n1")
            changed.metadata.annotations["example.com/x"] = "y"
            await made.client.update(changed)
            assert await made.until(lambda: made.node_of("a"))


async def test_what_if_does_not_guess_what_it_would_say() -> None:
    plugin = Odd(filter=True)
    plugin.refuses = {"n1": "node(s) were odd"}
    async with serving(plugin) as port:
        made = Cluster(port, node("n1"))
        async with made.running():
            await made.client.create(pod("a", cpu="1"))
            await made.told("a")
            answer = await SchedulerServicer(made.scheduler).WhatIf(face.WhatIfRequest(drain_node={"node": "n1"}), None)
            assert not answer.pods and "pods that wait for them not judged" in answer.limits[1]


def answering(answer: Any) -> Callable[[Any, Any], Any]:
    async def called(request: Any, context: Any) -> Any:
        return answer

    return called


def failing(code: grpc.StatusCode, words: str) -> Callable[[Any, Any], Any]:
    async def called(request: Any, context: Any) -> Any:
        await context.abort(code, words)

    return called


async def never(request: Any, context: Any) -> Any:
    await asyncio.Event().wait()


LIES = [
    ("Filter", answering(api.FilterResponse(refusals=[api.Refusal(nodes=[77])])), "refuses node 77, which it was not asked about"),
    ("Score", answering(api.ScoreResponse(scores=[1])), 'running Score plugin "Odd": gave 1 scores for 2 nodes'),
    (
        "Score",
        answering(api.ScoreResponse(scores=[1, 101])),
        'plugin "Odd" returns an invalid score 101, it should in the range of [0, 100]',
    ),
    ("Score", answering(api.ScoreResponse(scores=[-1, 1])), 'plugin "Odd" returns an invalid score -1'),
    ("GetInfo", answering(api.GetInfoResponse(name="Other")), "calls itself 'Other'"),
    ("Filter", failing(grpc.StatusCode.INTERNAL, "no" * 999), 'running "Odd" filter plugin: rpc error: code = Internal desc = nono'),
    ("Filter", failing(grpc.StatusCode.FAILED_PRECONDITION, "never heard"), "rpc error: code = FailedPrecondition desc = never heard"),
    ("Filter", never, "rpc error: code = DeadlineExceeded desc = Deadline Exceeded"),
    ("UpdateNodes", never, "rpc error: code = DeadlineExceeded"),
]


@pytest.mark.parametrize(("method", "lie", "words"), LIES)
async def test_what_it_does_wrong_is_told_and_the_pod_tried_again(method: str, lie: Any, words: str) -> None:
    plugin = Odd(filter=True, score=True)
    plugin.answers[method] = lie
    async with serving(plugin) as port:
        made = Cluster(port, node("n1"), node("n2"))
        async with made.running():
            await made.client.create(pod("a", cpu="1"))
            reason, message = await made.told("a")
            assert reason == "SchedulerError" and words in message and len(message) < 700
            plugin.answers.clear()
            assert await made.until(lambda: made.node_of("a"))


@pytest.mark.parametrize(("method", "lie", "words"), LIES)
async def test_one_that_may_be_ignored_keeps_nobody(method: str, lie: Any, words: str) -> None:
    plugin = Odd(filter=True, score=True)
    plugin.answers[method] = lie
    async with serving(plugin) as port:
        made = Cluster(port, node("n1"), node("n2"), more="failurePolicy: Ignore")
        async with made.running():
            assert await made.placed(pod("a", cpu="1"))
    assert not [event for event in made.api.all(core.Event) if event.reason == "FailedScheduling"]


async def test_while_it_is_away_pods_of_other_profiles_go_on_and_it_is_not_asked_for_each() -> None:
    plugin = Odd(filter=True)
    plugin.answers["Filter"] = never
    async with serving(plugin) as port:
        made = Cluster(port, node("n1"))
        async with made.running():
            for number in range(20):
                await made.client.create(pod(f"a{number}", cpu="1m"))
            plain = pod("plain", cpu="1m")
            plain.spec.scheduler_name = "plain"
            assert await made.placed(plain) == "n1"
            for number in range(20):
                assert (await made.told(f"a{number}"))[0] == "SchedulerError"
            # One question each 300 ms and pause of a second or more: 20 would have taken six seconds.
            assert len(plugin.asked("Filter")) <= 3
            plugin.answers.clear()
            assert await made.until(lambda: made.node_of("a19"))


async def test_one_that_comes_back_is_asked_again() -> None:
    plugin = Odd(filter=True)
    async with serving(plugin) as port:
        pass
    made = Cluster(port, node("n1"))
    async with made.running():
        await made.client.create(pod("a", cpu="1"))
        reason, message = await made.told("a")
        assert reason == "SchedulerError" and message.startswith('running "Odd" filter plugin: rpc error: code = Unavailable desc = ')
        async with serving(plugin, port):
            assert await made.until(lambda: made.node_of("a"))


async def test_reservations_are_made_before_others_are_judged_and_given_back_where_nothing_is_bound() -> None:
    plugin = Odd(filter=True, reserve=True, pre_bind=True)
    slow = asyncio.Event()

    async def reserve(request: Any, context: Any) -> Any:
        await asyncio.sleep(0.05)
        return api.ReserveResponse()

    async def pre_bind(request: Any, context: Any) -> Any:
        if request.pod.metadata.name == "a":
            await slow.wait()
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "out of order")
        return api.PreBindResponse()

    plugin.answers.update(Reserve=reserve, PreBind=pre_bind)
    async with serving(plugin) as port:
        made = Cluster(port, node("n1"), more="preBindTimeout: 20s")
        async with made.running():
            await made.client.create(pod("a", cpu="1"))
            assert await made.placed(pod("b", cpu="1")) == "n1"
            assert not made.node_of("a")
            plugin.answers.pop("PreBind")
            slow.set()
            assert await made.until(lambda: made.node_of("a"))
    order = [(method, request.pod.metadata.name) for method, request in plugin.calls if hasattr(request, "pod")]
    assert order[:2] == [("Filter", "a"), ("Reserve", "a")] and order.index(("Reserve", "a")) < order.index(("Filter", "b"))
    assert ("Unreserve", "a") in order and order.count(("Reserve", "a")) == 2 and ("Unreserve", "b") not in order
    words = 'running PreBind plugin "Odd": rpc error: code = ResourceExhausted desc = out of order'
    assert words in [event.message for event in made.api.all(core.Event)]


async def test_a_reservation_that_it_denies_has_the_pod_placed_anew() -> None:
    plugin = Odd(filter=True, reserve=True)
    plugin.answers["Reserve"] = failing(grpc.StatusCode.RESOURCE_EXHAUSTED, "none left")
    async with serving(plugin) as port:
        made = Cluster(port, node("n1"), more="failurePolicy: Ignore")
        async with made.running():
            await made.client.create(pod("a", cpu="1"))
            await made.until(lambda: [event for event in made.api.all(core.Event) if "none left" in event.message])
            assert not made.node_of("a") and not made.scheduler.state.assumed
            plugin.answers.clear()
            assert await made.until(lambda: made.node_of("a"))


def test_a_large_cluster_is_told_in_parts_that_servers_take() -> None:
    table = NodeTable(RemotePlugin.reads)
    for number in range(40):
        large = node(f"n{number}")
        large.metadata.annotations["x"] = "y" * 60_000
        table.put_node(large)
        table.put_pod(PodFacts.of(pod(f"p{number}")), f"n{number}")
    told = Told(table, pods=True)
    parts = told.news()
    assert len(parts) > 1 and all(part.ByteSize() < CHUNK_BYTES * 2 for part in parts)
    assert [part.base_revision for part in parts] == list(range(len(parts)))
    assert sum(len(part.nodes) for part in parts) == sum(len(part.pods) for part in parts) == 40
    assert not told.news()
    table.remove_node("n7")
    table.put_node(node("other"))
    (news,) = told.news()
    assert news.removed_nodes == [7] and [(one.number, one.node.metadata.name) for one in news.nodes] == [(7, "other")]
    told.close()
    table.remove_pod("uid-default-p3")
    assert not table._followers


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ("kind: SchedulerPluginServiceArgs", "pluginConfig[0].args.address: Required value: must be host:port"),
        ("kind: SchedulerPluginServiceArgs, address: here", "args.address: Invalid value: \"here\": 'here' is not host:port"),
        ("kind: SchedulerPluginServiceArgs, address: 'x:1'", "args.caFile: Required value"),
        ("kind: SchedulerPluginServiceArgs, address: 'x:1', caFile: /none", 'args.caFile: Invalid value: "/none": there is no such file'),
        (
            "kind: SchedulerPluginServiceArgs, address: 'x:1', insecure: true, failurePolicy: Maybe",
            'failurePolicy: Unsupported value: "Maybe"',
        ),
        ("kind: SchedulerPluginServiceArgs, address: 'x:1', insecure: true, timeout: 0s", "args.timeout: Invalid value"),
        ("kind: SchedulerPluginServiceArgs, address: 'x:1', insecure: true, caFile: /none", "args.insecure: Invalid value"),
        ("kind: OddArgs, address: 'x:1'", 'plugins.multiPoint.enabled[0].name: Invalid value: "Odd": PreFilterPlugin "Odd" does not exist'),
    ],
)
def test_what_is_wrong_with_its_arguments_is_said(args: str, told: str) -> None:
    text = FILE.replace("kind: SchedulerPluginServiceArgs, address: ADDRESS, insecure: true, timeout: 300ms, MORE", args)
    with pytest.raises(ValueError) as error:
        parse_configuration(text.encode())
    assert told in str(error.value)


def test_each_profile_says_where_it_is() -> None:
    text = FILE.replace("ADDRESS", "'x:1'").replace("MORE", "") + "  plugins: {multiPoint: {enabled: [{name: Odd}]}}\n"
    with pytest.raises(ValueError, match=r'profiles\[1\].pluginConfig: Required value: plugin "Odd" is a process of its own'):
        parse_configuration(text.encode())


async def test_the_example_answers() -> None:
    names = runpy.run_path(str(EXAMPLE / "plugin.py"))
    server, port = names["serve"]("127.0.0.1:0")
    try:
        found = parse_configuration((EXAMPLE / "scheduler.yaml").read_bytes().replace(b":10400", f":{port}".encode()))
        made = Cluster(port, node("n0"), node("n1"), node("n2"))
        made.scheduler = Scheduler(made.api.client(SCHEDULER), settings_of(found))
        for name, count in (("n1", "1"), ("n2", "2")):
            licensed = await made.client.get(core.Node, name)
            licensed.metadata.annotations["example.com/licences"] = count
            await made.client.update(licensed)
        async with made.running():
            homes = []
            for number in range(4):
                using = pod(f"a{number}", cpu="1")
                using.metadata.labels["example.com/licence"] = "true"
                homes.append(await made.placed(using) if number < 3 else (await made.client.create(using)).spec.node_name)
            assert homes[0] == "n1" and sorted(homes) == ["", "n1", "n2", "n2"]
            message = (await made.told("a3"))[1]
            assert message.startswith("0/3 nodes are available: 1 node(s) had no licences, 2 node(s) had no free licence.")
            assert await made.placed(pod("plain", cpu="1"))
    finally:
        await asyncio.to_thread(server.stop(0).wait)
