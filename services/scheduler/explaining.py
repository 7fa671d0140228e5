"""Everything that is told of one pod: what each node says, what would help, where it waits for what, and who goes for it. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.copies import copy_of
from services.scheduler.advice import Advice, AdviceFailed
from services.scheduler.advisers import Advisers
from services.scheduler.decide import Decision, Explanation, explain, impossible, summary, unavailable
from services.scheduler.hindrances import Hindrances
from services.scheduler.pod_facts import PodFacts
from services.scheduler.preempter import Preempter
from services.scheduler.preemption import Preemption
from services.scheduler.profile import DEFAULT_SCHEDULER
from services.scheduler.queue import State, Waiting
from services.scheduler.standing import awaited
from services.scheduler.state import SchedulerState
from services.scheduler.view import View


@dataclass(frozen=True, slots=True)
class Eviction:
    """How room is made; ``decided``: that has been decided, else it is what would be now."""

    preemption: Preemption
    why: str
    decided: bool


@dataclass(frozen=True, slots=True)
class Account:
    """``standing`` is a sentence; ``queued`` the place in the queue; ``reason`` why no room is made, or for whom the pod itself goes."""

    explanation: Explanation
    standing: str
    queued: Waiting | None = None
    awaits: Sequence[str] = field(default_factory=list)
    eviction: Eviction | None = None
    reason: str = ""


class Explaining:
    """Of one leader."""

    def __init__(self, state: SchedulerState, advisers: Advisers, preempter: Preempter) -> None:
        self._state, self._advisers, self._preempter = state, advisers, preempter

    def judged(self, pod: core.Pod) -> Explanation:
        """The verdict on every node, as if the pod were to be placed now, by the plugins of this process alone."""
        state = self._state
        profile = state.judging_profile(pod)
        facts, view = _free(pod), View(state.table)
        view.remove_pod(facts.uid)
        nodes = state.nominations.shown_to(facts, view)
        hindrances = Hindrances(nodes, profile.filters, facts)
        verdicts = [replace(one, hindrances=hindrances.of(one.node)) for one in explain(nodes, profile, facts)]
        if any(not verdict.refused_by for verdict in verdicts):
            return Explanation(profile, verdicts)
        if (hopeless := impossible(profile.filters, facts)) is not None:
            return Explanation(profile, verdicts, unavailable(len(verdicts), hopeless[1]))
        reasons = Counter(reason for verdict in verdicts for reason in verdict.reasons)
        return Explanation(profile, verdicts, summary(len(verdicts), reasons), hindrances.remedies())

    async def whole(self, pod: core.Pod) -> Account:
        """The same with what others say, who are asked, and all that is told beside it."""
        found = await self._advised(self.judged(pod), pod)
        account = Account(found, self._standing(pod))
        queued = self._queued(pod)
        if queued is not None:
            account = replace(account, queued=queued, awaits=self._awaits(queued))
        return self._with_eviction(account, pod)

    async def _advised(self, found: Explanation, pod: core.Pod) -> Explanation:
        facts, table = PodFacts.of(pod), self._state.table
        if not self._advisers.concern(found.profile, facts):
            return found
        fitting = [verdict.node for verdict in found.verdicts if not verdict.refused_by and verdict.node in table.rows]
        nodes = {name: table.node(table.rows[name]) for name in fitting}
        try:
            advice = await self._advisers.advise(found.profile, facts, nodes, [facts.uid] if pod.spec.node_name else [])
        except AdviceFailed as error:
            return found.advised(Advice(frozenset(), askers=frozenset({error.by})), str(error))
        return found.advised(advice)

    def _queued(self, pod: core.Pod) -> Waiting | None:
        waiting = self._state.queue.get(PodFacts.of(pod).key)
        return waiting if waiting is not None and waiting.pod.uid == pod.metadata.uid else None

    def _standing(self, pod: core.Pod) -> str:
        if pod.spec.node_name:
            return f"it is on {pod.spec.node_name}"
        if not self._state.knows(pod):
            return f"another scheduler is to place it: {pod.spec.scheduler_name or DEFAULT_SCHEDULER}"
        if pod.spec.scheduling_gates:
            return f"it is held back by its scheduling gates: {', '.join(gate.name for gate in pod.spec.scheduling_gates)}"
        waiting = self._queued(pod)
        if waiting is None:
            return "it is not in the queue"
        seconds = self._state.queue.retry_in_seconds(waiting)
        match waiting.state:
            case State.BACKOFF:
                return f"it pauses after {_attempts(waiting)}, for {seconds:.1f} s"
            case State.UNSCHEDULABLE:
                return f"after {_attempts(waiting)} it waits until something happens that may help it, for {seconds:.0f} s at most"
            case State.TAKEN:
                return "it is being decided on, or bound"
        return "it is to be tried now, after those of higher priority"

    def _awaits(self, waiting: Waiting) -> Sequence[str]:
        if waiting.state is not State.UNSCHEDULABLE:
            return []
        plugins = self._state.profile_of(waiting.pod.pod).by_name
        return [awaited(name, plugins.get(name)) for name in sorted(waiting.refused_by)]

    def _with_eviction(self, account: Account, pod: core.Pod) -> Account:
        beneficiary = self._preempter.beneficiary(pod.metadata.uid)
        if beneficiary is not None:
            other, why = beneficiary
            words = (
                f"it goes for {other.key} of priority {other.priority}, to which {self._state.nominations.node_of(other.uid)} was promised"
            )
            return replace(account, reason=f"{words}: {why}")
        if (decided := self._preempter.decided(pod.metadata.uid)) is not None:
            return replace(account, eviction=Eviction(*decided, decided=True))
        found = account.explanation
        refused_by = frozenset(verdict.refused_by for verdict in found.verdicts)
        if pod.spec.node_name or not found.summary or not refused_by or not self._state.knows(pod):
            return account
        facts = PodFacts.of(pod)
        hopeless = impossible(found.profile.filters, facts) is not None
        answer = self._preempter.imagine(facts, Decision(summary=found.summary, refused_by=refused_by, hopeless=hopeless))
        if isinstance(answer, str):
            return replace(account, reason=answer)
        if answer.preemption is None:
            return replace(account, reason=answer.words(len(self._state.table)))
        return replace(account, eviction=Eviction(answer.preemption, answer.why, decided=False))


def _free(pod: core.Pod) -> PodFacts:
    """A pod that has a node is judged as if it had left it."""
    free = copy_of(pod)
    free.spec.node_name = ""
    return PodFacts.of(free)


def _attempts(waiting: Waiting) -> str:
    return f"{waiting.attempts} attempt{'' if waiting.attempts == 1 else 's'}"
