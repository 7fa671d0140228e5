"""Pods by what they use: the autoscaler on a whole cluster in memory, with a kubelet and metrics of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling
from knarr.machinery.errors import status_error
from services.controller.controllers.deployment.controller import DeploymentController
from services.controller.controllers.horizontalpodautoscaler.controller import HorizontalPodAutoscalerController
from services.controller.controllers.replicaset.controller import ReplicaSetController
from tests.controller.autoscalers import autoscaler, cpu, metric
from tests.controller.cluster import Cluster, cluster, key
from tests.controller.objects import condition_of, deployment, node, pod
from tests.controller.test_disruption import define
from tests.support.measured import Measured
from tests.support.virtual_time import virtual_time

CONTROLLERS = (HorizontalPodAutoscalerController, DeploymentController, ReplicaSetController)
SYNC = 15.0
# Longer than any pod is thought to start.
STARTED = 330.0


async def reach(condition: Callable[[], object], seconds: float) -> None:
    """Looks now and then: minutes go by."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.5)


@asynccontextmanager
async def autoscaled(**settings: Any) -> AsyncIterator[tuple[Cluster, Measured]]:
    async with cluster(controllers=CONTROLLERS, **settings) as c:
        c.api.seed(node())
        yield c, Measured(c.api, c.kubelet.clock)


def web(replicas: int = 2, request: str = "100m") -> apps.Deployment:
    made = deployment("web", replicas)
    made.spec.template.spec.containers[0].resources.requests["cpu"].string = request
    return made


def found(c: Cluster, name: str = "web") -> autoscaling.HorizontalPodAutoscaler:
    return next(one for one in c.api.all(autoscaling.HorizontalPodAutoscaler) if one.metadata.name == name)


def said(c: Cluster, kind: str, name: str = "web") -> tuple[str, str, str]:
    condition = condition_of(found(c, name).status, kind)
    return condition.status, condition.reason, condition.message


@virtual_time
async def test_traffic_grows_and_falls() -> None:
    async with autoscaled() as (c, measured):
        measured.cpu = lambda pod: 50
        await c.client.create(web())
        await c.client.create(autoscaler(cpu(50), least=1, most=5))
        await asyncio.sleep(STARTED)
        assert c.deployment().spec.replicas == 2
        assert said(c, "ScalingActive")[1] == "ValidMetricFound"
        status = found(c).status
        assert (status.current_replicas, status.desired_replicas) == (2, 2)
        current = status.current_metrics[0].resource.current
        assert (current.average_utilization, current.average_value.string) == (50, "50m")
        measured.cpu = lambda pod: 100
        await reach(lambda: c.deployment().spec.replicas == 4, SYNC + 1)
        assert c.events("SuccessfulRescale") == ["New size: 4; reason: cpu resource utilization (percentage of request) above target"]
        assert said(c, "AbleToScale") == ("True", "SucceededRescale", "the HPA controller was able to update the target scale to 4")
        assert found(c).status.HasField("last_scale_time")
        measured.cpu = lambda pod: 10
        # Five minutes of higher recommendations, then none.
        await asyncio.sleep(200)
        assert c.deployment().spec.replicas in (4, 5)
        assert said(c, "AbleToScale")[1] == "ScaleDownStabilized"
        await reach(lambda: c.deployment().spec.replicas == 1, STARTED)
        assert c.events("SuccessfulRescale")[-1] == "New size: 1; reason: All metrics below target"


@virtual_time
async def test_it_never_goes_beyond_its_most_and_says_so() -> None:
    async with autoscaled() as (c, measured):
        measured.cpu = lambda pod: 400
        await c.client.create(web())
        await c.client.create(autoscaler(cpu(50), least=1, most=3))
        await asyncio.sleep(STARTED)
        assert c.deployment().spec.replicas == 3
        assert said(c, "ScalingLimited") == ("True", "TooManyReplicas", "the desired replica count is more than the maximum replica count")


@virtual_time
async def test_bounds_hold_without_any_metric() -> None:
    async with autoscaled() as (c, _):
        await c.client.create(web(1))
        await c.client.create(autoscaler(cpu(50), least=2, most=4))
        await reach(lambda: c.deployment().spec.replicas == 2, SYNC)
        await c.edit(apps.Deployment, "web", lambda one: setattr(one.spec, "replicas", 9))
        await reach(lambda: c.deployment().spec.replicas == 4, SYNC + 1)
        assert sorted(c.events("SuccessfulRescale")) == [
            "New size: 2; reason: Current number of replicas below Spec.MinReplicas",
            "New size: 4; reason: Current number of replicas above Spec.MaxReplicas",
        ]
        # Without a metric nothing more is done, and it is said why.
        await asyncio.sleep(3 * SYNC)
        assert said(c, "ScalingActive") == (
            "False",
            "FailedGetResourceMetric",
            "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource cpu: "
            "no metrics returned from resource metrics API",
        )
        assert c.events("FailedComputeMetricsReplicas")[0].startswith(
            "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu utilization: "
        )


