"""What controllers have in common that ask drivers to change the volumes of claims."""

from __future__ import annotations

import abc
from collections.abc import Iterable

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.keys import Key, key_of
from services.controller.controller import Context
from services.controller.csi.controller import DriverController


class ClaimController(DriverController):
    """Its keys are claims."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        # The uids of claims of which it is certain that what was asked for last was not done.
        self._surely_failed: set[str] = set()

    def _claim_changed(self, old: core.PersistentVolumeClaim | None, new: core.PersistentVolumeClaim | None) -> Iterable[Key]:
        if new is None and old is not None:
            self._surely_failed.discard(old.metadata.uid)
        if new is not None and self.context.drivers and (old is None or self._counted(old) != self._counted(new)):
            yield key_of(new)

    @staticmethod
    @abc.abstractmethod
    def _counted(claim: core.PersistentVolumeClaim) -> tuple[object, ...]:
        """What of a claim gives work; what went wrong, which is written here, does not."""
