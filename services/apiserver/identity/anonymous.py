"""Where who says nothing of himself may ask."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Who says nothing of himself is `system:anonymous` where ``enabled``: at all paths, or at those of ``paths`` alone."""

    enabled: bool
    paths: frozenset[str] | None = None

    def admits(self, path: str) -> bool:
        return self.enabled and (self.paths is None or path in self.paths)
