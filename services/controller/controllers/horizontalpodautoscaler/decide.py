"""Autoscaling: from what the metrics propose to how many pods there shall be. Pure; specified by Kubernetes' ``autoscaling/v2``, in its
reasons and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling
from knarr.machinery.quantity import parse
from knarr.objects.conditions import is_true
from services.controller.controllers.horizontalpodautoscaler.behavior import (
    At,
    History,
    highest_recent,
    limited,
    limited_by_policies,
    stabilized,
)
from services.controller.controllers.horizontalpodautoscaler.proposals import Failure, Proposal
from services.controller.controllers.horizontalpodautoscaler.replicas import Tolerance

ABLE, ACTIVE, LIMITED, TO_ZERO = "AbleToScale", "ScalingActive", "ScalingLimited", "ScaledToZero"
# Metrics that tell something while there are no pods.
WITHOUT_PODS = frozenset(("Object", "External"))


class Said(NamedTuple):
    """A condition."""

    type: str
    value: bool
    reason: str
    message: str


GOT_SCALE = Said(ABLE, True, "SucceededGetScale", "the HPA controller was able to get the target's current scale")
DISABLED = Said(ACTIVE, False, "ScalingDisabled", "scaling is disabled since the replica count of the target is zero")
READY = Said(ABLE, True, "ReadyForNewScale", "recommended size matches current size")
HIGHER = "recent recommendations were higher than current one, applying the highest recent recommendation"
LOWER = "recent recommendations were lower than current one, applying the lowest recent recommendation"
AT_ZERO = Said(TO_ZERO, True, "ScaledToZero", "the HPA controller scaled the workload to zero")
NOT_AT_ZERO = Said(TO_ZERO, False, "NotScaledToZero", "the HPA controller did not scale the workload to zero")


@dataclass(frozen=True, slots=True)
class Plan:
    """``replicas`` there shall be, for ``reason``; ``said`` are conditions in their order, a later one of a type counts."""

    replicas: int
    reason: str
    said: Sequence[Said]
    history: History


@dataclass(frozen=True, slots=True)
class Choice:
    """What the metrics come to: ``replicas`` by the one called ``name``. ``problem`` says why nothing can be told, then nothing is done."""

    replicas: int
    name: str
    said: Said
    problem: str = ""


def failed_scale(error: str) -> Said:
    return Said(ABLE, False, "FailedGetScale", f"the HPA controller was unable to get the target's current scale: {error}")


def failed_update(error: str) -> Said:
    return Said(ABLE, False, "FailedUpdateScale", f"the HPA controller was unable to update the target scale: {error}")


def rescaled(replicas: int) -> Said:
    return Said(ABLE, True, "SucceededRescale", f"the HPA controller was able to update the target scale to {replicas}")


def least_replicas(autoscaler: autoscaling.HorizontalPodAutoscaler) -> int:
    return autoscaler.spec.min_replicas if autoscaler.spec.HasField("min_replicas") else 1


def tolerance(autoscaler: autoscaling.HorizontalPodAutoscaler, usual: float) -> Tolerance:
    """``usual`` where the autoscaler says nothing of its own."""
    behavior = autoscaler.spec.behavior
    down, up = (_tolerance(rules, usual) for rules in (behavior.scale_down, behavior.scale_up))
    return Tolerance(down, up)


def _tolerance(rules: autoscaling.HPAScalingRules, usual: float) -> float:
    return float(parse(rules.tolerance.string)) if rules.HasField("tolerance") else usual


def settled(autoscaler: autoscaling.HorizontalPodAutoscaler, current: int, history: History) -> Plan | None:
    """What is done whatever the metrics say; None where they decide."""
    least, most = least_replicas(autoscaler), autoscaler.spec.max_replicas
    if current == 0:
        # Who has set it to 0 by hand wants none; it is for us to come back from where we went.
        ours = is_true(autoscaler.status, TO_ZERO)
        if ours and any(metric.type in WITHOUT_PODS for metric in autoscaler.spec.metrics):
            return None
        if least == 0 or not ours:
            return Plan(0, "", [DISABLED], history)
    if current > most:
        return Plan(most, "Current number of replicas above Spec.MaxReplicas", [], history)
    if current < least:
        return Plan(least, "Current number of replicas below Spec.MinReplicas", [], history)
    return None


def choose(current: int, outcomes: Sequence[Proposal | Failure]) -> Choice:
    """The highest proposal. Where one metric fails, pods are added by the others, but none go."""
    proposals = [found for found in outcomes if isinstance(found, Proposal)]
    failures = [found for found in outcomes if isinstance(found, Failure)]
    best = max(proposals, key=lambda found: found.replicas, default=None)
    if best is None or (failures and best.replicas < current):
        if not failures:
            return Choice(current, "", Said(ACTIVE, False, "InvalidMetricSourceType", "no metrics are listed"), "no metrics are listed")
        first = failures[0]
        said = Said(ACTIVE, False, first.reason, f"the HPA was unable to compute the replica count: {first.message}")
        problem = f"invalid metrics ({len(failures)} invalid out of {len(outcomes)}), first error is: {first.summary}"
        return Choice(current, "", said, problem)
    message = f"the HPA was able to successfully calculate a replica count from {best.name}"
    return Choice(best.replicas, best.name, Said(ACTIVE, True, "ValidMetricFound", message))


def decide(
    autoscaler: autoscaling.HorizontalPodAutoscaler,
    current: int,
    choice: Choice,
    history: History,
    now: datetime,
    stabilization_seconds: float,
) -> Plan:
    """``stabilization_seconds``: within which recommendations count when pods are to go, where the autoscaler says nothing of its own."""
    spec, least, desired = autoscaler.spec, least_replicas(autoscaler), choice.replicas
    if not history.recommended:
        history = History([At(now, current)], history.ups, history.downs)
    reason = f"{choice.name} above target" if desired > current else "All metrics below target" if desired < current else ""
    if spec.HasField("behavior"):
        rules = spec.behavior
        up, down = float(rules.scale_up.stabilization_window_seconds), stabilization_seconds
        if rules.scale_down.HasField("stabilization_window_seconds"):
            down = float(rules.scale_down.stabilization_window_seconds)
        steady = stabilized(history, current, desired, up, down, now)
        outcome = limited_by_policies(current, steady, least, spec.max_replicas, rules, history, now)
        kept = max(up, down)
    else:
        kept = stabilization_seconds
        steady = highest_recent(history, desired, kept, now)
        outcome = limited(current, steady, least, spec.max_replicas)
    said = [choice.said, _able(desired, steady, upwards=spec.HasField("behavior") and desired >= current)]
    said.append(Said(LIMITED, outcome.limited, outcome.reason, outcome.message))
    wanted = outcome.replicas
    if current == 0 and wanted < least:
        wanted, reason = least, reason or "Current number of replicas below Spec.MinReplicas"
    said.append(AT_ZERO if wanted == 0 else NOT_AT_ZERO)
    return Plan(wanted, reason, said, history.recommending(desired, now, kept))


def _able(desired: int, steady: int, *, upwards: bool) -> Said:
    if steady == desired:
        return READY
    return Said(ABLE, True, "ScaleUpStabilized", LOWER) if upwards else Said(ABLE, True, "ScaleDownStabilized", HIGHER)
