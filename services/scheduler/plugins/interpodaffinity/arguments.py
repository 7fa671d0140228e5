"""What a profile may say of InterPodAffinity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, invalid


@dataclass(frozen=True, slots=True)
class InterPodAffinityArgs:
    """``hard_pod_affinity_weight``: what a required affinity of a placed pod counts for those that it wants near.

    ``ignore_preferred_terms_of_existing_pods``: a pod that prefers nothing itself is not scored by what placed ones ask.
    """

    hard_pod_affinity_weight: int = 1
    ignore_preferred_terms_of_existing_pods: bool = False

    def problems(self, path: Path) -> Iterator[Cause]:
        if not 0 <= self.hard_pod_affinity_weight <= 100:
            yield invalid(path.child("hardPodAffinityWeight"), self.hard_pod_affinity_weight, "not in valid range [0, 100]")
