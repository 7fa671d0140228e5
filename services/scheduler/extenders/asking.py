"""Extenders are asked in their order: each about the nodes that those before it left, then all for their scores."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from services.scheduler.advice import EXTENDER, Advice, Refusal
from services.scheduler.extender import Extender, ExtenderFailed
from services.scheduler.extenders.answers import fields
from services.scheduler.extenders.victims import victims_answer, victims_question
from services.scheduler.extenders.web import Web
from services.scheduler.node_table import NodeTable
from services.scheduler.plugin import MAX_SCORE
from services.scheduler.pod_facts import PodFacts
from services.scheduler.preemption import Preemption

logger = logging.getLogger(__name__)

# Extenders give up to ten points.
FACTOR = MAX_SCORE // 10


class Extenders:
    """All of a configuration."""

    def __init__(self, extenders: Sequence[Extender], web: Web) -> None:
        self._extenders, self._web = extenders, web

    async def close(self) -> None:
        await self._web.close()

    def concern(self, pod: PodFacts) -> bool:
        """Whether one is to be asked where a pod may go."""
        return any((one.filter_verb or one.prioritize_verb) and one.is_interested(pod.pod) for one in self._extenders)

    async def advise(self, pod: PodFacts, nodes: Mapping[str, core.Node]) -> Advice:
        """What they say of nodes that the plugins accept, by name. Raises ExtenderFailed for one that is not ignorable."""
        asked = [one for one in self._extenders if one.is_interested(pod.pod)]
        left, refused = dict(nodes), dict[str, Refusal]()
        for extender in (one for one in asked if one.filter_verb):
            if not left:
                break
            try:
                answer = await self._web.post(extender, extender.filter_verb, _question(extender, pod, left))
                names = _passed(extender, answer, left)
            except ExtenderFailed as error:
                self._pass_over(extender, error)
                continue
            refused.update(_reasons(answer, left))
            left = {name: node for name, node in left.items() if name in names}
        voting = [one for one in asked if one.prioritize_verb] if len(left) > 1 else []
        scores = Counter[str]()
        for found in await asyncio.gather(*(self._scores(one, pod, left) for one in voting)):
            scores.update(found)
        return Advice(frozenset(left), refused, {EXTENDER: scores} if scores else {})

    def judge_preemption(self, pod: PodFacts) -> bool:
        """Whether one is to be asked who may go for a pod."""
        return any(one.preempt_verb and one.is_interested(pod.pod) for one in self._extenders)

    async def preempt(self, pod: PodFacts, candidates: Sequence[Preemption], table: NodeTable) -> Sequence[Preemption]:
        """What they leave of the ways to make room, perhaps with other victims. Raises ExtenderFailed for one that is not ignorable."""
        left = candidates
        for extender in (one for one in self._extenders if one.preempt_verb and one.is_interested(pod.pod)):
            try:
                answer = await self._web.post(extender, extender.preempt_verb, victims_question(extender, pod, left))
                left = victims_answer(extender, pod, answer, table)
            except ExtenderFailed as error:
                self._pass_over(extender, error)
            if not left:
                break
        return left

    def _pass_over(self, extender: Extender, error: ExtenderFailed) -> None:
        """Raises the error, unless the extender may be ignored."""
        if not extender.ignorable:
            raise error
        logger.warning("an extender that may be ignored failed", extra={"extender": extender.url_prefix, "error": str(error)})

    def binder(self, pod: PodFacts) -> Extender | None:
        """Who binds a pod instead of the scheduler."""
        return next((one for one in self._extenders if one.bind_verb and one.is_interested(pod.pod)), None)

    async def bind(self, extender: Extender, pod: PodFacts, node: str) -> None:
        """Has a pod bound; ExtenderFailed."""
        body = {"PodName": pod.key.name, "PodNamespace": pod.key.namespace, "PodUID": pod.uid, "Node": node}
        if error := fields(await self._web.post(extender, extender.bind_verb, body)).get("error"):
            raise ExtenderFailed(str(error))

    async def _scores(self, extender: Extender, pod: PodFacts, nodes: Mapping[str, core.Node]) -> Mapping[str, int]:
        """Points by node; none of one that fails, which is no reason not to place a pod."""
        try:
            answer = await self._web.post(extender, extender.prioritize_verb, _question(extender, pod, nodes))
            points = [fields(one) for one in answer or ()]
            return {str(one["host"]): int(one["score"]) * extender.weight * FACTOR for one in points}
        except (ExtenderFailed, KeyError, TypeError, ValueError) as error:
            logger.warning("an extender gave no scores", extra={"extender": extender.url_prefix, "error": str(error)})
            return {}


def _question(extender: Extender, pod: PodFacts, nodes: Mapping[str, core.Node]) -> dict[str, Any]:
    body: dict[str, Any] = {"Pod": codec.to_dict(pod.pod), "Nodes": None, "NodeNames": None}
    if extender.node_cache_capable:
        body["NodeNames"] = list(nodes)
    else:
        body["Nodes"] = {"metadata": {}, "items": [codec.to_dict(node) for node in nodes.values()]}
    return body


def _passed(extender: Extender, answer: Any, asked: Mapping[str, core.Node]) -> frozenset[str]:
    """The names of the nodes that an extender leaves."""
    found = fields(answer)
    if error := found.get("error"):
        raise ExtenderFailed(str(error))
    try:
        if extender.node_cache_capable and found.get("nodenames") is not None:
            names = [str(name) for name in found["nodenames"]]
        else:
            names = [str(node["metadata"]["name"]) for node in (found.get("nodes") or {}).get("items") or ()]
    except (KeyError, TypeError, AttributeError) as error:
        raise ExtenderFailed(f"extender {extender.url_prefix!r} gave an answer that cannot be read: {error!r}") from error
    if stranger := next((name for name in names if name not in asked), ""):
        raise ExtenderFailed(
            f'extender "{extender.url_prefix}" claims a filtered node "{stranger}" which is not found in the input node list'
        )
    return frozenset(names)


def _reasons(answer: Any, asked: Mapping[str, core.Node]) -> Mapping[str, Refusal]:
    found = fields(answer)
    told = {name: Refusal(reason=str(words)) for name, words in (found.get("failednodes") or {}).items()}
    told |= {name: Refusal(reason=str(words), lasting=True) for name, words in (found.get("failedandunresolvablenodes") or {}).items()}
    return {name: refusal for name, refusal in told.items() if name in asked}
