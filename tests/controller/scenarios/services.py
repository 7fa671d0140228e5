"""Services, and the endpoints that others keep by hand."""

from __future__ import annotations

from collections.abc import Callable

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.conditions import set_condition
from services.controller.endpoints.trigger_time import ANNOTATION as TRIGGER_TIME
from tests.controller.objects import (
    node,
    pod,
    service,
)
from tests.controller.scenarios.steps import step
from tests.support.mishaps import World


def running(name: str, address: str) -> core.Pod:
    return pod(name, node="node-1", phase="Running", ready=True, ip=address)


def not_ready(w: World) -> Callable[[core.Pod], object]:
    return lambda found: set_condition(found.status, "Ready", "False", now=w.clock.now())


async def services(w: World) -> None:
    """A Service over two pods of which one stops being ready and one goes; another port; a second Service that goes."""
    w.api.seed(node(), running("one", "10.244.0.1"), running("two", "10.244.0.2"))
    await w.client.create(service())
    second = service("second")
    second.spec.cluster_ip = ""
    await w.client.create(second)
    await step()
    await w.edit(core.Pod, "one", not_ready(w), subresource="status")
    await step()
    w.api.seed(running("three", "10.244.0.3"))
    await w.client.delete(core.Pod, "two", "default", grace_period_seconds=0)
    await step()
    await w.edit(
        core.Service, "web", lambda found: found.spec.ports[0].target_port.CopyFrom(service(target=9090).spec.ports[0].target_port)
    )
    await w.client.delete(core.Service, "second", "default")
    await step()


def trigger_time(kind: str) -> frozenset[str]:
    """A new leader does not know for which change it writes."""
    return frozenset({f"{kind}.metadata.annotations.{TRIGGER_TIME}"})


async def mirrored(w: World) -> None:
    """Endpoints kept by hand for a Service without a selector; changed, and deleted."""
    plain = service()
    plain.spec.selector.clear()
    await w.client.create(plain)
    kept = core.Endpoints()
    kept.metadata.name, kept.metadata.namespace = "web", "default"
    kept.subsets.add(addresses=[core.EndpointAddress(ip="192.0.2.1")], ports=[core.EndpointPort(name="http", port=80)])
    await w.client.create(kept)
    await step()
    await w.edit(core.Endpoints, "web", lambda found: found.subsets[0].addresses.add(ip="192.0.2.2"))
    await step()
    await w.edit(
        core.Endpoints,
        "web",
        lambda found: found.subsets.add(
            addresses=[core.EndpointAddress(ip="2001:db8::1")], ports=[core.EndpointPort(name="http", port=80)]
        ),
    )
    await step()
    await w.client.delete(core.Endpoints, "web", "default")
    await step()