@virtual_time
async def test_a_target_at_zero_is_left_alone() -> None:
    async with autoscaled() as (c, measured):
        measured.cpu = lambda pod: 100
        await c.client.create(web(0))
        await c.client.create(autoscaler(cpu(50)))
        await asyncio.sleep(3 * SYNC)
        assert c.deployment().spec.replicas == 0
        assert said(c, "ScalingActive")[:2] == ("False", "ScalingDisabled")


@virtual_time
async def test_a_target_that_is_not_there() -> None:
    async with autoscaled() as (c, _):
        await c.client.create(autoscaler(cpu(50)))
        await c.client.create(autoscaler(cpu(50), name="odd", kind="Gadget", api_version="example.com/v1"))
        await c.client.create(autoscaler(cpu(50), name="ds", kind="DaemonSet", api_version="apps/v1"))
        await asyncio.sleep(1)
        assert said(c, "AbleToScale")[:2] == ("False", "FailedGetScale")
        assert 'deployments.apps "web" not found' in said(c, "AbleToScale")[2]
        assert 'no matches for kind "Gadget" in version "example.com/v1"' in said(c, "AbleToScale", "odd")[2]
        assert "daemonsets.apps has no scale" in said(c, "AbleToScale", "ds")[2]
        # It is there later.
        await c.client.create(web())
        await asyncio.sleep(SYNC + 1)
        assert said(c, "AbleToScale")[0] == "True"


@virtual_time
async def test_two_for_the_same_pods_do_nothing() -> None:
    async with autoscaled() as (c, measured):
        measured.cpu = lambda pod: 100
        await c.client.create(web())
        await c.client.create(autoscaler(cpu(50)))
        await c.client.create(autoscaler(cpu(70), name="second"))
        await asyncio.sleep(STARTED)
        words = "pods by selector app=web are controlled by multiple HPAs: [default/second default/web]"
        assert said(c, "ScalingActive") == ("False", "AmbiguousSelector", words)
        assert c.deployment().spec.replicas == 2
        await c.client.delete(autoscaling.HorizontalPodAutoscaler, "second", "default")
        await reach(lambda: c.deployment().spec.replicas > 2, SYNC + 1)


