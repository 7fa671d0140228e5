"""The filters of a profile, one after the other: which nodes they leave, and who was the first to refuse each of the others. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from services.scheduler.nodes import Mask, Nodes
from services.scheduler.plugin import Plugin
from services.scheduler.pod_facts import PodFacts


def judged(nodes: Nodes, plugins: Sequence[Plugin], pod: PodFacts) -> tuple[Mask, list[tuple[Plugin, Mask]]]:
    """The rows that every filter accepts, and for each filter the rows that it was the first to refuse."""
    feasible = nodes.alive[: nodes.size].copy()
    refused: list[tuple[Plugin, Mask]] = []
    # What is out of the question is not asked about at all.
    for plugin in plugins:
        if (excluded := plugin.excluded(pod, nodes)) is not None:
            feasible = _without(feasible, ~excluded, plugin, refused)
    for plugin in plugins:
        accepted = plugin.filter(pod, nodes)
        if accepted is not None:
            feasible = _without(feasible, accepted, plugin, refused)
            if refused and not np.count_nonzero(feasible):
                break
    return feasible, refused


def lasting_by(nodes: Nodes, plugins: Sequence[Plugin], pod: PodFacts) -> dict[str, Mask]:
    """By the name of a plugin the rows that it refuses whichever pods leave, of those that refuse any so."""
    return {plugin.name: mask for plugin in plugins if (mask := plugin.lasting(pod, nodes)) is not None and np.count_nonzero(mask)}


def refused_for_good(nodes: Nodes, plugins: Sequence[Plugin], pod: PodFacts, by: Mapping[str, Mask]) -> Mask:
    """The rows whose first refusal stays one whichever pods leave: nobody is to go from there. ``by`` is what ``lasting_by`` says."""
    lasting: Mask = np.zeros(nodes.size, np.bool_)
    for plugin, mask in judged(nodes, plugins, pod)[1] if by else ():
        if plugin.name in by:
            lasting |= mask & by[plugin.name]
    return lasting


def _without(feasible: Mask, accepted: Mask, plugin: Plugin, refused: list[tuple[Plugin, Mask]]) -> Mask:
    """What is left of the feasible rows; what is not is noted as refused."""
    mask = feasible & ~accepted
    # Counting is the quickest way to see whether there are any.
    if not np.count_nonzero(mask):
        return feasible
    refused.append((plugin, mask))
    return feasible & accepted
