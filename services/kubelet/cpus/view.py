"""What a pod's containers may know of processors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PodCpus:
    """``shared`` are those of all containers but the ``alone`` ones, by name; written as ``0-2,7``, empty where nobody is told any."""

    shared: str = ""
    alone: Mapping[str, str] = field(default_factory=dict)

    def of(self, name: str) -> str:
        """The processors of a container."""
        return self.alone.get(name, self.shared)


ALL_SHARED = PodCpus()
