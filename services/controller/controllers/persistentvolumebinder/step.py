"""What the binder does next: one write at most, after which it looks anew."""

from __future__ import annotations

from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.events import NORMAL, WARNING

Bindable = core.PersistentVolume | core.PersistentVolumeClaim


@dataclass(frozen=True, slots=True)
class Say:
    """An event about an object, which is told again only after something else was said of it."""

    about: Bindable
    reason: str
    message: str
    warning: bool = False

    @property
    def type(self) -> str:
        return WARNING if self.warning else NORMAL


@dataclass(frozen=True, slots=True)
class Step:
    """``write`` is an object as it is to be; ``status``: of that alone. ``say`` is told once it is written, or at once where nothing is."""

    write: Bindable | None = None
    status: bool = False
    say: Say | None = None


NOTHING = Step()
