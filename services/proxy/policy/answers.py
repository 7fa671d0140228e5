"""What ProxyService answers about policies."""

from __future__ import annotations

from collections.abc import Iterable

from knarr.api.proxy.v1 import policies_pb2 as messages
from services.proxy.policy.enforcement import PolicyEnforcement
from services.proxy.policy.engine import PolicyEngine
from services.proxy.policy.explain import Connection, Judgement, judge
from services.proxy.policy.facts import EGRESS, HIGHEST_PORT, INGRESS, PROTOCOLS, PodFacts, PolicyFacts, is_ipv4


class UnknownParty(LookupError):
    """A pod that is not there, or has no address of its own."""


def policies_answer(request: messages.GetPoliciesRequest, found: PolicyEnforcement) -> messages.GetPoliciesResponse:
    """What GetPolicies answers: of the namespace and the pod that are asked for, or of all."""
    engine = found.engine
    pods = [
        pod for pod in engine.pods if engine.is_local(pod) and request.namespace in ("", pod.namespace) and request.pod in ("", pod.name)
    ]
    selecting = {pod.key: engine.selecting(pod) for pod in pods}
    wanted = {policy.key for policies in selecting.values() for policy in policies} if request.pod else set(engine.policies)
    policies = [policy for key, policy in sorted(engine.policies.items()) if key in wanted and request.namespace in ("", policy.namespace)]
    answer = messages.GetPoliciesResponse(
        enabled=True,
        problem=found.problem,
        limitations=found.limitations,
        policies=[_policy_message(policy, found) for policy in policies],
        pods=[_pod_message(pod, selecting[pod.key]) for pod in sorted(pods, key=lambda pod: pod.key)],
        changes=found.changes,
        last_change_seconds=found.last_change_seconds,
    )
    away_since = found.away_since
    if away_since is not None:
        answer.stale = True
        answer.stale_since.FromDatetime(away_since)
    return answer


def _policy_message(policy: PolicyFacts, found: PolicyEnforcement) -> messages.Policy:
    engine = found.engine
    message = messages.Policy(
        namespace=policy.namespace,
        name=policy.name,
        ingress=policy.ingress is not None,
        egress=policy.egress is not None,
        pods=sum(engine.is_local(pod) for pod in engine.pods.matching((policy.namespace,), policy.pods)),
        problems=found.problems_of(policy),
    )
    if policy.key in found.in_force_since:
        message.in_force_since.FromDatetime(found.in_force_since[policy.key])
    return message


def _pod_message(pod: PodFacts, policies: Iterable[PolicyFacts]) -> messages.PodPolicies:
    selecting = list(policies)
    return messages.PodPolicies(
        namespace=pod.namespace,
        name=pod.name,
        address=pod.address,
        ingress_isolated=any(policy.rules(INGRESS) is not None for policy in selecting),
        egress_isolated=any(policy.rules(EGRESS) is not None for policy in selecting),
        policies=[policy.name for policy in selecting],
    )


def explain_answer(request: messages.ExplainConnectionRequest, engine: PolicyEngine) -> messages.ExplainConnectionResponse:
    """UnknownParty for a pod without an address; ValueError for what is no address, protocol or port."""
    protocol = PROTOCOLS.get(request.protocol or "TCP", "")
    if not protocol:
        raise ValueError(f"protocol {request.protocol!r}: must be one of {', '.join(PROTOCOLS)}")
    if not 1 <= request.port <= HIGHEST_PORT:
        raise ValueError(f"port {request.port}: must be between 1 and {HIGHEST_PORT}")
    source, destination = _address(request.source, engine), _address(request.destination, engine)
    dns = engine.dns
    named = (destination, request.port) if dns is not None and destination in dns.addresses else None
    judgements = judge(engine, Connection(source, destination, protocol, request.port, named))
    refusals = [judgement for judgement in judgements if not judgement.allowed]
    return messages.ExplainConnectionResponse(
        allowed=not refusals,
        reason="; ".join(map(_reason, refusals or judgements)) or "no pod's policies are concerned",
        judgements=[_judgement_message(judgement) for judgement in judgements],
    )


def _address(party: messages.Party, engine: PolicyEngine) -> str:
    if not party.pod:
        if not is_ipv4(party.address):
            raise ValueError(f"{party.address!r} is neither a pod nor an IPv4 address")
        return party.address
    pod = engine.pods.get((party.namespace or "default", party.pod))
    if pod is None:
        raise UnknownParty(f"pod {party.namespace or 'default'}/{party.pod} is not known, or has no address of its own")
    return pod.address


def _reason(judgement: Judgement) -> str:
    pod = f"{judgement.direction} of pod {judgement.pod.namespace}/{judgement.pod.name}"
    names = ", ".join(policy.name for policy in judgement.policies)
    if not judgement.isolated:
        return f"no policy governs {pod}"
    return f"{pod} is allowed by {names}" if judgement.allowed else f"{pod} is governed by {names}, and none allows it"


def _judgement_message(judgement: Judgement) -> messages.Judgement:
    return messages.Judgement(
        direction=judgement.direction,
        namespace=judgement.pod.namespace,
        pod=judgement.pod.name,
        isolated=judgement.isolated,
        allowed=judgement.allowed,
        policies=[policy.name for policy in judgement.policies],
    )
