"""What an extender is asked and answers about who is to go (``preemptVerb``). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knarr.machinery import codec
from services.scheduler.extender import Extender, ExtenderFailed
from services.scheduler.extenders.answers import fields
from services.scheduler.node_table import NodeTable
from services.scheduler.pod_facts import PodFacts
from services.scheduler.preemption import Preemption


def victims_question(extender: Extender, pod: PodFacts, candidates: Sequence[Preemption]) -> dict[str, Any]:
    """Who would go from which node: whole pods, or their uids for one that knows the pods itself."""
    capable = extender.node_cache_capable

    def victims(one: Preemption) -> dict[str, Any]:
        pods = [{"UID": victim.uid} if capable else codec.to_dict(victim.pod) for victim in one.victims]
        return {"Pods": pods, "NumPDBViolations": one.violations}

    told = {one.node: victims(one) for one in candidates}
    names = ("NodeNameToMetaVictims", "NodeNameToVictims") if capable else ("NodeNameToVictims", "NodeNameToMetaVictims")
    return {"Pod": codec.to_dict(pod.pod), names[0]: told, names[1]: None}


def victims_answer(extender: Extender, pod: PodFacts, answer: Any, table: NodeTable) -> Sequence[Preemption]:
    """Who is to go from which node, perhaps others than it was asked about. Raises ExtenderFailed."""
    try:
        told = dict(fields(answer).get("nodenametometavictims") or {})
        victims = {str(node): fields(found) if found is not None else {} for node, found in told.items()}
        uids = {node: [str(fields(one)["uid"]) for one in found.get("pods") or ()] for node, found in victims.items()}
        violations = {node: int(found.get("numpdbviolations") or 0) for node, found in victims.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise ExtenderFailed(f"extender {extender.url_prefix!r} gave an answer that cannot be read: {error!r}") from error
    for node in [node for node, found in uids.items() if not found]:
        if not extender.ignorable:
            raise ExtenderFailed(f'expected at least one victim pod on node "{node}"')
        del uids[node]
    return [Preemption(node, _pods(extender, pod, node, found, table), violations[node]) for node, found in uids.items()]


def _pods(extender: Extender, pod: PodFacts, node: str, uids: Sequence[str], table: NodeTable) -> tuple[PodFacts, ...]:
    there = table.pods_of(node) if node in table.rows else {}
    for uid in uids:
        words = f"extender: {extender.url_prefix} claims to preempt pod (UID: {uid}) on node: {node}, but the pod"
        if uid not in there:
            raise ExtenderFailed(f"{words} is not found on that node")
        if there[uid].priority >= pod.priority:
            raise ExtenderFailed(f"{words} is of no lower priority")
    return tuple(there[uid] for uid in dict.fromkeys(uids))
