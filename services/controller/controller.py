"""What the controllers of one manager share, and what each of them is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from knarr.client import controller
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.client.events import EventRecorder, EventSource
from knarr.client.informer import Informers
from services.controller.csi.driver import Driver
from services.controller.settings import ControllerSettings


@dataclass(frozen=True, slots=True)
class Context:
    """What the controllers of one manager share."""

    client: Client
    informers: Informers
    recorder: EventRecorder
    settings: ControllerSettings
    clock: Clock = field(default=SYSTEM_CLOCK)
    # By name, the drivers of volumes that are asked here: those that bring no controllers of their own.
    drivers: Mapping[str, Driver] = field(default_factory=dict)


class Controller(controller.Controller):
    """A controller of the manager; it is made before the informers run."""

    # Whom its events come from, where Kubernetes' controller of the kind does not call itself by its name and ``-controller``.
    speaks_as: ClassVar[str] = ""

    def __init__(self, context: Context) -> None:
        super().__init__(context.informers, workers=context.settings.workers, clock=context.clock)
        self.context = context
        self.client = context.client
        self.recorder = EventSource(context.recorder, self.speaks_as or f"{self.name}-controller")
