"""The controller manager: all controllers over shared informers, in one process.

While it leads it runs the informers, waits until they have listed once and then lets every
controller work. A manager that loses its lease drops them all and begins anew when it leads again,
so nothing acts on what it remembers from before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import grpc.aio

from knarr.api.controller.v1 import controller_service_pb2, controller_service_pb2_grpc
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.client.events import EventRecorder
from knarr.client.informer import Informers
from knarr.client.reconciler import Reconciler
from knarr.service.elected import ElectedComponent
from knarr.service.tasks import run_together
from services.controller.catalog import CONTROLLERS
from services.controller.controller import Context, Controller
from services.controller.csi.client import SocketDriver
from services.controller.csi.driver import Driver
from services.controller.metrics import show_queues
from services.controller.servicer import ControllerServicer
from services.controller.settings import ControllerSettings

LEASE = "knarr-controller-manager"


class ControllerManager(ElectedComponent):
    name: ClassVar[str] = "controller"

    def __init__(
        self,
        client: Client,
        settings: ControllerSettings | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        controllers: Sequence[type[Controller]] = CONTROLLERS,
        connect: Callable[[str, str, float], Driver] = SocketDriver,
    ) -> None:
        self._settings = settings or ControllerSettings()
        super().__init__(client, LEASE, self._settings.election, clock)
        self._clock = clock
        self._types = controllers
        self._connect = connect
        self._queues: dict[str, Reconciler] = {}
        self._working = False

    def register(self, server: grpc.aio.Server) -> list[str]:
        controller_service_pb2_grpc.add_ControllerServiceServicer_to_server(ControllerServicer(self._queues, lambda: self._working), server)
        return [controller_service_pb2.DESCRIPTOR.services_by_name["ControllerService"].full_name]

    @property
    def queues(self) -> Mapping[str, Reconciler]:
        """The controllers' queues by name; empty until they work."""
        return self._queues

    @property
    def working(self) -> bool:
        return self._working

    async def _lead(self) -> None:
        recorder = EventRecorder(self._client, "controller-manager", clock=self._clock)
        settings = self._settings
        drivers = {name: self._connect(name, endpoint, settings.csi_seconds) for name, endpoint in settings.csi_drivers.items()}
        context = Context(self._client, Informers(self._client), recorder, settings, self._clock, drivers)
        controllers = [controller(context) for controller in self._types]
        self._queues.clear()
        self._queues.update({controller.name: controller.queue for controller in controllers})
        try:
            await run_together(
                "controller",
                {"informers": context.informers.run(), "events": recorder.run(), "controllers": self._work(context, controllers)},
            )
        finally:
            self._working = False
            for driver in drivers.values():
                await driver.close()

    async def _work(self, context: Context, controllers: Sequence[Controller]) -> None:
        await context.informers.wait_synced()
        self._working = True
        show_queues(self._queues)
        await run_together("controller", {controller.name: controller.run() for controller in controllers})
