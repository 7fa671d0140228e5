"""Custom and external metrics of an API server of others, and an autoscaler that scales by them: the whole way, over TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
import pytest
from aiohttp import web

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling
from services.controller.component import ControllerManager
from services.controller.controllers.horizontalpodautoscaler.controller import HorizontalPodAutoscalerController
from services.controller.controllers.horizontalpodautoscaler.metrics import ClientSources
from services.controller.controllers.horizontalpodautoscaler.samples import Sample, Unmeasured
from services.controller.settings import ControllerSettings
from services.controller.versions import Versions
from tests.apiserver.aggregation.conftest import Cluster, api_service
from tests.controller.autoscalers import autoscaler, metric
from tests.controller.objects import deployment
from tests.support.extension import ExtensionServer
from tests.support.rights import CONTROLLER, ROLES

GROUPS = {"custom.metrics.k8s.io": ("v1beta1", "v1beta2"), "external.metrics.k8s.io": ("v1beta1",)}
CUSTOM, EXTERNAL = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default", "/apis/external.metrics.k8s.io/v1beta1/namespaces/default"


def answering(body: Any) -> Callable[[web.BaseRequest], Coroutine[Any, Any, web.Response]]:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    return answer


def values(*found: tuple[str, str]) -> dict[str, Any]:
    items = [{"describedObject": {"kind": "Pod", "name": name}, "metric": {"name": "m"}, "value": value} for name, value in found]
    return {"kind": "MetricValueList", "apiVersion": "custom.metrics.k8s.io/v1beta2", "items": items}


@pytest.fixture
async def served(cluster: Cluster, extension: ExtensionServer) -> Cluster:
    """Both groups by one server; what it is asked for in the controller's name."""
    cluster.node.ports = {8443: extension.port}
    await cluster.place()
    for group, versions in GROUPS.items():
        for number, version in enumerate(versions):
            found = {"kind": "APIResourceList", "groupVersion": f"{group}/{version}", "resources": []}
            extension.play[f"/apis/{group}/{version}"] = answering(found)
            made = api_service(extension.ca_bundle, group, version)
            made.spec.version_priority = 100 + number
            await cluster.client.create(made)
            await cluster.condition("True", "Passed", made.metadata.name)
    async with asyncio.timeout(10):
        while not all(found.available for found in cluster.aggregation.extensions):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    cluster.api.server.api.pipeline.authorizer.modes = (ROLES,)  # type: ignore[attr-defined]
    return cluster


def sources(served: Cluster) -> ClientSources:
    client = served.api.client(CONTROLLER)
    return ClientSources(client, Versions(client))


async def test_values_of_pods_objects_and_others(served: Cluster, extension: ExtensionServer) -> None:
    extension.play[f"{CUSTOM}/pods/*/rate"] = answering(values(("a", "1500m"), ("b", "2")))
    extension.play[f"{CUSTOM}/ingresses.networking.k8s.io/front/hits"] = answering(values(("front", "7")))
    extension.play[f"{CUSTOM}/metrics/all"] = answering(values(("default", "1k")))
    extension.play[f"{EXTERNAL}/depth"] = answering({"items": [{"metricName": "depth", "value": "3"}, {"value": "500m"}]})
    found = sources(served)
    assert await found.of_pods("rate", "default", "app=web", "verb=GET") == {"a": Sample(1500), "b": Sample(2000)}
    described = autoscaling.CrossVersionObjectReference(api_version="networking.k8s.io/v1", kind="Ingress", name="front")
    assert await found.of_object("hits", "default", described, "") == 7000
    described = autoscaling.CrossVersionObjectReference(api_version="v1", kind="Namespace", name="whatever")
    assert await found.of_object("all", "default", described, "") == 1_000_000
    assert await found.of_outside("depth", "default", "") == 3500
    targets = {target for _, target, headers in extension.heard if "system:kube-controller-manager" in headers.get("x-remote-user", [])}
    assert f"{CUSTOM}/pods/*/rate?labelSelector=app%3Dweb&metricLabelSelector=verb%3DGET" in targets


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"items": []}, "no metrics returned from external metrics API"),
        ([], "no metrics returned"),
        ({"items": [{"value": "many"}]}, "'many' is no quantity"),
        ({"items": [{"value": {"deep": 1}}]}, "is no quantity"),
        ({"items": [5]}, "no metrics returned"),
    ],
    ids=["none", "no object", "no quantity", "no text", "no values"],
)
async def test_nonsense_is_told(served: Cluster, extension: ExtensionServer, body: Any, words: str) -> None:
    extension.play[f"{EXTERNAL}/depth"] = answering(body)
    with pytest.raises(Unmeasured, match=words):
        await sources(served).of_outside("depth", "default", "")


async def test_an_autoscaler_scales_by_them(served: Cluster, extension: ExtensionServer) -> None:
    extension.play[f"{EXTERNAL}/depth"] = answering({"items": [{"value": "40"}]})
    served.api.seed(deployment("web", 1))
    # By hand: nobody keeps the Deployment's pods here.
    wanted = metric("external", metric={"name": "depth"}, target={"type": "AverageValue", "averageValue": "10"})
    served.api.seed(autoscaler(wanted))
    manager = ControllerManager(
        served.api.client(CONTROLLER),
        ControllerSettings(autoscaler_sync_seconds=0.1),
        controllers=(HorizontalPodAutoscalerController,),
    )
    running = asyncio.create_task(manager.run())
    try:
        async with asyncio.timeout(20):
            while served.api.all(apps.Deployment)[0].spec.replicas != 4:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    finally:
        running.cancel()
        await asyncio.wait([running])
