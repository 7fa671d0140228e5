"""Workloads, and the budgets of their pods."""

from __future__ import annotations

from collections.abc import Callable

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.machinery.errors import TooManyRequests
from knarr.objects import int_or_string
from knarr.objects.conditions import set_condition
from tests.controller.autoscalers import autoscaler, metric
from tests.controller.objects import (
    daemon_set,
    deployment,
    node,
    replica_set,
)
from tests.controller.scenarios.services import not_ready, running
from tests.controller.scenarios.steps import step
from tests.controller.stateful import stateful_set
from tests.support.measured import Measured
from tests.support.mishaps import World


async def daemon_sets(w: World) -> None:
    """Two nodes, of which one fails its pod; an update that surges and keeps no history; a node that no pod may stay on."""
    w.api.seed(node("node-1"), node("node-2"))
    await w.client.create(daemon_set(history=0))
    await step()
    failed = next(found for found in w.api.all(core.Pod) if found.spec.node_name == "node-2")
    await w.edit(core.Pod, failed.metadata.name, lambda found: setattr(found.status, "phase", "Failed"), subresource="status")
    await step()
    await w.edit(
        apps.DaemonSet, "web", lambda found: found.spec.CopyFrom(daemon_set(image="app:2", surge=1, unavailable=0, history=0).spec)
    )
    await step()
    await w.edit(core.Node, "node-1", lambda found: found.spec.taints.add(key="broken", effect="NoExecute"), "")
    await step()


async def deployments(w: World) -> None:
    """Two are made, in both strategies, rolled to another image, and scaled; one keeps no history."""
    w.api.seed(node())
    await w.client.create(deployment("web", 1, history=0))
    await w.client.create(deployment("shop", 1, strategy="Recreate"))
    await step()
    for name in ("web", "shop"):
        await w.edit(apps.Deployment, name, lambda found: setattr(found.spec.template.spec.containers[0], "image", "app:2"))
    await step()
    await w.edit(apps.Deployment, "web", lambda found: setattr(found.spec, "replicas", 2))
    await step()


async def autoscaled(w: World) -> None:
    """What there is to do grows, is nothing for a while, and comes back; the autoscaler goes."""
    measured = Measured(w.api, w.clock)
    w.api.seed(node())
    await w.client.create(deployment("web", 1))
    depth = metric("external", metric={"name": "depth"}, target={"type": "AverageValue", "averageValue": "10"})
    for count in (30, 30, 0, 20):
        measured.values["namespaces/default/depth"] = [("", str(count))]
        if not w.api.all(autoscaling.HorizontalPodAutoscaler):
            await w.client.create(autoscaler(depth, least=0, most=5))
        await step(45)
    await w.client.delete(autoscaling.HorizontalPodAutoscaler, "web", "default")
    await step()


async def replicated(w: World, workload: apps.ReplicaSet | core.ReplicationController) -> None:
    """Adopts an orphan, loses a pod, releases one, is scaled down."""
    w.api.seed(node())
    orphan = core.Pod(spec=workload.spec.template.spec)
    orphan.metadata.name, orphan.metadata.namespace, orphan.metadata.labels["app"] = "orphan", "default", "web"
    await w.client.create(orphan)
    await w.client.create(workload)
    await step()
    await w.edit(core.Pod, "orphan", lambda found: found.metadata.labels.update(app="other"))
    await step()
    lost = next(found for found in w.api.all(core.Pod) if found.metadata.name != "orphan")
    await w.client.delete(core.Pod, lost.metadata.name, "default")
    await step()
    await w.edit(type(workload), "web", lambda found: setattr(found.spec, "replicas", 1))
    await step()


async def stateful_sets(w: World) -> None:
    """One in order is broken, rolled back and scaled down, and claims go with its pods. One in parallel, which keeps no history, is rolled
    and releases a pod."""

    def to_image(image: str) -> Callable[[apps.StatefulSet], object]:
        return lambda found: setattr(found.spec.template.spec.containers[0], "image", image)

    w.api.seed(node())
    ordered = stateful_set("web", 2, image="app:1", claims=("data",))
    ordered.spec.persistent_volume_claim_retention_policy.when_scaled = "Delete"
    await w.client.create(ordered)
    parallel = stateful_set("shop", 1, image="app:1", history=0)
    parallel.spec.pod_management_policy = "Parallel"
    await w.client.create(parallel)
    await step()
    await w.edit(apps.StatefulSet, "web", to_image("broken"))
    await w.edit(apps.StatefulSet, "shop", to_image("app:2"))
    await step()
    await w.edit(apps.StatefulSet, "web", to_image("app:1"))
    await w.edit(core.Pod, "shop-0", lambda found: found.metadata.labels.update(app="other"))
    await step()
    await w.client.delete(core.Pod, "shop-0", "default")
    await w.edit(apps.StatefulSet, "web", lambda found: setattr(found.spec, "replicas", 1))
    await step()


async def budgets(w: World) -> None:
    """Two pods are evicted, one after the other; a third one's eviction comes to nothing, and one more is not ready."""
    w.api.seed(node())
    for name in ("web", "other"):
        made = policy.PodDisruptionBudget()
        made.metadata.name, made.metadata.namespace = name, "default"
        made.spec.max_unavailable.CopyFrom(int_or_string.of(1 if name == "web" else "50%"))
        made.spec.selector.match_labels["app"] = name
        await w.client.create(made)
    await w.client.create(replica_set("web", 3))
    await step()
    for _ in range(2):
        chosen = w.api.all(core.Pod)[0].metadata.name
        # A budget whose controller is away or behind may have to be asked again.
        while True:
            try:
                eviction = policy.Eviction(metadata=meta.ObjectMeta(name=chosen, namespace="default"))
                await w.client.create(eviction, subresource="eviction", name=chosen)
                break
            except TooManyRequests:
                await step(1)
        await step()
    chosen = w.api.all(core.Pod)[0].metadata.name

    def grant(found: policy.PodDisruptionBudget) -> None:
        found.status.disrupted_pods[chosen].seconds = int(w.clock.now().timestamp())
        found.status.disruptions_allowed = 0

    await w.edit(policy.PodDisruptionBudget, "web", grant, subresource="status")
    await step(180)
    await w.edit(core.Pod, chosen, not_ready(w), subresource="status")
    await step()


async def stale_disruptions(w: World) -> None:
    """Of two pods that are to be disrupted one goes."""
    w.api.seed(running("stays", "10.244.0.1"), running("goes", "10.244.0.2"))
    for name in ("stays", "goes"):
        said = lambda found: set_condition(found.status, "DisruptionTarget", True, reason="PreemptionByScheduler", now=w.clock.now())  # noqa: E731
        await w.edit(core.Pod, name, said, subresource="status")
    await w.client.delete(core.Pod, "goes", "default")
    await step(180)
