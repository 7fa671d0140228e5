"""``SchedulerService``: why a pod goes where it goes, and who waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import grpc.aio

from knarr.api.scheduler.v1 import scheduler_service_pb2 as api
from knarr.api.scheduler.v1 import scheduler_service_pb2_grpc as api_grpc
from services.scheduler.decide import Explanation, Verdict
from services.scheduler.state import SchedulerState


class Answering(Protocol):
    """What the servicer asks; implemented by ``Scheduler``."""

    @property
    def state(self) -> SchedulerState: ...

    async def explain_whole(self, namespace: str, name: str) -> Explanation: ...


class SchedulerServicer(api_grpc.SchedulerServiceServicer):
    def __init__(self, scheduler: Answering) -> None:
        self._scheduler = scheduler

    async def Explain(self, request: api.ExplainRequest, context: grpc.aio.ServicerContext) -> api.ExplainResponse:
        found = await self._scheduler.explain_whole(request.namespace or "default", request.pod)
        profile = found.profile
        response = api.ExplainResponse(summary=found.summary, choice=_choice(found.verdicts), scheduler_name=profile.name)
        response.filters.extend(plugin.name for plugin in (*profile.filters, *profile.remote_filters))
        response.weights.update({plugin.name: weight for plugin, weight in (*profile.scores, *profile.remote_scores)})
        for verdict in found.verdicts:
            response.verdicts.add(
                node=verdict.node,
                fits=not verdict.refused_by,
                refused_by=verdict.refused_by,
                reasons=verdict.reasons,
                scores=verdict.scores,
                total_score=verdict.total,
            )
        return response

    async def GetQueue(self, request: api.GetQueueRequest, context: grpc.aio.ServicerContext) -> api.GetQueueResponse:
        queue = self._scheduler.state.queue
        response = api.GetQueueResponse()
        for waiting in sorted(queue.entries(), key=lambda waiting: waiting.pod.key):
            response.pods.add(
                namespace=waiting.pod.key.namespace,
                pod=waiting.pod.key.name,
                state=waiting.state.value,
                attempts=waiting.attempts,
                retry_in_seconds=queue.retry_in_seconds(waiting),
                refused_by=sorted(waiting.refused_by),
            )
        return response


def _choice(verdicts: Sequence[Verdict]) -> str:
    """The best node that fits; of equals the first by name, where the scheduler picks any."""
    fitting = [verdict for verdict in verdicts if not verdict.refused_by]
    return max(fitting, key=lambda verdict: verdict.total).node if fitting else ""
