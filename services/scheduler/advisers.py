"""All who are asked beside the plugins of this process: plugins in others, then, about what they leave, extenders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knarr.api.core.v1 import core_pb2 as core
from services.scheduler.advice import EXTENDER, Advice
from services.scheduler.extenders.asking import Extenders
from services.scheduler.node_table import NodeTable
from services.scheduler.pod_facts import PodFacts
from services.scheduler.preemption import Preemption
from services.scheduler.profile import Profile
from services.scheduler.remote.asking import RemotePlugins

# Of so many ways to make room plugins in other processes are asked, the best first: each is a question.
MOST_ASKED = 10


class Advisers:
    """Of one leader."""

    def __init__(self, remote: RemotePlugins, extenders: Extenders) -> None:
        self.remote, self.extenders = remote, extenders

    async def close(self) -> None:
        await self.remote.close()
        await self.extenders.close()

    def concern(self, profile: Profile, pod: PodFacts) -> bool:
        """Whether somebody is to be asked where a pod may go."""
        return profile.asks or self.extenders.concern(pod)

    def matter(self, profile: Profile, pod: PodFacts) -> bool:
        """Whether somebody is to be asked anything before a pod is placed."""
        return self.concern(profile, pod) or self.judges_preemption(profile, pod)

    def judges_preemption(self, profile: Profile, pod: PodFacts) -> bool:
        """Whether somebody is to be asked who may go for a pod."""
        return bool(profile.remote_filters) or self.extenders.judge_preemption(pod)

    async def choose_preemption(
        self, profile: Profile, pod: PodFacts, candidates: Sequence[Preemption], table: NodeTable
    ) -> Preemption | None:
        """The best of those that all agree to. Raises AdviceFailed."""
        left = await self.extenders.preempt(pod, candidates, table)
        ranked = sorted(left, key=lambda one: one.order)
        if not profile.remote_filters:
            return ranked[0] if ranked else None
        for one in ranked[:MOST_ASKED]:
            found = await self.remote.refusals(profile, pod, [one.node], [victim.uid for victim in one.victims])
            if not found:
                return one
        return None

    async def advise(self, profile: Profile, pod: PodFacts, nodes: Mapping[str, core.Node], without: Sequence[str] = ()) -> Advice:
        """What they say of nodes that the plugins accept, by name. ``without``: uids of pods that are to be taken for gone, which
        extenders cannot be told. Raises AdviceFailed."""
        if not profile.asks:
            return await self.extenders.advise(pod, nodes)
        first = await self.remote.advise(profile, pod, list(nodes), without)
        if not first.allowed or not self.extenders.concern(pod):
            return first
        then = await self.extenders.advise(pod, {name: node for name, node in nodes.items() if name in first.allowed})
        return Advice(then.allowed, {**first.refused, **then.refused}, {**first.scores, **then.scores}, first.askers | {EXTENDER})
