"""Each controller works alone, and all of them in any order: none lives on what another has declared."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.events import EventRecorder
from knarr.client.informer import Informers
from services.controller.catalog import CONTROLLERS
from services.controller.controller import Context, Controller
from services.controller.controllers.garbagecollector.controller import GarbageCollector
from services.controller.settings import ControllerSettings
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import deployment, namespace, node, replica_set, service
from tests.support.api import FaultyApi
from tests.support.virtual_time import virtual_time

OTHERS = tuple(found for found in CONTROLLERS if found is not GarbageCollector)
ORDERS: dict[str, Sequence[type[Controller]]] = {
    "as listed": CONTROLLERS,
    "the other way round": CONTROLLERS[::-1],
    "garbage collector first": (GarbageCollector, *OTHERS),
    "garbage collector last": (*OTHERS, GarbageCollector),
}


async def roll_out(c: Cluster) -> None:
    """A Recreate rollout beside a ReplicaSet of its own with an orphan to adopt, a Service, and Endpoints kept by hand."""
    c.api.seed(node())
    await c.client.create(deployment("shop", 2, strategy="Recreate"))
    orphan = core.Pod(spec=replica_set().spec.template.spec)
    orphan.metadata.name, orphan.metadata.namespace = "orphan", "default"
    orphan.metadata.labels["app"] = "web"
    await c.client.create(orphan)
    # After its orphan: which of two pods is one too many would be for their uids to say.
    await c.client.create(replica_set("web", 1))
    kept = core.Endpoints()
    kept.metadata.name, kept.metadata.namespace = "kept", "default"
    kept.subsets.add(addresses=[core.EndpointAddress(ip="10.9.9.9")], ports=[core.EndpointPort(port=80)])
    await c.client.create(kept)
    plain = service("kept")
    plain.spec.selector.clear()
    plain.spec.cluster_ip = ""
    await c.client.create(plain)
    await c.client.create(service())
    await asyncio.sleep(5)
    await c.edit(apps.Deployment, "shop", lambda found: setattr(found.spec.template.spec.containers[0], "image", "app:2"))
    await asyncio.sleep(5)


async def take_away(c: Cluster) -> None:
    """A namespace, a node, a Service, a pod and the Deployment."""
    await c.client.create(namespace("team"))
    await asyncio.sleep(1)
    await c.client.delete(core.Namespace, "team")
    await c.client.delete(core.Service, "web", "default")
    await c.client.delete(core.Pod, "orphan", "default")
    await c.client.delete(apps.Deployment, "shop", "default", propagation_policy="Background")
    await asyncio.sleep(5)
    await c.client.delete(core.Node, "node-1")
    await asyncio.sleep(60)


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Listeners that failed, and keys whose reconcile failed for more than a conflict."""
    return [f"{record.getMessage()}: {vars(record).get('error')}" for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("controller", CONTROLLERS, ids=lambda found: found.name)
@virtual_time
async def test_a_controller_works_alone(controller: type[Controller], caplog: pytest.LogCaptureFixture) -> None:
    async with cluster(controllers=(controller,)) as c:
        await roll_out(c)
        await take_away(c)
        assert complaints(caplog) == []


@pytest.mark.parametrize("order", ORDERS)
@virtual_time
async def test_all_work_in_any_order(order: str, caplog: pytest.LogCaptureFixture) -> None:
    assert set(ORDERS[order]) == set(CONTROLLERS)
    async with cluster(controllers=ORDERS[order]) as c:
        await roll_out(c)
        assert {pod.spec.containers[0].image for pod in c.ready_pods() if pod.metadata.name.startswith("shop")} == {"app:2"}
        assert len(c.ready_pods()) == 3
        await take_away(c)
        assert [found.metadata.name for found in c.api.all(apps.ReplicaSet)] == ["web"]
        assert not [found for found in c.api.all(core.Namespace) if found.metadata.name == "team"]
        assert complaints(caplog) == []


@pytest.mark.parametrize("first", CONTROLLERS, ids=lambda found: found.name)
async def test_any_two_agree_on_their_indexes(first: type[Controller]) -> None:
    """Whichever of them is made first."""
    client = FaultyApi().client()
    for second in CONTROLLERS:
        if second is not first:
            context = Context(client, Informers(client), EventRecorder(client, "test"), ControllerSettings())
            assert [made(context).name for made in (first, second)] == [first.name, second.name]
