"""Why a pod is pending, and why a Service is not reached: each reason is found where it lies."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message

from knarr.api.dns.v1 import dns_service_pb2 as dns
from knarr.api.proxy.v1 import policies_pb2 as policies
from knarr.api.proxy.v1 import proxy_service_pb2 as proxy
from knarr.api.scheduler.v1 import explain_pb2
from services.web.packed import ObjectKey
from services.web.parts import Health, NoParts, Unanswered
from services.web.placing import placing
from services.web.reach import BAD, GOOD, UNKNOWN, Question, Step, reached
from services.web.recorder import Recorder
from tests.support.set_clock import SetClock

WEB = ObjectKey("services", "shop", "web")
CLIENT = ObjectKey("pods", "shop", "client")


class AnsweringParts:
    """Components that answer what a test says, by the message that answers."""

    def __init__(self, *answers: Message) -> None:
        self.answers = {type(answer): answer for answer in answers}
        self.asked: list[tuple[str, str, Message]] = []

    async def healths(self) -> list[Health]:
        return []

    async def ask(self, component: str, method: str, question: Message, answer: type[Any]) -> Any:
        self.asked.append((component, method.rpartition("/")[2], question))
        if answer not in self.answers:
            raise Unanswered(f"{component} does not answer")
        return self.answers[answer]

    async def ask_each(self, component: str, method: str, question: Message, answer: type[Any]) -> dict[str, Any]:
        return {component: await self.ask(component, method, question, answer)}


def metadata(name: str, **labels: str) -> dict[str, Any]:
    return {"name": name, "namespace": "shop", "resourceVersion": "1", "labels": labels}


def service(**selector: str) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]
    return {"metadata": metadata("web"), "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.7", "ports": ports, "selector": selector}}


def pod(name: str, *, ready: bool) -> dict[str, Any]:
    condition = {"type": "Ready", "status": str(ready), "message": "containers with unready status: [web]"}
    return {"metadata": metadata(name, app="web"), "spec": {}, "status": {"phase": "Running", "conditions": [condition]}}


def endpoints(*, ready: bool) -> dict[str, Any]:
    labels = {"labels": {"kubernetes.io/service-name": "web"}}
    target = {"kind": "Pod", "namespace": "shop", "name": "web-1"}
    return {
        "metadata": metadata("web-abc") | labels,
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": ["10.244.0.9"], "conditions": {"ready": ready}, "targetRef": target}],
    }


def recorder(**objects: list[dict[str, Any]]) -> Recorder:
    made = Recorder(SetClock())
    for resource in ("services", "pods", "endpointslices"):
        made.begin(resource, objects.get(resource, []), 1)
    return made


NAMED = dns.ExplainResponse(
    steps=[dns.Step(name="web.shop.svc.cluster.local.", code="NOERROR", answers=1, rule="Service")],
    answers=[dns.Record(name="web.shop.svc.cluster.local.", type="A", data="10.96.0.7")],
)
ALLOWED = policies.ExplainConnectionResponse(allowed=True, reason="no policy selects either pod")
REFUSED = policies.ExplainConnectionResponse(
    reason="ingress of shop/web-1 is refused",
    judgements=[policies.Judgement(direction="ingress", namespace="shop", pod="web-1", isolated=True, policies=["deny-all"])],
)
ROUTED = proxy.GetRoutesResponse(
    datapath="nftables",
    routes=[proxy.Route(port=80, protocol="TCP", endpoints=[proxy.Endpoint(address="10.244.0.9", port=8080, connections=3)])],
)
WHOLE = {"services": [service(app="web")], "pods": [pod("web-1", ready=True)], "endpointslices": [endpoints(ready=True)]}


async def steps(parts: Any, objects: dict[str, list[dict[str, Any]]], port: int = 80) -> list[Step]:
    return await reached(parts, recorder(**objects), Question(WEB, port, pod=CLIENT))


async def test_a_way_on_which_all_is_well() -> None:
    parts = AnsweringParts(NAMED, ALLOWED, ROUTED)
    found = await steps(parts, WHOLE)
    assert [(step.verdict, step.code) for step in found] == [
        (GOOD, "name.answers"),
        (GOOD, "service.there"),
        (GOOD, "endpoints.ready"),
        (GOOD, "policy.allowed"),
        (GOOD, "rule.there"),
    ]
    assert [(component, method) for component, method, _ in parts.asked] == [
        ("dns", "Explain"),
        ("proxy", "ExplainConnection"),
        ("proxy", "GetPodNetwork"),
        ("proxy", "GetRoutes"),
    ]
    question = parts.asked[1][2]
    assert isinstance(question, policies.ExplainConnectionRequest)
    # The pod's own port is judged, not the Service's.
    assert (question.source.pod, question.destination.pod, question.port) == ("client", "web-1", 8080)


@pytest.mark.parametrize(
    ("code", "objects", "port"),
    [
        ("service.missing", {}, 80),
        ("service.port", WHOLE, 81),
        ("endpoints.selector", {"services": [service(app="wbe")], "pods": WHOLE["pods"]}, 80),
        ("endpoints.unselected", {"services": [service()]}, 80),
        ("endpoints.unready", WHOLE | {"pods": [pod("web-1", ready=False)], "endpointslices": [endpoints(ready=False)]}, 80),
    ],
)
async def test_what_is_wrong_with_the_objects(code: str, objects: dict[str, list[dict[str, Any]]], port: int) -> None:
    found = await steps(AnsweringParts(NAMED, ALLOWED, ROUTED), objects, port)
    assert [step.code for step in found if step.verdict == BAD] == [code]


async def test_a_pod_that_is_not_ready_is_told_with_its_reason() -> None:
    objects = WHOLE | {"pods": [pod("web-1", ready=False)], "endpointslices": [endpoints(ready=False)]}
    found = await steps(AnsweringParts(NAMED, ALLOWED, ROUTED), objects)
    assert list(found[2].facts) == ["web-1: Running, containers with unready status: [web]"]


@pytest.mark.parametrize(
    ("code", "answers"),
    [
        ("name.nothing", (dns.ExplainResponse(notes=["no Service has that name"]), ALLOWED, ROUTED)),
        ("policy.refused", (NAMED, REFUSED, ROUTED)),
        ("rule.missing", (NAMED, ALLOWED, proxy.GetRoutesResponse(datapath="nftables"))),
        ("rule.empty", (NAMED, ALLOWED, proxy.GetRoutesResponse(routes=[proxy.Route(port=80, protocol="TCP")]))),
    ],
)
async def test_what_components_say(code: str, answers: tuple[Message, ...]) -> None:
    found = await steps(AnsweringParts(*answers), WHOLE)
    assert [step.code for step in found if step.verdict == BAD] == [code]


def on(node: str, obj: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return obj | {"spec": {"nodeName": node, **spec}}


class Proxies(AnsweringParts):
    """One proxy a node: what each has of pods' network, and whether it has the Service's rule."""

    def __init__(self, **nodes: tuple[proxy.GetPodNetworkResponse, proxy.GetRoutesResponse]) -> None:
        super().__init__(NAMED, ALLOWED)
        self.nodes = nodes

    async def ask_each(self, component: str, method: str, question: Message, answer: type[Any]) -> dict[str, Any]:
        return {node: next(one for one in answers if isinstance(one, answer)) for node, answers in self.nodes.items()}


def network(node: str, **peers: str) -> proxy.GetPodNetworkResponse:
    """Of a node; an empty way is none."""
    found = [proxy.Peer(node=name, way=way, problem="" if way else "it has no address") for name, way in peers.items()]
    return proxy.GetPodNetworkResponse(mode="auto", node=node, peers=found)


@pytest.mark.parametrize(
    ("verdict", "code", "known"),
    [
        (GOOD, "route.there", network("a", b="routes")),
        (BAD, "route.missing", network("a", b="")),
        (BAD, "route.missing", network("a", c="vxlan")),
        # A proxy of another node, as where only the page's own is asked.
        (UNKNOWN, "route.unknown", network("c", b="routes")),
    ],
)
async def test_the_way_from_node_to_node(verdict: str, code: str, known: proxy.GetPodNetworkResponse) -> None:
    objects = WHOLE | {"pods": [on("b", pod("web-1", ready=True)), on("a", pod("client", ready=True))]}
    found = await steps(Proxies(a=(known, ROUTED)), objects)
    assert (found[-1].verdict, found[-1].code) == (verdict, code)
    assert code != "route.there" or found[-1].values == {"from": "a", "node": "b", "way": "routes"}


async def test_on_one_node_there_is_no_way_to_be_led() -> None:
    objects = WHOLE | {"pods": [on("a", pod("web-1", ready=True)), on("a", pod("client", ready=True))]}
    assert (await steps(Proxies(a=(proxy.GetPodNetworkResponse(mode="off"), ROUTED)), objects))[-1] == Step(
        GOOD, "route.same", {"node": "a"}
    )
    host = WHOLE | {"pods": [on("b", pod("web-1", ready=True), hostNetwork=True), on("a", pod("client", ready=True))]}
    assert (await steps(Proxies(a=(network("a"), ROUTED)), host))[-1].code == "rule.there"


async def test_the_rule_is_that_of_the_node_from_which_one_comes() -> None:
    objects = WHOLE | {"pods": [on("b", pod("web-1", ready=True)), on("a", pod("client", ready=True))]}
    both = Proxies(b=(network("b", a="routes"), ROUTED), a=(network("a", b="routes"), proxy.GetRoutesResponse(datapath="nftables")))
    assert [step.code for step in await steps(both, objects) if step.code.startswith("rule")] == ["rule.missing"]
    other = await steps(Proxies(b=(network("b", a="routes"), ROUTED)), objects)
    (rule,) = (step for step in other if step.code.startswith("rule"))
    assert rule.facts[0] == "as the proxy of b has it: that of a is not asked from here"


async def test_who_does_not_answer_is_no_reason() -> None:
    found = await steps(NoParts(), WHOLE)
    assert [step.verdict for step in found] == [UNKNOWN, GOOD, GOOD, UNKNOWN, UNKNOWN]


async def test_why_a_pod_is_pending_is_what_the_scheduler_says() -> None:
    verdict = explain_pb2.NodeVerdict(
        node="a", refused_by="NodeResourcesFit", hindrances=[explain_pb2.Hindrance(filter="NodeResourcesFit")]
    )
    parts = AnsweringParts(explain_pb2.ExplainResponse(verdicts=[verdict], summary="0/1 nodes are available", filters=["NodeResourcesFit"]))
    told = await placing(parts, "shop", "web-1")
    assert told["verdicts"][0]["refusedBy"] == "NodeResourcesFit" and told["verdicts"][0]["fits"] is False
    assert told["summary"] == "0/1 nodes are available" and told["remedies"] == []
