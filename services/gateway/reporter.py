"""What objects are told of how they are served: addresses in their status, and events for what is not done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.client.client import Client
from knarr.client.events import NORMAL, WARNING, EventRecorder
from knarr.client.store import Store
from services.gateway.reports import Reports, is_address
from services.gateway.routing.table import Origin

Problems = Sequence[tuple[str, str]]


class IngressReporter:
    """``look`` at some that changed; ``run`` writes. ``problems`` says what of one is not done; None: it is not served."""

    def __init__(
        self,
        client: Client,
        recorder: EventRecorder,
        ingresses: Store[networking.Ingress],
        addresses: Callable[[], Sequence[str]],
        problems: Callable[[Origin], Problems | None],
    ) -> None:
        self._client, self._recorder, self._ingresses = client, recorder, ingresses
        self._addresses, self._problems = addresses, problems
        self._reports = Reports()
        # What was said last of each.
        self._told: dict[Origin, tuple[tuple[str, str], ...]] = {}

    def look(self, origins: Iterable[Origin]) -> None:
        """Those of other kinds are told by others."""
        self._reports.ask(sorted(origin for origin in origins if origin.kind == "Ingress"))

    async def run(self) -> None:
        await self._reports.run(self._report)

    async def _report(self, origin: Origin) -> None:
        ingress = self._ingresses.get(origin.namespace, origin.name)
        problems = self._problems(origin)
        if ingress is None:
            self._told.pop(origin, None)
            return
        if problems is not None:
            self._tell(origin, ingress, tuple(problems))
        await self._write(ingress, self._addresses() if problems is not None else (), served=problems is not None or origin in self._told)

    def _tell(self, origin: Origin, ingress: networking.Ingress, problems: tuple[tuple[str, str], ...]) -> None:
        before = self._told.get(origin)
        self._told[origin] = problems
        for reason, words in problems:
            if before is None or (reason, words) not in before:
                self._recorder.event(ingress, WARNING, reason, words)
        if before and not problems:
            self._recorder.event(ingress, NORMAL, "Served", "all of it is in force")

    async def _write(self, ingress: networking.Ingress, wanted: Sequence[str], *, served: bool) -> None:
        """Of one that others serve the status is theirs."""
        found = [entry.ip or entry.hostname for entry in ingress.status.load_balancer.ingress]
        if found == list(wanted) or not served:
            return
        patch = {"status": {"loadBalancer": {"ingress": [{"ip" if is_address(each) else "hostname": each} for each in wanted]}}}
        await self._client.patch(networking.Ingress, ingress.metadata.name, ingress.metadata.namespace, patch=patch, subresource="status")
