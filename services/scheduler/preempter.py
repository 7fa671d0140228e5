"""Makes room for pods of higher priority: planned at once, with the decision that no node takes them, and carried out beside the loop."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.client.events import NORMAL, EventRecorder
from knarr.machinery.errors import NotFound, StatusError
from knarr.objects.conditions import TRUE, get_condition
from services.scheduler.advice import AdviceFailed
from services.scheduler.advisers import Advisers
from services.scheduler.decide import Decision
from services.scheduler.judgements import Judgements
from services.scheduler.metrics import VICTIMS
from services.scheduler.pod_facts import PodFacts
from services.scheduler.preemption import BY_POLICY, NEVER, NO_CANDIDATE, NOT_HELPFUL, PREEMPTION, UNDER_WAY, Answer, Preemption, Search
from services.scheduler.state import SchedulerState
from services.scheduler.writer import BY_SCHEDULER, DISRUPTED, disrupt, promise

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """``words`` say why nothing is done, where something might have been. ``behind`` are pods that lose the node they were promised."""

    preemption: Preemption | None = None
    words: str = ""
    behind: Sequence[PodFacts] = ()


class Preempter:
    """Of one leader. ``budgets`` are the PodDisruptionBudgets as they are now."""

    def __init__(
        self,
        client: Client,
        state: SchedulerState,
        recorder: EventRecorder,
        clock: Clock,
        budgets: Callable[[], Sequence[policy.PodDisruptionBudget]],
        source: random.Random,
    ) -> None:
        self._client, self._state, self._recorder, self._clock = client, state, recorder, clock
        self._budgets, self._source = budgets, source
        # Uids of pods that are to go, until they are gone.
        self._leaving: set[str] = set()
        # What was decided for pods that have no node yet, by their uids, and why.
        self._decided: dict[str, tuple[PodFacts, Preemption, str]] = {}
        self._known: Judgements[Preemption | str] = Judgements()

    def pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> None:
        """An informer listener."""
        if new is None and old is not None:
            self._leaving.discard(old.metadata.uid)
        if new is None or new.spec.node_name:
            self._decided.pop((new or old or core.Pod()).metadata.uid, None)

    def decided(self, uid: str) -> tuple[Preemption, str] | None:
        """What is being done for a pod that waits, and why that."""
        found = self._decided.get(uid)
        return found[1:] if found is not None and self._state.nominations.node_of(uid) == found[1].node else None

    def beneficiary(self, uid: str) -> tuple[PodFacts, str] | None:
        """The pod for which another one goes, and why that one goes."""
        for pod, preemption, why in self._decided.values():
            if any(victim.uid == uid for victim in preemption.victims):
                return pod, why
        return None

    def imagine(self, pod: PodFacts, decision: Decision) -> Answer | str:
        """What would be done for a pod that no node takes; why not where nothing would."""
        found = self._search(pod, decision, source=random.Random(0))
        return found.words if isinstance(found, Plan) else found

    def plan(self, pod: PodFacts, decision: Decision) -> Plan:
        """What is to be done for a pod that was refused; from now on it counts as promised."""
        found = self._search(pod, decision)
        return found if isinstance(found, Plan) else self._chosen(pod, found, found.preemption)

    async def plan_asking(self, pod: PodFacts, decision: Decision, advisers: Advisers, lasting: frozenset[str]) -> Plan:
        """The same where others are asked what they think of it. ``lasting``: names of nodes that they refuse whoever leaves them."""
        found = self._search(pod, decision, lasting)
        if isinstance(found, Plan):
            return found
        if not found.candidates:
            return self._chosen(pod, found, None)
        try:
            best = await advisers.choose_preemption(self._state.profile_of(pod.pod), pod, found.candidates, self._state.table)
        except AdviceFailed as error:
            return Plan(words=f"{PREEMPTION} {error}")
        if self._state.queue.uid_of(pod.key) != pod.uid:
            return Plan()
        best = self._still(best) if best is not None else None
        if best is None:
            self._state.withdraw(pod.uid)
            return Plan(words=NO_CANDIDATE)
        return self._chosen(pod, found, best)

    def _search(
        self, pod: PodFacts, decision: Decision, lasting: frozenset[str] = frozenset(), source: random.Random | None = None
    ) -> Plan | Answer:
        """A plan where nothing is to be looked for."""
        state = self._state
        profile = state.profile_of(pod.pod)
        if not decision.refused_by or profile.preemption is None:
            return Plan()
        if pod.pod.spec.preemption_policy == NEVER:
            return Plan(words=BY_POLICY)
        if decision.hopeless:
            return Answer((), {NOT_HELPFUL: len(state.table)})
        reserved = state.nominations.before(pod)
        search = Search(state.table, profile.filters, pod, self._budgets(), reserved, profile.preemption, lasting, self._known)
        return Plan(words=UNDER_WAY) if self._is_under_way(search) else search.run(source or self._source)

    def _still(self, found: Preemption) -> Preemption | None:
        """What is left of it: some may have gone while others were asked."""
        there = self._state.table.pods_of(found.node) if found.node in self._state.table.rows else {}
        victims = tuple(victim for victim in found.victims if victim.uid in there)
        return Preemption(found.node, victims, found.violations) if victims else None

    def _chosen(self, pod: PodFacts, answer: Answer, found: Preemption | None) -> Plan:
        """Promises the node that was chosen."""
        state = self._state
        if found is None:
            state.withdraw(pod.uid)
            return Plan(words=answer.words(len(state.table)))
        behind = state.nominations.behind(pod, found.node)
        for other in behind:
            state.nominations.remove(other.uid)
        state.promise(pod, found.node)
        self._decided[pod.uid] = pod, found, answer.why
        self._leaving.update(victim.uid for victim in found.victims)
        return Plan(found, behind=behind)

    async def carry_out(self, pod: PodFacts, plan: Plan) -> None:
        """Removes who is to go, as long as the pod has the promise. Where that fails, the pod is tried anew."""
        found = plan.preemption
        if found is None:
            return
        try:
            await self._take_back(plan.behind)
            for victim in found.victims:
                if self._state.nominations.node_of(pod.uid) != found.node:
                    self.give_up(pod, plan)
                    return
                await self._remove(victim, pod, found.node)
        except StatusError as error:
            logger.warning("no room was made", extra={"pod": str(pod.key), "node": found.node, "error": str(error)})
            self.give_up(pod, plan)

    def give_up(self, pod: PodFacts, plan: Plan) -> None:
        """Who is there still stays, and the pod is tried anew."""
        found = plan.preemption
        if found is None:
            return
        self._leaving.difference_update(victim.uid for victim in found.victims)
        if self._state.nominations.node_of(pod.uid) == found.node:
            self._state.withdraw(pod.uid)
        self._state.queue.changed(lambda waiting: waiting.pod.uid == pod.uid)

    async def _take_back(self, behind: Sequence[PodFacts]) -> None:
        """Says of pods that they have no promise any more, unless they have a new one; they are to look for another node at once."""
        for other in behind:
            if self._state.nominations.node_of(other.uid):
                continue
            try:
                await promise(self._client, other, "")
            except StatusError as error:
                # It is told by the next attempt; until then it is what the pod says, and what nobody goes by.
                logger.info("promise not taken back", extra={"pod": str(other.key), "error": str(error)})
        uids = {other.uid for other in behind}
        self._state.queue.changed(lambda waiting: waiting.pod.uid in uids)

    async def _remove(self, victim: PodFacts, pod: PodFacts, node: str) -> None:
        if victim.ending:
            return
        try:
            await disrupt(self._client, victim, self._clock)
            await self._client.delete(core.Pod, victim.key.name, victim.key.namespace, uid=victim.uid)
        except NotFound:
            return
        VICTIMS.inc()
        self._recorder.event(
            victim.pod, NORMAL, "Preempted", f"Preempted by pod {pod.uid} on node {node}", component=pod.pod.spec.scheduler_name
        )

    def _is_under_way(self, search: Search) -> bool:
        """Whether pods still leave the node that the pod was promised, and that would do once they are gone."""
        pod, table = search.pod, self._state.table
        row = table.rows.get(self._state.nominations.node_of(pod.uid))
        if row is None:
            return False
        leave = (_goes_for_another(other) or other.uid in self._leaving for other in search.lower(row))
        return any(leave) and not search.refused_whoever_goes()[row]


def _goes_for_another(pod: PodFacts) -> bool:
    """Whether it is a scheduler that has a pod end; who ends by itself, or is deleted by somebody else, makes no room for this one."""
    told = get_condition(pod.pod.status, DISRUPTED) if pod.ending else None
    return told is not None and told.status == TRUE and told.reason == BY_SCHEDULER
