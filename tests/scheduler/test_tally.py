"""What it costs to ask who asks for others."""

from __future__ import annotations

from services.scheduler.likeness import Likeness
from services.scheduler.tally import Question, Tallies
from tests.scheduler.objects import pod

PODS = 50


def asker(number: int) -> Likeness:
    """A pod that is away from and likes others in the domains of a label of its own."""
    found = pod(f"p{number}")
    affinity = found.spec.affinity
    affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution.add(topology_key=f"label-{number}")
    affinity.pod_affinity.preferred_during_scheduling_ignored_during_execution.add(weight=1).pod_affinity_term.topology_key = "shared"
    return Likeness.of(found)


def test_only_those_are_looked_at_that_ask_in_the_domains_of_the_label() -> None:
    tallies, looked_at = Tallies(), list[Likeness]()

    def count(likeness: Likeness) -> int:
        looked_at.append(likeness)
        return 1

    likenesses = [asker(number) for number in range(PODS)]
    for row, likeness in enumerate(likenesses):
        tallies.add(likeness, row, 1)
    assert len(tallies.asked.away) == PODS and len(tallies.asked.liked) == 1
    for row, likeness in enumerate(likenesses):
        counts = tallies.answer(Question(row, count, asking=f"label-{row}"), PODS)
        assert counts is not None and counts.nonzero()[0].tolist() == [row]
        assert looked_at == [likeness]
        looked_at.clear()
    counts = tallies.answer(Question("shared", count, asking="shared"), PODS)
    assert counts is not None and counts.tolist() == [1] * PODS and len(looked_at) == PODS
    for row, likeness in enumerate(likenesses):
        tallies.add(likeness, row, -1)
    assert not tallies.asked.away and not tallies.asked.liked
    assert tallies.answer(Question("later", count, asking="shared"), PODS) is None
    tallies.validate()
