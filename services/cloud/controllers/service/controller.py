"""Service: gets every Service of type LoadBalancer what the provider calls a load balancer, and gives it back.

What this manager has asked for it remembers only while it leads. A new leader ensures every load balancer once, which changes nothing where
all is as it should be. Before a provider is called the Service is read from the server, and it carries our finalizer, so one that is
deleted meanwhile is not lost; one whose finalizer others have taken away is remembered until its load balancer is gone.

Now and then a load balancer is ensured again although nothing has changed here: somebody may have changed it at the provider.

A call that fails is tried again after a growing wait. A change of what the user wishes does not wait, and one that was refused is tried
at once when an address of another Service has become free.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import assert_never

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.events import NORMAL, WARNING
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict, NotFound
from knarr.objects.keys import Key, key_of
from services.cloud.controller import CloudController, Context
from services.cloud.controllers.service.decide import (
    Made,
    NodeSet,
    Step,
    carriers,
    decide,
    differ,
    has_finalizer,
    is_foreign,
    standing,
    wants,
    wishes,
)
from services.cloud.controllers.service.records import SHORTEST_WAIT_SECONDS, Record, Records
from services.cloud.controllers.service.writer import ServiceWriter
from services.cloud.errors import ProviderError
from services.cloud.settings import CloudSettings

# Until the next look at a Service that was changed while it was worked on.
CHANGED_SECONDS = 0.02
FAILURES = {
    Step.ENSURE: ("SyncLoadBalancerFailed", "Error syncing load balancer: failed to ensure load balancer: {error}"),
    Step.UPDATE: ("UpdateLoadBalancerFailed", "Error updating load balancer with new hosts {nodes}: {error}"),
    Step.DELETE: ("SyncLoadBalancerFailed", "Error syncing load balancer: failed to delete load balancer: {error}"),
}


class ServiceController(CloudController):
    name = "service"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._writer = ServiceWriter(context.client)
        self._made: dict[Key, Made] = {}
        self._asked: set[Key] = set()
        self._spread = random.Random(context.settings.cluster)
        # None until somebody asks after the nodes have changed.
        self._known_carriers: tuple[list[core.Node], NodeSet] | None = None
        self.records = Records(context.provider_backoff)
        self._nodes = self.hears(core.Node, self._node_changed)
        self._services = self.hears(core.Service, self._service_changed)

    @classmethod
    def wanted(cls, info: cloud.GetInfoResponse, settings: CloudSettings) -> bool:
        return bool(info.load_balancers)

    def _service_changed(self, old: core.Service | None, new: core.Service | None) -> Iterator[Key]:
        changed = new if new is not None else old
        if changed is None:
            return
        if new is None or self._is_ours(new) or has_finalizer(new) or key_of(new) in self._made:
            yield key_of(changed)
        if old is not None and old.status.load_balancer.ingress and (new is None or old.status.load_balancer != new.status.load_balancer):
            self._retry_refused()

    def _node_changed(self, old: core.Node | None, new: core.Node | None) -> Iterable[Key]:
        if (old and standing(old)) == (new and standing(new)):
            return ()
        self._known_carriers = None
        return [*self._made]

    def _carriers(self) -> tuple[list[core.Node], NodeSet]:
        if self._known_carriers is None:
            found = carriers(self._nodes.list())
            self._known_carriers = found, NodeSet.of(found)
        return self._known_carriers

    def _retry_refused(self) -> None:
        for key in self.records.refused():
            self._hurry(key)

    def sync(self, key: Key) -> None:
        """Ensures a Service's load balancer again, even if nothing has changed here."""
        self._asked.add(key)
        self._hurry(key)

    def _hurry(self, key: Key) -> None:
        """The next try need not wait."""
        self.records.hurry(key)
        self.queue.enqueue(key)

    # What others may know.

    def services(self) -> list[tuple[core.Service, Record]]:
        """Those that want or still have a load balancer of ours, with what has become of it."""
        known = [service for service in self._services.list() if self._is_ours(service) or has_finalizer(service)]
        return [(service, self.records.found.get(key_of(service), Record())) for service in known]

    def _is_ours(self, service: core.Service) -> bool:
        return wants(service) and not is_foreign(service, self.context.info.name)

    # Reconcile.

    async def reconcile(self, key: Key) -> Again | None:
        known = self._services.get(*key)
        if self._step(key, known) is Step.NOTHING:
            return self._rest(key, known)
        service = await self._live(key)
        step = self._step(key, service)
        if step is Step.NOTHING:
            return self._rest(key, service)
        wait = self.records.wait(key, step, self._wishes(key, service))
        if wait:
            return Again(wait)
        self._asked.discard(key)
        try:
            await self._act(key, step, service)
        except ProviderError as error:
            return Again(self._failed(key, step, service, error))
        except (NotFound, Conflict):
            # It has changed or gone since it was read; the provider's answer is kept.
            return Again(CHANGED_SECONDS)
        self.records.succeeded(key, self.context.clock.now().timestamp())
        if step is Step.DELETE:
            self._retry_refused()
            # A namesake may wait.
            return Again(0.0)
        return self._next_check(key)

    def _step(self, key: Key, service: core.Service | None) -> Step:
        made = self._made.get(key)
        asked = key in self._asked or (made is not None and asyncio.get_running_loop().time() >= made.check_at)
        return decide(service, made, self._carriers()[1], self.context.info.name, asked=asked)

    def _next_check(self, key: Key) -> Again | None:
        made = self._made.get(key)
        if made is None or made.check_at == float("inf"):
            return None
        return Again(max(made.check_at - asyncio.get_running_loop().time(), SHORTEST_WAIT_SECONDS))

    def _check_at(self) -> float:
        """Not all of them at once."""
        return asyncio.get_running_loop().time() + self.context.settings.check_seconds * (1 + 0.1 * self._spread.random())

    def _rest(self, key: Key, service: core.Service | None) -> Again | None:
        """Nothing is to be done for a Service."""
        self._asked.discard(key)
        if service is None or not (self._is_ours(service) or has_finalizer(service)):
            self.records.forget(key)
            return None
        self.records.settle(key)
        return self._next_check(key)

    async def _live(self, key: Key) -> core.Service | None:
        try:
            return await self.client.get(core.Service, key.name, key.namespace)
        except NotFound:
            return None

    async def _act(self, key: Key, step: Step, service: core.Service | None) -> None:
        match step:
            case Step.ENSURE:
                assert service is not None
                await self._ensure(key, service)
            case Step.UPDATE:
                assert service is not None
                await self._update(key, service)
            case Step.WRITE:
                assert service is not None
                await self._tell(key, await self._writer.add_finalizer(service))
            case Step.DELETE:
                await self._delete(key, service)
            case Step.NOTHING:
                pass
            case _:
                assert_never(step)

    async def _ensure(self, key: Key, service: core.Service) -> None:
        service = await self._writer.add_finalizer(service)
        before = self._made.setdefault(key, Made(service, NodeSet((), ()), None))
        changed = differ(service, before)
        if changed:
            self._event(service, NORMAL, "EnsuringLoadBalancer", "Ensuring load balancer")
        nodes, node_set = self._nodes_for(service)
        request = cloud.EnsureLoadBalancerRequest(cluster=self.context.settings.cluster, service=service, nodes=nodes)
        answer = (await self.provider.ensure_load_balancer(request)).load_balancer
        self._made[key] = Made(service, node_set, answer, self._check_at())
        await self._tell(key, service)
        if changed or answer != before.answer:
            self._event(service, NORMAL, "EnsuredLoadBalancer", "Ensured load balancer")

    async def _update(self, key: Key, service: core.Service) -> None:
        nodes, node_set = self._nodes_for(service)
        request = cloud.UpdateLoadBalancerRequest(cluster=self.context.settings.cluster, service=service, nodes=nodes)
        before = self._made[key]
        answer = (await self.provider.update_load_balancer(request)).load_balancer
        self._made[key] = Made(before.service, node_set, answer, before.check_at)
        await self._tell(key, service)
        if node_set != before.nodes or answer != before.answer:
            self._event(service, NORMAL, "UpdatedLoadBalancer", "Updated load balancer with new hosts")

    def _nodes_for(self, service: core.Service) -> tuple[list[core.Node], NodeSet]:
        nodes, node_set = self._carriers()
        if not nodes:
            self._event(service, WARNING, "UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer")
        return nodes, node_set

    async def _tell(self, key: Key, service: core.Service) -> None:
        answer = self._made[key].answer
        assert answer is not None
        await self._writer.tell(service, answer)
        record = self.records.get(key)
        limitations = tuple(answer.limitations)
        for text in limitations:
            if text not in record.limitations:
                self._event(service, WARNING, "LoadBalancerLimited", text)
        record.limitations = limitations

    async def _delete(self, key: Key, service: core.Service | None) -> None:
        """Of the Service as it is, or as it was when another, or none, has its name now."""
        made = self._made.get(key)
        if service is None or (made is not None and made.service.metadata.uid != service.metadata.uid):
            assert made is not None
            await self._call_delete(made.service)
            del self._made[key]
            return
        self._event(service, NORMAL, "DeletingLoadBalancer", "Deleting load balancer")
        annotations = await self._call_delete(service)
        self._made.pop(key, None)
        known = dict.fromkeys(made.answer.annotations) if made is not None and made.answer is not None else {}
        given = {**known, **{name: value or None for name, value in annotations.items()}}
        changes: dict[str, str | None] = {n: v for n, v in given.items() if service.metadata.annotations.get(n) != v}
        await self._writer.withdraw(service, changes)
        self._event(service, NORMAL, "DeletedLoadBalancer", "Deleted load balancer")

    async def _call_delete(self, service: core.Service) -> dict[str, str]:
        request = cloud.DeleteLoadBalancerRequest(cluster=self.context.settings.cluster, service=service)
        return dict((await self.provider.delete_load_balancer(request)).annotations)

    def _failed(self, key: Key, step: Step, service: core.Service | None, error: ProviderError) -> float:
        """Tells it and answers the seconds until the next try. What is at the provider is not known now, so it is ensured in any case."""
        made = self._made.get(key)
        if made is not None:
            self._made[key] = replace(made, check_at=0.0)
        if service is not None:
            reason, message = FAILURES[step]
            self._event(service, WARNING, reason, message.format(error=error, nodes=list(self._carriers()[1].names)))
        return self.records.failed(key, step, self._wishes(key, service), error)

    def _wishes(self, key: Key, service: core.Service | None) -> bytes:
        made = self._made.get(key)
        own = made.answer.annotations if made is not None and made.answer is not None else ()
        return b"" if service is None else wishes(service, own)

    def _event(self, service: core.Service, kind: str, reason: str, message: str) -> None:
        self.context.recorder.event(service, kind, reason, message)