@virtual_time
async def test_pods_object_and_outside_metrics() -> None:
    async with autoscaled() as (c, measured):
        await c.client.create(web())
        chosen = {"matchLabels": {"queue": "mail"}}
        wanted = (
            metric("pods", metric={"name": "rate"}, target={"type": "AverageValue", "averageValue": "10"}),
            metric(
                "object",
                metric={"name": "hits"},
                describedObject={"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "front"},
                target={"type": "Value", "value": "100"},
            ),
            metric("external", metric={"name": "depth", "selector": chosen}, target={"type": "AverageValue", "averageValue": "30"}),
        )
        await c.client.create(autoscaler(*wanted, most=20))
        await reach(lambda: len(c.ready_pods()) == 2, 5)
        pods = [pod.metadata.name for pod in c.ready_pods()]
        measured.values["namespaces/default/pods/*/rate"] = [(name, "10500m") for name in pods]
        measured.values["namespaces/default/ingresses.networking.k8s.io/front/hits"] = [("front", "100")]
        measured.values["namespaces/default/depth"] = [("", "60"), ("", "60")]
        await reach(lambda: c.deployment().spec.replicas == 4, SYNC + 1)
        assert c.events("SuccessfulRescale") == ["New size: 4; reason: external metric depth(queue=mail) above target"]
        assert ("namespaces/default/pods/*/rate", {"labelSelector": "app=web"}) in measured.asked
        assert ("namespaces/default/depth", {"labelSelector": "queue=mail"}) in measured.asked
        shown = found(c).status.current_metrics
        assert [shown[0].pods.current.average_value.string, shown[1].object.current.value.string] == ["10500m", "100"]
        assert shown[2].external.current.average_value.string == "60"


@virtual_time
async def test_one_metric_that_fails_keeps_pods_from_going_only() -> None:
    async with autoscaled(autoscaler_downscale_stabilization_seconds=0.0) as (c, measured):
        await c.client.create(web(4))
        target = {"type": "AverageValue", "averageValue": "10"}
        wanted = metric("external", metric={"name": "gone"}, target=target), metric("external", metric={"name": "depth"}, target=target)
        await c.client.create(autoscaler(*wanted, most=20))
        measured.values["namespaces/default/depth"] = [("", "10")]
        await asyncio.sleep(2 * SYNC)
        assert c.deployment().spec.replicas == 4
        assert said(c, "ScalingActive")[:2] == ("False", "FailedGetExternalMetric")
        # The one that failed has an entry of its own: those that show them go by their order.
        assert [one.type for one in found(c).status.current_metrics] == ["", "External"]
        measured.values["namespaces/default/depth"] = [("", "60")]
        await reach(lambda: c.deployment().spec.replicas == 6, SYNC + 1)


@virtual_time
async def test_to_zero_and_back() -> None:
    async with autoscaled(autoscaler_downscale_stabilization_seconds=0.0) as (c, measured):
        await c.client.create(web())
        wanted = metric("external", metric={"name": "depth"}, target={"type": "AverageValue", "averageValue": "10"})
        await c.client.create(autoscaler(wanted, least=0))
        measured.values["namespaces/default/depth"] = [("", "0")]
        await reach(lambda: c.deployment().spec.replicas == 0, SYNC + 1)
        assert said(c, "ScaledToZero") == ("True", "ScaledToZero", "the HPA controller scaled the workload to zero")
        measured.values["namespaces/default/depth"] = [("", "25")]
        await reach(lambda: c.deployment().spec.replicas == 3, SYNC + 1)
        assert said(c, "ScaledToZero")[:2] == ("False", "NotScaledToZero")
        # By hand it stays there.
        await c.edit(apps.Deployment, "web", lambda one: setattr(one.spec, "replicas", 0))
        await asyncio.sleep(3 * SYNC)
        assert c.deployment().spec.replicas == 0
        assert said(c, "ScalingActive")[1] == "ScalingDisabled"


@virtual_time
async def test_a_custom_resource_is_scaled() -> None:
    async with autoscaled() as (c, measured):
        made: Any = (await define(c))()
        made.metadata.name, made.metadata.namespace = "web", "default"
        made.content = {"spec": {"size": 2}, "status": {"size": 2, "selector": "app=web"}}
        await c.client.create(made)
        c.api.seed(*(pod(f"web-{number}", node="node-1", phase="Running", ready=True) for number in range(2)))
        wanted = metric("external", metric={"name": "depth"}, target={"type": "AverageValue", "averageValue": "10"})
        measured.values["namespaces/default/depth"] = [("", "25")]
        await c.client.create(autoscaler(wanted, kind="Fleet", api_version="example.com/v1"))
        await asyncio.sleep(SYNC)
        assert (await c.client.scale(type(made), "web", "default")).spec.replicas == 3


@virtual_time
async def test_a_scale_that_cannot_be_written() -> None:
    async with autoscaled() as (c, _):
        await c.client.create(web(1))
        c.api.fail_next(status_error("ServiceUnavailable", "not now"), verb="update", subresource="scale")
        await c.client.create(autoscaler(cpu(50), least=2))
        await asyncio.sleep(1)
        assert said(c, "AbleToScale") == ("False", "FailedUpdateScale", "the HPA controller was unable to update the target scale: not now")
        assert c.events("FailedRescale") == ["New size: 2; reason: Current number of replicas below Spec.MinReplicas; error: not now"]
        await reach(lambda: c.deployment().spec.replicas == 2, SYNC + 1)


@virtual_time
async def test_nothing_is_written_while_nothing_changes() -> None:
    async with autoscaled() as (c, measured):
        measured.cpu = lambda pod: 50
        await c.client.create(web())
        await c.client.create(autoscaler(cpu(50)))
        await asyncio.sleep(STARTED)
        before = len(c.api.writes)
        await asyncio.sleep(10 * SYNC)
        assert c.api.writes[before:] == []


@virtual_time
async def test_one_that_goes_is_forgotten() -> None:
    async with autoscaled() as (c, _):
        await c.client.create(web())
        await c.client.create(autoscaler(cpu(50)))
        await asyncio.sleep(1)
        await c.client.delete(autoscaling.HorizontalPodAutoscaler, "web", "default")
        await asyncio.sleep(2 * SYNC)
        assert c.manager.queues[HorizontalPodAutoscalerController.name].key_status(key("web")).next_in_seconds == 0
