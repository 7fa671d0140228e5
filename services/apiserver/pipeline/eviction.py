"""An eviction: the delete of a pod that its disruption budget may hold back.

What is granted is written into the budget's status before the pod is deleted, so that a server that dies between the two has disrupted
less than it was allowed, never more; the disruption controller gives back what was not used. Specified by Kubernetes' ``pods/eviction``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Conflict, NotFound, error_of, status_error
from knarr.objects.copies import copy_of
from knarr.objects.disruptions import covers
from services.apiserver.aside import aside
from services.apiserver.bootstrap import USER
from services.apiserver.entry import Entry
from services.apiserver.pipeline.delete import check_options, check_preconditions, remove
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.pipeline.refusals import missing
from services.apiserver.pipeline.update import rewrite_part
from services.apiserver.request import UPDATE, Request
from services.apiserver.results import Ref
from services.apiserver.storage.keys import collection_prefix
from services.apiserver.strategies.pod.eviction import SEVERAL, is_spared, is_ungoverned, mark_evicted, may_become_ready, spend, unsettled

BUDGETS = version_of(policy.PodDisruptionBudget)
# How often a pod that changes under the eviction is looked at again, or a budget that other servers write, and the pause between:
# Kubernetes' own numbers.
TRIES, PAUSE_SECONDS = 20, 0.5
# By how much of it the pause varies, so that two servers do not meet again and again.
JITTER = 0.1
MANAGER = "kube-apiserver"


async def evict(pipeline: Pipeline, request: Request, eviction: Any) -> None:
    """Deletes the pod with the eviction's delete options. As in Kubernetes, admission is not asked about that delete again.

    Raises TooManyRequests where its budget allows no disruption now; code 500 where it has several budgets.
    """
    ref, backend = request.ref, pipeline.backend
    pod_ref, options = Ref(ref.version, ref.namespace, ref.name), _delete_options(request, eviction)
    check_options(pod_ref, options)
    read = backend.fresh if options.HasField("preconditions") else backend.current
    for _ in range(TRIES):
        entry = await read(pod_ref, request.deadline)
        if entry is None:
            raise missing(pod_ref)
        # Who means another pod spends nothing of this one's budget.
        check_preconditions(pod_ref, options.preconditions, entry.message)
        pod: core.Pod = entry.shared_message
        budget, read = None, backend.fresh
        if not is_ungoverned(pod):
            budget = await _budget_of(pipeline, request, pod)
        spared = budget is not None and is_spared(budget, pod)
        if budget is not None and not spared:
            try:
                await _spend(pipeline, request, budget, pod, options)
            except NotFound:
                continue
        # What is decided by the pod's being not ready holds for as long as it is the same.
        guarded = spared or (is_ungoverned(pod) and may_become_ready(pod))
        pinned = options.preconditions.HasField("resource_version")
        try:
            await remove(pipeline, request, pod_ref, _pinned(options, entry) if guarded else options, mark_evicted, admitted=True)
            return
        except Conflict:
            if pinned or not guarded:
                raise
            if budget is not None:
                raise unsettled(budget.metadata.name) from None
    raise status_error("Timeout", f'Timeout: pod "{ref.name}" changes too often to be evicted; try again', retry_after_seconds=10)


def _delete_options(request: Request, eviction: Any) -> meta.DeleteOptions:
    """Those of the eviction; it is dry where either they or the request say so."""
    options: meta.DeleteOptions = copy_of(eviction.delete_options)
    options.dry_run.extend(name for name in request.options.dry_run if name not in options.dry_run)
    return options


def _pinned(options: meta.DeleteOptions, entry: Entry) -> meta.DeleteOptions:
    pinned = copy_of(options)
    pinned.preconditions.resource_version = str(entry.revision)
    return pinned


async def _budget_of(pipeline: Pipeline, request: Request, pod: core.Pod) -> policy.PodDisruptionBudget | None:
    """The budget that is about the pod, which is only to be read; None when there is none."""
    backend = pipeline.backend
    # Also one that was written elsewhere a moment ago counts.
    await backend.latest(request.deadline)
    entries = backend.cache.collection(BUDGETS.resource).listing(collection_prefix(BUDGETS.resource, request.namespace))
    found = await aside(sum(len(entry.raw) for entry in entries), _covering, entries, pod)
    if len(found) > 1:
        raise error_of(meta.Status(status="Failure", message=SEVERAL, code=500))
    return found[0] if found else None


def _covering(entries: Sequence[Entry], pod: core.Pod) -> list[policy.PodDisruptionBudget]:
    return [entry.shared_message for entry in entries if covers(entry.shared_message, pod)]


async def _spend(
    pipeline: Pipeline, request: Request, budget: policy.PodDisruptionBudget, pod: core.Pod, options: meta.DeleteOptions
) -> None:
    """Takes the pod's disruption out of the stored budget, in a write that fails if the budget has changed meanwhile."""
    ref = Ref(BUDGETS, request.namespace, budget.metadata.name, "status")
    wanted = Request(USER, UPDATE, ref, meta.UpdateOptions(dry_run=options.dry_run, field_manager=MANAGER), request.deadline)

    def propose(entry: Entry) -> Any:
        found: Any = entry.message
        spend(found, pod.metadata.name, pipeline.backend.clock())
        return found

    async with pipeline.turns.of(f"{BUDGETS.resource.plural}/{ref.namespace}/{ref.name}", request.deadline):
        for _ in range(TRIES):
            try:
                await rewrite_part(pipeline, wanted, propose, 0)
                return
            except Conflict:
                await asyncio.sleep(PAUSE_SECONDS * pipeline.backend.source.uniform(1, 1 + JITTER))
    message = f'Timeout: couldn\'t update PodDisruptionBudget "{ref.name}" due to conflicts'
    raise status_error("Timeout", message, retry_after_seconds=10)
