"""Why one pod reaches a Service or does not: each step of the way with its verdict.

The name is asked of the cluster's DNS, the Service and its endpoints are judged by what the viewer sees of them, policies and rules are
asked of the node's proxy. Functions here judge facts; ``reached`` gathers them. What a step says is a code with values, for which the
page has words in each of its languages; ``facts`` are the components' own words.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from knarr.service.late import loaded
from services.web.packed import ObjectKey
from services.web.parts import Parts, Unanswered
from services.web.recorder import Recorder

if TYPE_CHECKING:
    from knarr.api.dns.v1 import dns_service_pb2 as dns
    from knarr.api.proxy.v1 import policies_pb2 as policies
    from knarr.api.proxy.v1 import proxy_service_pb2 as proxy

GOOD, BAD, UNKNOWN = "good", "bad", "unknown"
# Endpoints of which policies are asked; those of one Service are mostly alike.
MOST_JUDGED = 5
NETWORK, ROUTES = "/knarr.api.proxy.v1.ProxyService/GetPodNetwork", "/knarr.api.proxy.v1.ProxyService/GetRoutes"
OWNER_LABEL = "kubernetes.io/service-name"
Obj = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """From a pod, which may be left out, to a port of a Service."""

    service: ObjectKey
    port: int
    protocol: str = "TCP"
    pod: ObjectKey | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """``code`` begins with the step's name, as `endpoints.unready`."""

    verdict: str
    code: str
    values: Mapping[str, str] = field(default_factory=dict)
    facts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint that is ready; ``pod`` is None for what is no pod."""

    address: str
    port: int
    pod: ObjectKey | None


def unanswered(step: str, error: Unanswered) -> Step:
    return Step(UNKNOWN, f"{step}.unasked", {}, [str(error)])


def named(name: str, answer: dns.ExplainResponse) -> Step:
    """What the DNS says to the name."""
    facts = [f"{step.name}: {step.code}, {step.rule}" for step in answer.steps] + list(answer.notes)
    addresses = ", ".join(record.data for record in answer.answers)
    if not addresses:
        return Step(BAD, "name.nothing", {"name": name}, facts)
    return Step(GOOD, "name.answers", {"name": name, "addresses": addresses}, facts)


def port_of(service: Obj | None, question: Question) -> Obj | None:
    """The Service's port that is asked for."""
    for port in service["spec"].get("ports") or () if service is not None else ():
        if port["port"] == question.port and port.get("protocol", "TCP") == question.protocol:
            return dict(port)
    return None


def served(service: Obj | None, question: Question) -> Step:
    """Whether there is the Service with that port."""
    if service is None:
        return Step(BAD, "service.missing", {"name": question.service.name})
    if port_of(service, question) is None:
        ports = ", ".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in service["spec"].get("ports") or ())
        return Step(BAD, "service.port", {"port": f"{question.port}/{question.protocol}", "ports": ports})
    return Step(GOOD, "service.there", {"type": service["spec"].get("type", ""), "address": service["spec"].get("clusterIP", "")})


def targets(slices: Iterable[Obj], port: Obj, question: Question) -> tuple[list[Target], int]:
    """The endpoints that are ready for a port, and how many are not."""
    ready: list[Target] = []
    unready = 0
    for piece in slices:
        if (piece["metadata"].get("labels") or {}).get(OWNER_LABEL) != question.service.name:
            continue
        numbers = [one["port"] for one in piece.get("ports") or () if one.get("name", "") == port.get("name", "")]
        for endpoint in piece.get("endpoints") or ():
            if not numbers or endpoint.get("conditions", {}).get("ready") is False:
                unready += 1
                continue
            pod = endpoint.get("targetRef") or {}
            key = ObjectKey("pods", pod["namespace"], pod["name"]) if pod.get("kind") == "Pod" else None
            ready.append(Target(endpoint["addresses"][0], numbers[0], key))
    return ready, unready


