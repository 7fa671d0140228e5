"""What a configuration may say that makes no difference here, each with the reason: it is told, so that nobody counts on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from services.scheduler.configuration.document import Document, SchedulerProfile
from services.scheduler.registry import GATES

EVERY_NODE = "every node is judged for every pod"
NO_GROUPS = "pods are not scheduled as groups"
# Fields of the document.
_FIELDS: Mapping[str, str] = {
    "parallelism": "all nodes are judged at once, by one process",
    "percentageOfNodesToScore": EVERY_NODE,
    "percentageOfPlacementsToScore": NO_GROUPS,
    "clientConnection": "the options of the command say how the API server is reached",
    "enableProfiling": "there is no profiler",
    "enableContentionProfiling": "there is no profiler",
    "delayCacheUntilActive": "a scheduler that does not lead keeps no caches",
}
_GROUPS = ("placementGenerate", "placementScore", "placementFeasible", "podGroupPostFilter")
# What is prepared at one point and done at another one, where it is done in one here.
_PARTS = {"preFilter": "filter", "preScore": "score", "reserve": "preBind"}


def unused(raw: Mapping[str, Any], document: Document) -> Iterator[str]:
    """Sentences; ``raw`` shows what was given at all."""
    for name, why in _FIELDS.items():
        if raw.get(name) is not None:
            yield f"{name}: {why}"
    for name in ("resourceName", "resourceNamespace"):
        if (raw.get("leaderElection") or {}).get(name):
            yield f"leaderElection.{name}: the lease is kube-system/knarr-scheduler"
    for at, profile in enumerate(document.profiles):
        given = (raw.get("profiles") or [{}])[at]
        yield from (f"profiles[{at}].{words}" for words in _of_profile(given, profile))


def _of_profile(given: Mapping[str, Any], profile: SchedulerProfile) -> Iterator[str]:
    for name, why in (("percentageOfNodesToScore", EVERY_NODE), ("percentageOfPlacementsToScore", NO_GROUPS)):
        if given.get(name) is not None:
            yield f"{name}: {why}"
    plugins = given.get("plugins") or {}
    for name in _GROUPS:
        if plugins.get(name):
            yield f"plugins.{name}: {NO_GROUPS}"
    for name, whole in _PARTS.items():
        if plugins.get(name):
            yield f"plugins.{name}: it is a part of {whole} here, and goes by that set"
    disabled = {entry.name for found in (profile.plugins.pre_enqueue, profile.plugins.multi_point) for entry in found.disabled}
    if disabled & {GATES, "*"} and GATES not in {entry.name for entry in profile.plugins.multi_point.enabled}:
        yield f"plugins: {GATES} stays on: the API server binds no pod that has gates"
