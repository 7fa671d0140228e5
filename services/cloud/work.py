"""What a leading cloud controller manager has: its provider and its controllers, from one beginning to one end of its leadership."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from knarr.api.cloud.v1 import cloud_service_pb2
from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.client.events import EventRecorder
from knarr.client.informer import Informers
from knarr.objects.keys import Key
from knarr.service.tasks import run_together
from services.cloud.controller import CloudController, Context
from services.cloud.controllers.node.controller import NodeController
from services.cloud.controllers.service.controller import ServiceController
from services.cloud.controllers.service.records import state_of
from services.cloud.guard import Guard, supported
from services.cloud.metrics import observe
from services.cloud.provider import Environment, ProviderType
from services.cloud.settings import CloudSettings


class Work:
    """``run`` it once."""

    def __init__(
        self,
        client: Client,
        settings: CloudSettings,
        kind: ProviderType,
        clock: Clock,
        controllers: Sequence[type[CloudController]],
        allow: Callable[[], float],
    ) -> None:
        """``client`` and ``allow`` refuse to change anything while this manager does not lead."""
        self._client = client
        self._settings = settings
        self._clock = clock
        self._types = controllers
        self.informers = Informers(client)
        environment = Environment(settings.cluster, client, self.informers, self._recheck, clock)
        self.provider = Guard(kind.make(settings.provider_settings, environment), settings.call_timeout_seconds, allow)
        # None until the provider has answered.
        self.info: cloud.GetInfoResponse | None = None
        self.controllers: Sequence[CloudController] = ()

    @property
    def services(self) -> ServiceController | None:
        """The controller of load balancers, once it works."""
        return next((found for found in self.controllers if isinstance(found, ServiceController)), None)

    @property
    def nodes(self) -> NodeController | None:
        """The controller of nodes, once it works."""
        return next((found for found in self.controllers if isinstance(found, NodeController)), None)

    async def run(self) -> None:
        """Works until cancelled."""
        recorder = EventRecorder(self._client, "cloud-controller-manager", clock=self._clock)
        parts = {
            "informers": self.informers.run(),
            "events": recorder.run(),
            "provider": self.provider.run(),
            "controllers": self._control(recorder),
        }
        try:
            await run_together("cloud", parts)
        finally:
            await self.provider.close()

    async def _control(self, recorder: EventRecorder) -> None:
        await self.informers.wait_synced()
        info = await supported(self.provider)
        context = Context(self._client, self.informers, recorder, self.provider, info, self._settings, self._clock)
        controllers = [controller(context) for controller in self._types if controller.wanted(info, self._settings)]
        await self.informers.wait_synced()
        self.info, self.controllers = info, controllers
        parts = {controller.name: controller.run() for controller in controllers}
        await run_together("cloud", {**parts, "metrics": observe({found.name: found.queue for found in controllers}, self._states)})

    def _states(self) -> dict[str, int]:
        """How many load balancers are in each state."""
        known = self.services.services() if self.services is not None else []
        counts = Counter(int(state_of(service, record)) for service, record in known)
        names = cloud_service_pb2.LoadBalancerState.items()
        return {name.removeprefix("LOAD_BALANCER_STATE_").lower(): counts[number] for name, number in names if number}

    def _recheck(self, key: Key) -> None:
        if self.services is not None:
            self.services.sync(key)
