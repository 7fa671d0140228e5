"""``SchedulerService``: why a pod goes where it goes, and who waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import grpc.aio

from knarr.api.scheduler.v1 import explain_pb2, what_if_pb2
from knarr.api.scheduler.v1 import scheduler_service_pb2 as api
from knarr.api.scheduler.v1 import scheduler_service_pb2_grpc as api_grpc
from knarr.machinery.errors import bad_request
from knarr.objects.keys import Key
from services.scheduler.decide import Verdict
from services.scheduler.queue import Waiting
from services.scheduler.state import SchedulerState

if TYPE_CHECKING:
    from services.scheduler.explaining import Account, Eviction
    from services.scheduler.what_if import Outcome, WhatIf


class Answering(Protocol):
    """What the servicer asks; implemented by ``Scheduler``."""

    @property
    def state(self) -> SchedulerState: ...

    async def explain(self, namespace: str, name: str) -> Account: ...

    def what_if(self) -> WhatIf: ...


class SchedulerServicer(api_grpc.SchedulerServiceServicer):
    def __init__(self, scheduler: Answering) -> None:
        self._scheduler = scheduler

    async def Explain(self, request: explain_pb2.ExplainRequest, context: grpc.aio.ServicerContext) -> explain_pb2.ExplainResponse:
        account = await self._scheduler.explain(request.namespace or "default", request.pod)
        found = account.explanation
        profile = found.profile
        response = explain_pb2.ExplainResponse(summary=found.summary, choice=_choice(found.verdicts), scheduler_name=profile.name)
        response.filters.extend(plugin.name for plugin in (*profile.filters, *profile.remote_filters))
        response.weights.update({plugin.name: weight for plugin, weight in (*profile.scores, *profile.remote_scores)})
        response.verdicts.extend(_verdict(one) for one in found.verdicts)
        for remedy in found.remedies if found.summary else ():
            response.remedies.add(words=remedy.words, nodes=remedy.nodes)
        response.standing, response.eviction_reason = account.standing, account.reason
        if account.queued is not None:
            response.queued.CopyFrom(self._queued(account.queued, account.awaits))
        if account.eviction is not None:
            response.eviction.CopyFrom(_eviction(account.eviction))
        return response

    async def WhatIf(self, request: api.WhatIfRequest, context: grpc.aio.ServicerContext) -> what_if_pb2.WhatIfResponse:
        return _told(_asked(self._scheduler.what_if(), request))

    async def GetQueue(self, request: api.GetQueueRequest, context: grpc.aio.ServicerContext) -> api.GetQueueResponse:
        entries = sorted(self._scheduler.state.queue.entries(), key=lambda waiting: waiting.pod.key)
        return api.GetQueueResponse(pods=[self._queued(waiting) for waiting in entries])

    def _queued(self, waiting: Waiting, awaits: Sequence[str] = ()) -> explain_pb2.QueuedPod:
        return explain_pb2.QueuedPod(
            namespace=waiting.pod.key.namespace,
            pod=waiting.pod.key.name,
            state=waiting.state.value,
            attempts=waiting.attempts,
            retry_in_seconds=self._scheduler.state.queue.retry_in_seconds(waiting),
            refused_by=sorted(waiting.refused_by),
            awaits=awaits,
        )


def _verdict(verdict: Verdict) -> explain_pb2.NodeVerdict:
    told = explain_pb2.NodeVerdict(
        node=verdict.node,
        fits=not verdict.refused_by,
        refused_by=verdict.refused_by,
        reasons=verdict.reasons,
        scores=verdict.scores,
        total_score=verdict.total,
    )
    for one in verdict.hindrances:
        told.hindrances.add(filter=one.filter, reasons=one.reasons, numbers=one.numbers)
    return told


def _eviction(found: Eviction) -> explain_pb2.Eviction:
    preemption = found.preemption
    told = explain_pb2.Eviction(node=preemption.node, violations=preemption.violations, why=found.why, decided=found.decided)
    for victim in preemption.victims:
        told.victims.add(namespace=victim.key.namespace, pod=victim.key.name, priority=victim.priority)
    return told


def _asked(what_if: WhatIf, request: api.WhatIfRequest) -> Outcome:
    match request.WhichOneof("change"):
        case "drain_node":
            return what_if.drained(request.drain_node.node)
        case "delete_pod":
            return what_if.deleted(_key(request.delete_pod))
        case "set_requests":
            found = request.set_requests
            return what_if.requested(_key(found), found.container, found.requests)
        case "add_node":
            added = request.add_node
            return what_if.added(added.node if added.HasField("node") else None, added.like, added.count)
    raise bad_request("change: must be one of drain_node, delete_pod, set_requests, add_node")


def _key(of: what_if_pb2.DeletePod | what_if_pb2.SetRequests) -> Key:
    return Key(of.namespace or "default", of.pod)


def _told(outcome: Outcome) -> what_if_pb2.WhatIfResponse:
    response = what_if_pb2.WhatIfResponse(limits=outcome.limits)
    for one in outcome.pods:
        fate = what_if_pb2.Fate.Value(f"FATE_{one.fate.name}")
        told = response.pods.add(namespace=one.key.namespace, pod=one.key.name, fate=fate, to=one.target, reason=one.reason)
        # A word of Python's.
        setattr(told, "from", one.source)
        told.refused_by.extend(sorted(one.refused_by))
    for budget in outcome.budgets:
        response.budgets.add(namespace=budget.key.namespace, name=budget.key.name, allowed=budget.allowed, pods=budget.pods)
    return response


def _choice(verdicts: Sequence[Verdict]) -> str:
    """The best node that fits; of equals the first by name, where the scheduler picks any."""
    fitting = [verdict for verdict in verdicts if not verdict.refused_by]
    return max(fitting, key=lambda verdict: verdict.total).node if fitting else ""
