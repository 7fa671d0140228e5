"""Horizontal pod autoscaler: sets how many pods something has by what they use, or by any other metric.

Each autoscaler is looked at when it is made or changed, and then at every sync period. What was recommended before, and which changes
were made, is remembered here only, as in Kubernetes: a manager that begins to lead knows of no earlier ones.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling_v1
from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.events import NORMAL, WARNING
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict, NotFound, StatusError
from knarr.machinery.resources import Version
from knarr.machinery.selectors import Selector, parse_label_selector
from knarr.machinery.times import to_time
from knarr.objects.conditions import set_condition
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key, key_of
from knarr.objects.owners import group_of
from services.controller.controller import Context, Controller
from services.controller.controllers.horizontalpodautoscaler.behavior import History
from services.controller.controllers.horizontalpodautoscaler.decide import (
    ACTIVE,
    AT_ZERO,
    GOT_SCALE,
    TO_ZERO,
    Choice,
    Plan,
    Said,
    choose,
    decide,
    failed_scale,
    failed_update,
    rescaled,
    settled,
    tolerance,
)
from services.controller.controllers.horizontalpodautoscaler.metrics import ClientSources
from services.controller.controllers.horizontalpodautoscaler.proposals import Asking, Failure, Proposal, Subject
from services.controller.controllers.horizontalpodautoscaler.samples import Pace
from services.controller.versions import NoVersion, Versions
from services.controller.workloads.status import report

logger = logging.getLogger(__name__)

# Looks that take longer than a period are not to fill all the time.
SHORTEST_PAUSE_SECONDS = 0.05

Autoscaler = autoscaling.HorizontalPodAutoscaler


class NoSubject(Exception):
    """The pods of a scale cannot be told: reason and words of the event, and what the condition says."""

    def __init__(self, reason: str, message: str, said: Said) -> None:
        super().__init__(message)
        self.reason, self.message, self.said = reason, message, said


class HorizontalPodAutoscalerController(Controller):
    name = "horizontalpodautoscaler"
    speaks_as = "horizontal-pod-autoscaler"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        settings = context.settings
        self._autoscalers = self.watches(Autoscaler, when=_is_another)
        self._pods = self.reads(core.Pod)
        self._versions = Versions(context.client)
        self._sources = ClientSources(context.client, self._versions)
        self._pace = Pace(settings.autoscaler_cpu_initialization_seconds, settings.autoscaler_initial_readiness_seconds)
        self._histories: dict[Key, History] = {}
        # By autoscaler, which pods it was found to be about.
        self._selectors: dict[Key, Selector] = {}

    async def reconcile(self, key: Key) -> Again | None:
        began = asyncio.get_running_loop().time()
        if key not in self._autoscalers or (autoscaler := await self._stored(key)) is None:
            self._histories.pop(key, None)
            self._selectors.pop(key, None)
            return None
        status = copy_of(autoscaler.status)
        try:
            version, scale = await self._scale(autoscaler)
        except (NoVersion, StatusError) as error:
            self._warn(autoscaler, "FailedGetScale", str(error))
            self._say(status, [failed_scale(str(error))])
            await report(self.client, autoscaler, status, insist=True)
            return self._again(began)
        self._say(status, [GOT_SCALE])
        status.current_replicas = scale.spec.replicas
        plan = settled(autoscaler, scale.spec.replicas, self._histories.get(key, History()))
        if plan is None:
            plan = await self._by_metrics(autoscaler, scale, status)
        else:
            del status.current_metrics[:]
        if plan is not None:
            self._histories[key] = plan.history
            if AT_ZERO in plan.said and scale.spec.replicas:
                autoscaler = await self._announce(autoscaler, plan)
            await self._carry_out(autoscaler, version, scale, status, plan)
        # Nobody else writes it: what was seen holds whatever became of the rest meanwhile.
        await report(self.client, autoscaler, status, insist=True)
        return self._again(began)

    def _again(self, began: float) -> Again:
        """A period after this look began, however long it took."""
        due = began + self.context.settings.autoscaler_sync_seconds - asyncio.get_running_loop().time()
        return Again(max(SHORTEST_PAUSE_SECONDS, due))

    async def _stored(self, key: Key) -> Autoscaler | None:
        """As it is now: what it said of itself last (that it went to zero, say) is part of what is decided by."""
        try:
            return await self.client.get(Autoscaler, key.name, key.namespace)
        except NotFound:
            return None

    async def _scale(self, autoscaler: Autoscaler) -> tuple[Version, autoscaling_v1.Scale]:
        """Raises NoVersion, StatusError."""
        target = autoscaler.spec.scale_target_ref
        version = await self._versions.of(group_of(target.api_version), target.kind, target.api_version)
        if version.resource.subresource("scale") is None:
            raise NoVersion(f"the server could not find the requested resource: {version.qualified} has no scale")
        return version, await self.client.scale(version.message, target.name, autoscaler.metadata.namespace)

    async def _by_metrics(
        self, autoscaler: Autoscaler, scale: autoscaling_v1.Scale, status: autoscaling.HorizontalPodAutoscalerStatus
    ) -> Plan | None:
        """None where nothing is to be done because too little is known; ``status`` says why."""
        key, settings, current = key_of(autoscaler), self.context.settings, scale.spec.replicas
        try:
            subject = self._subject(key, scale)
        except NoSubject as error:
            self._warn(autoscaler, error.reason, error.message)
            outcomes: Sequence[Proposal | Failure] = ()
            choice = Choice(current, "", error.said, error.message)
        else:
            wanted = tolerance(autoscaler, settings.autoscaler_tolerance)
            asking = Asking(self._sources, subject, wanted, self._pace, self.context.clock.now())
            outcomes = await asyncio.gather(*map(asking.propose, autoscaler.spec.metrics))
            choice = choose(current, outcomes)
        del status.current_metrics[:]
        status.current_metrics.extend(found.status if isinstance(found, Proposal) else autoscaling.MetricStatus() for found in outcomes)
        for found in outcomes:
            if isinstance(found, Failure):
                self._warn(autoscaler, found.reason, found.message)
        if choice.problem:
            self._warn(autoscaler, "FailedComputeMetricsReplicas", choice.problem)
            self._say(status, [choice.said])
            return None
        history, now = self._histories.get(key, History()), self.context.clock.now()
        return decide(autoscaler, current, choice, history, now, settings.autoscaler_downscale_stabilization_seconds)

    def _subject(self, key: Key, scale: autoscaling_v1.Scale) -> Subject:
        """Raises NoSubject."""
        text = scale.status.selector
        if not text:
            said = Said(ACTIVE, False, "InvalidSelector", "the HPA target's scale is missing a selector")
            raise NoSubject("SelectorRequired", "selector is required", said)
        try:
            selector = parse_label_selector(text)
        except StatusError as error:
            words = f"couldn't convert selector into a corresponding internal selector object: {error}"
            raise NoSubject("InvalidSelector", words, Said(ACTIVE, False, "InvalidSelector", words)) from error
        self._selectors[key] = selector
        pods = [pod for pod in self._pods.list(key.namespace) if selector.matches(pod.metadata.labels)]
        labels = [dict(found) for found in {frozenset(pod.metadata.labels.items()) for pod in pods}]
        rivals = [
            other
            for other, chosen in self._selectors.items()
            if other == key or (other.namespace == key.namespace and any(map(chosen.matches, labels)))
        ]
        if len(rivals) > 1:
            words = f"pods by selector {text} are controlled by multiple HPAs: [{' '.join(map(str, sorted(rivals)))}]"
            raise NoSubject("AmbiguousSelector", words, Said(ACTIVE, False, "AmbiguousSelector", words))
        return Subject(key.namespace, scale.spec.replicas, scale.status.replicas, text, pods)

    async def _carry_out(
        self,
        autoscaler: Autoscaler,
        version: Version,
        scale: autoscaling_v1.Scale,
        status: autoscaling.HorizontalPodAutoscalerStatus,
        plan: Plan,
    ) -> None:
        """Writes the scale where it is to be another one, and tells in ``status`` what came of it. Raises Conflict."""
        current, key = scale.spec.replicas, key_of(autoscaler)
        self._say(status, [said for said in plan.said if current or said.type != TO_ZERO])
        if plan.replicas == current:
            status.desired_replicas = current
            return
        wanted = copy_of(scale)
        wanted.spec.replicas = plan.replicas
        try:
            await self.client.rescale(version.message, wanted)
        except Conflict:
            # Its own controller writes it all the time: it is looked at again at once.
            raise
        except StatusError as error:
            self._warn(autoscaler, "FailedRescale", f"New size: {plan.replicas}; reason: {plan.reason}; error: {error}")
            self._say(status, [failed_update(str(error))])
            return
        now = self.context.clock.now()
        if autoscaler.spec.HasField("behavior"):
            self._histories[key] = plan.history.scaled(current, plan.replicas, now, autoscaler.spec.behavior)
        self.recorder.event(autoscaler, NORMAL, "SuccessfulRescale", f"New size: {plan.replicas}; reason: {plan.reason}")
        logger.info("scaled", extra={"autoscaler": str(key), "from": current, "to": plan.replicas, "reason": plan.reason})
        self._say(status, [*plan.said, rescaled(plan.replicas)])
        status.desired_replicas = plan.replicas
        status.last_scale_time.CopyFrom(to_time(now))

    async def _announce(self, autoscaler: Autoscaler, plan: Plan) -> Autoscaler:
        """Says that nothing will be left before it is so: else nobody would know afterwards that it was we who went there, and may come
        back. Raises StatusError: then nothing is scaled."""
        said = copy_of(autoscaler)
        self._say(said.status, plan.said)
        return await self.client.update(said, subresource="status")

    def _say(self, status: autoscaling.HorizontalPodAutoscalerStatus, said: Sequence[Said]) -> None:
        now = self.context.clock.now()
        for condition in said:
            set_condition(status, condition.type, condition.value, reason=condition.reason, message=condition.message, now=now)

    def _warn(self, autoscaler: Autoscaler, reason: str, message: str) -> None:
        self.recorder.event(autoscaler, WARNING, reason, message)


def _is_another(old: Autoscaler | None, new: Autoscaler | None) -> bool:
    """Its own status is no news to it."""
    return old is None or new is None or old.spec != new.spec or old.metadata.uid != new.metadata.uid