def answered_for(service: Obj, ready: Sequence[Target], pods: Iterable[Obj]) -> Step:
    """Whether somebody answers, and if nobody does, whether the selector or the pods are why."""
    if ready:
        return Step(GOOD, "endpoints.ready", {"count": str(len(ready))}, [f"{one.address}:{one.port}" for one in ready[:MOST_JUDGED]])
    selector: Mapping[str, str] = service["spec"].get("selector") or {}
    if not selector:
        return Step(BAD, "endpoints.unselected")
    words = ",".join(f"{key}={value}" for key, value in selector.items())
    chosen = [pod for pod in pods if selector.items() <= (pod["metadata"].get("labels") or {}).items()]
    if not chosen:
        return Step(BAD, "endpoints.selector", {"selector": words})
    return Step(BAD, "endpoints.unready", {"selector": words, "count": str(len(chosen))}, [_unready(pod) for pod in chosen[:MOST_JUDGED]])


def _unready(pod: Obj) -> str:
    status = pod.get("status") or {}
    ready: Obj = next((one for one in status.get("conditions") or () if one["type"] == "Ready"), {})
    return f"{pod['metadata']['name']}: {status.get('phase', 'Pending')}, {ready.get('message') or ready.get('reason') or 'not ready'}"


def permitted(target: Target, answer: policies.ExplainConnectionResponse) -> Step:
    """What policies say to the way to one endpoint, both directions."""
    facts = [
        f"{one.direction} of {one.namespace}/{one.pod}: {'allowed' if one.allowed else 'refused'}"
        + (f" by {', '.join(one.policies)}" if one.policies else ", no policy selects it")
        for one in answer.judgements
    ]
    name = target.pod.name if target.pod is not None else target.address
    return Step(
        GOOD if answer.allowed else BAD, "policy.allowed" if answer.allowed else "policy.refused", {"pod": name}, [answer.reason, *facts]
    )


def ruled(question: Question, answer: proxy.GetRoutesResponse, told: Sequence[str] = ()) -> Step:
    """Whether the node's datapath has the route. ``told`` is said beside it."""
    route = next((one for one in answer.routes if one.port == question.port and one.protocol == question.protocol), None)
    stale = [*told, *(["the API server is away: the rules are those last known"] if answer.stale else [])]
    if route is None:
        return Step(BAD, "rule.missing", {"datapath": answer.datapath}, [*answer.limitations, *stale])
    facts = [f"{one.address}:{one.port}: {one.connections} connections" for one in route.endpoints[:MOST_JUDGED]]
    values = {"datapath": answer.datapath, "count": str(len(route.endpoints))}
    return Step(
        GOOD if route.endpoints else BAD, "rule.there" if route.endpoints else "rule.empty", values, [*route.limitations, *stale, *facts]
    )


def led(network: proxy.GetPodNetworkResponse, node: str) -> Step:
    """Whether a node leads to the pods of another one."""
    values = {"from": network.node, "node": node}
    peer = next((one for one in network.peers if one.node == node), None)
    if peer is None:
        return Step(BAD, "route.missing", values, [network.problem] if network.problem else [])
    if not peer.way:
        return Step(BAD, "route.missing", values, [peer.problem])
    return Step(GOOD, "route.there", {**values, "way": peer.way}, [f"{peer.pod_cidr} by {peer.address}"])


def ways(networks: Iterable[proxy.GetPodNetworkResponse], source: str, nodes: Iterable[str]) -> list[Step]:
    """Of the node ``source`` to each of the others on which an endpoint is; of itself it needs none."""
    own = next((one for one in networks if one.node == source), None)
    steps: list[Step] = []
    for node in sorted({*nodes}):
        if node == source:
            steps.append(Step(GOOD, "route.same", {"node": node}))
        elif own is None:
            steps.append(Step(UNKNOWN, "route.unknown", {"from": source, "node": node}))
        else:
            steps.append(led(own, node))
    return steps


