"""What a profile may say of DynamicResources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, invalid
from services.scheduler.seconds import Seconds

FILTER_TIMEOUT, BINDING_TIMEOUT = Seconds(10.0), Seconds(600.0)


@dataclass(frozen=True, slots=True)
class DynamicResourcesArgs:
    """``filter_timeout``: how long devices are looked for on a node; 0: as long as it takes, up to the steps of a search.

    ``binding_timeout``: how long a pod that has a node waits for the binding conditions of its devices.
    """

    filter_timeout: Seconds = FILTER_TIMEOUT
    binding_timeout: Seconds = BINDING_TIMEOUT

    def problems(self, path: Path) -> Iterator[Cause]:
        if self.filter_timeout < 0:
            yield invalid(path.child("filterTimeout"), str(self.filter_timeout), "must be zero or greater")
        if self.binding_timeout < 1:
            yield invalid(path.child("bindingTimeout"), str(self.binding_timeout), "must be at least 1 second")
