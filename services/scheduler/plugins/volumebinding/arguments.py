"""What a profile may say of VolumeBinding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, invalid, invalid_as_it_is


@dataclass(frozen=True, slots=True)
class VolumeBindingArgs:
    """``bind_timeout_seconds``: how long a pod that has a node waits for its volumes."""

    bind_timeout_seconds: int = 600
    shape: tuple[Mapping[str, Any], ...] | None = None

    def problems(self, path: Path) -> Iterator[Cause]:
        if self.bind_timeout_seconds < 0:
            where = path.child("bindTimeoutSeconds")
            yield invalid(where, self.bind_timeout_seconds, "invalid BindTimeoutSeconds, should not be a negative value")
        if self.shape is not None:
            words = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring"
            yield invalid_as_it_is(path.child("shape"), words)
