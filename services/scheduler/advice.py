"""What others than the plugins of this process say of nodes, asked beforehand: an argument of the decision. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# As which extenders refuse nodes together.
EXTENDER = "Extender"


@dataclass(frozen=True, slots=True)
class Refusal:
    """``by`` whom a node is refused, and why; ``lasting``: whatever pods left it."""

    by: str = EXTENDER
    reason: str = ""
    lasting: bool = False

    @property
    def reasons(self) -> list[str]:
        return [self.reason] if self.reason else []


@dataclass(frozen=True, slots=True)
class Advice:
    """Of all that were asked about a pod.

    ``allowed``: names of the nodes that will do. ``refused``: why others will not, by name. ``scores``: what is added, by whom and node.
    ``askers``: who may be the cause that a node is not among those that will do; of one that was not there yet, for example.
    """

    allowed: frozenset[str]
    refused: Mapping[str, Refusal] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    askers: frozenset[str] = frozenset({EXTENDER})

    def refusal(self, node: str) -> Refusal:
        """Of a node that is not allowed."""
        return self.refused.get(node) or Refusal(min(self.askers, default=EXTENDER))

    def lasting(self) -> frozenset[str]:
        """The nodes that are refused whatever pods left them."""
        return frozenset(name for name, refusal in self.refused.items() if refusal.lasting)

    def scores_of(self, node: str) -> dict[str, int]:
        """Of one node, by who gave them."""
        return {by: found[node] for by, found in self.scores.items() if node in found}


class AdviceFailed(Exception):
    """One that matters gave no answer, or none that makes sense: the words of the event."""

    by = EXTENDER
