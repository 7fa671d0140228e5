"""Which of a Job's active pods go when there are too many: the ones that have come least far."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from knarr.api.core.v1 import core_pb2 as core
from services.controller.controllers.job.pods import NO_INDEX
from services.controller.controllers.job.view import JobView
from services.controller.workloads.ranking import rank_for_deletion


def surplus_pods(view: JobView, at_least: int) -> list[core.Pod]:
    """``at_least`` that many, if so many there are; and of an indexed Job all that have no index of it or one that another has, too."""
    left: list[core.Pod] = view.active
    surplus: list[core.Pod] = []
    if view.is_indexed:
        by_index: defaultdict[int, list[core.Pod]] = defaultdict(list)
        for pod in view.active:
            by_index[view.index_of(pod)].append(pod)
        surplus, left = by_index.pop(NO_INDEX, []), []
        for same in by_index.values():
            *others, last = _ranked(view, same)
            surplus += others
            left.append(last)
    missing = at_least - len(surplus)
    return surplus + (_ranked(view, left)[:missing] if missing > 0 else [])


def _ranked(view: JobView, pods: Sequence[core.Pod]) -> list[core.Pod]:
    """Most dispensable first; before all others those whose end would not be counted."""
    return sorted(rank_for_deletion(pods, (), view.now), key=view.is_tracked) if len(pods) > 1 else [*pods]