async def reached(parts: Parts, recorder: Recorder, question: Question) -> list[Step]:
    """All steps, also those behind one that is bad: there may be several reasons."""
    service = recorder.get(question.service)
    steps = [await _named(parts, question), served(service, question)]
    port = port_of(service, question)
    if service is None or port is None:
        return steps
    space = question.service.namespace
    ready, _ = targets(recorder.objects("endpointslices", space), port, question)
    steps.append(answered_for(service, ready, recorder.objects("pods", space)))
    source = _node(recorder, question.pod)
    if question.pod is not None:
        steps += [await _permitted(parts, question.pod, target, question.protocol) for target in ready[:MOST_JUDGED]]
    networks = await _networks(parts)
    steps.append(await _ruled(parts, question, networks, source))
    # What is on a node's own network is reached as the node is.
    ends = [recorder.get(target.pod) for target in ready[:MOST_JUDGED] if target.pod is not None]
    nodes = [end["spec"].get("nodeName", "") for end in ends if end is not None and not end["spec"].get("hostNetwork")]
    if source and nodes:
        steps += [unanswered("route", networks)] if isinstance(networks, Unanswered) else ways(networks.values(), source, nodes)
    return steps


def _node(recorder: Recorder, pod: ObjectKey | None) -> str:
    """On which a pod is; empty where that is not known."""
    found = recorder.get(pod) if pod is not None else None
    return str(found["spec"].get("nodeName", "")) if found is not None else ""


async def _networks(parts: Parts) -> Mapping[str, proxy.GetPodNetworkResponse] | Unanswered:
    """How each proxy's node reaches the pods of the others, by the proxy's address."""
    messages = await loaded("knarr.api.proxy.v1.proxy_service_pb2")
    try:
        return await parts.ask_each("proxy", NETWORK, messages.GetPodNetworkRequest(), messages.GetPodNetworkResponse)
    except Unanswered as error:
        return error


async def _named(parts: Parts, question: Question) -> Step:
    messages = await loaded("knarr.api.dns.v1.dns_service_pb2")
    name = f"{question.service.name}.{question.service.namespace}"
    asked = messages.ExplainRequest(name=name, namespace=question.pod.namespace if question.pod is not None else question.service.namespace)
    call = parts.ask("dns", "/knarr.api.dns.v1.DnsService/Explain", asked, messages.ExplainResponse)
    return await _or_unknown("name", call, lambda answer: named(name, answer))


async def _permitted(parts: Parts, pod: ObjectKey, target: Target, protocol: str) -> Step:
    messages = await loaded("knarr.api.proxy.v1.policies_pb2")
    end = {"namespace": target.pod.namespace, "pod": target.pod.name} if target.pod is not None else {"address": target.address}
    asked = messages.ExplainConnectionRequest(
        source={"namespace": pod.namespace, "pod": pod.name}, destination=end, protocol=protocol, port=target.port
    )
    call = parts.ask("proxy", "/knarr.api.proxy.v1.ProxyService/ExplainConnection", asked, messages.ExplainConnectionResponse)
    return await _or_unknown("policy", call, lambda answer: permitted(target, answer))


async def _ruled(parts: Parts, question: Question, networks: Mapping[str, proxy.GetPodNetworkResponse] | Unanswered, source: str) -> Step:
    """What the proxy of the node ``source`` has; of any, where that one is not known."""
    messages = await loaded("knarr.api.proxy.v1.proxy_service_pb2")
    asked = messages.GetRoutesRequest(namespace=question.service.namespace, service=question.service.name)
    nodes = {} if isinstance(networks, Unanswered) else {address: network.node for address, network in networks.items()}

    def judged(answers: Mapping[str, proxy.GetRoutesResponse]) -> Step:
        own = next((answer for address, answer in answers.items() if source and nodes.get(address) == source), None)
        if own is not None:
            return ruled(question, own)
        address, answer = next(iter(answers.items()))
        other = nodes.get(address, "")
        elsewhere = [f"as the proxy of {other} has it: that of {source} is not asked from here"] if source and other else []
        return ruled(question, answer, elsewhere)

    call = parts.ask_each("proxy", ROUTES, asked, messages.GetRoutesResponse)
    return await _or_unknown("rule", call, judged)


async def _or_unknown(step: str, call: Awaitable[Any], judge: Any) -> Step:
    try:
        return judge(await call)  # type: ignore[no-any-return]
    except Unanswered as error:
        return unanswered(step, error)
