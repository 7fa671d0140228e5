"""What happens to each controller when it is tried with mishaps: one small scenario for each of the catalog."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling
from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.certificates.v1 import certificates_pb2 as csr
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.client.client import Client
from knarr.machinery.errors import TooManyRequests
from knarr.machinery.times import to_time
from knarr.objects import int_or_string, local_path
from knarr.objects.binding import PROVISIONER, SELECTED_NODE
from knarr.objects.conditions import set_condition
from knarr.objects.jobs import TRACKING
from knarr.service.authentication import User
from services.apiserver.rbac.defaults import defaults as role_defaults
from services.controller.component import ControllerManager
from services.controller.controller import Controller
from services.controller.controllers.clusterroleaggregation.controller import ClusterRoleAggregationController
from services.controller.controllers.cronjob.controller import CronJobController
from services.controller.controllers.csrapproving.controller import CertificateApprovingController
from services.controller.controllers.csrcleaner.controller import CertificateCleanerController
from services.controller.controllers.csrsigning.controller import CertificateSigningController
from services.controller.controllers.daemonset.controller import DaemonSetController
from services.controller.controllers.deployment.controller import DeploymentController
from services.controller.controllers.disruption.controller import DisruptionController
from services.controller.controllers.endpoints.controller import EndpointsController
from services.controller.controllers.endpointslice.controller import EndpointSliceController
from services.controller.controllers.endpointslicemirroring.controller import EndpointSliceMirroringController
from services.controller.controllers.ephemeralvolume.controller import EphemeralVolumeController
from services.controller.controllers.garbagecollector.controller import GarbageCollector
from services.controller.controllers.horizontalpodautoscaler.controller import HorizontalPodAutoscalerController
from services.controller.controllers.job.controller import JobController
from services.controller.controllers.job.pods import FAILURES as INDEX_FAILURES
from services.controller.controllers.job.pods import INDEX as COMPLETION_INDEX
from services.controller.controllers.jobrelease.controller import JobReleaseController
from services.controller.controllers.localpath.controller import LocalPathController
from services.controller.controllers.namespace.controller import NamespaceController
from services.controller.controllers.nodeipam.controller import NodeIpamController
from services.controller.controllers.nodelifecycle.controller import NodeLifecycleController
from services.controller.controllers.persistentvolumebinder.controller import PersistentVolumeBinder
from services.controller.controllers.podcertificatecleaner.controller import PodCertificateCleanerController
from services.controller.controllers.podgc.controller import PodGarbageCollector
from services.controller.controllers.pvcprotection.controller import ClaimProtectionController
from services.controller.controllers.pvprotection.controller import VolumeProtectionController
from services.controller.controllers.replicaset.controller import ReplicaSetController
from services.controller.controllers.replicationcontroller.controller import ReplicationControllerController
from services.controller.controllers.resourcequota.controller import ResourceQuotaController
from services.controller.controllers.rootcertificate.controller import RootCertificateController
from services.controller.controllers.serviceaccount.controller import ServiceAccountController
from services.controller.controllers.serviceaccounttoken.controller import ServiceAccountTokenController
from services.controller.controllers.staledisruption.controller import StaleDisruptionController
from services.controller.controllers.statefulset.controller import StatefulSetController
from services.controller.controllers.trustbundlepublisher.controller import TrustBundlePublisher
from services.controller.controllers.trustbundlepublisher.decide import SIGNER, bundle_name
from services.controller.controllers.ttlafterfinished.controller import TtlAfterFinishedController
from services.controller.endpoints.trigger_time import ANNOTATION as TRIGGER_TIME
from services.controller.settings import ControllerSettings
from tests.controller.autoscalers import autoscaler, metric
from tests.controller.cluster import FakeKubelet
from tests.controller.objects import (
    claim,
    cron_job,
    daemon_set,
    deployment,
    job,
    namespace,
    node,
    owned,
    pod,
    replica_set,
    replication_controller,
    service,
    volume,
    with_scratch,
)
from tests.controller.stateful import stateful_set
from tests.controller.storage import asking, sized, storage_class
from tests.support.measured import Measured
from tests.support.mishaps import Scenario, World
from tests.support.rights import CONTROLLER
from tests.support.signing import CLIENT_SIGNER, SERVING_SIGNER, authority, certificate_request, pod_certificate_request, signing

# Longer than whatever a component waits for, a relist after a lost event included.
STEP_SECONDS = 30.0


def never_broken(found: core.Pod) -> float | None:
    """A pod of a broken image does not become ready."""
    return None if found.spec.containers[0].image == "broken" else 0.1


def alone(
    controller: type[Controller],
    act: Callable[[World], Awaitable[None]],
    *others: type[Controller],
    kubelet: bool = False,
    ending: Callable[[core.Pod], str | None] = lambda pod: None,
    **options: Any,
) -> Scenario:
    """The controller in a manager of its own; ``others`` and a kubelet have no mishaps. ``ending``: how a pod ends there by itself."""
    settings = ControllerSettings(**options.pop("settings", {}))

    def manager(*controllers: type[Controller], world: World, client: Client) -> ControllerManager:
        return ControllerManager(client, settings, clock=world.clock, controllers=controllers)

    def beside(world: World) -> list[Callable[[], Awaitable[None]]]:
        parts = [manager(*others, world=world, client=world.api.client()).run] if others else []
        nodes = FakeKubelet(world.api.client(), clock=world.clock, ready_seconds=never_broken, ending=ending)
        return [*parts, *([nodes.run] if kubelet else [])]

    return Scenario(lambda world, client: manager(controller, world=world, client=client), act, beside, user=CONTROLLER, **options)


async def step(seconds: float = STEP_SECONDS) -> None:
    await asyncio.sleep(seconds)


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


def job_ending(found: core.Pod) -> str | None:
    """As the name of its Job says; a pod of the indexed one fails while its index is greater than the failures before it."""
    match found.metadata.labels.get("job-name", ""):
        case "sums":
            return "Succeeded"
        case "fails":
            return "Failed"
        case "indexed":
            annotations = found.metadata.annotations
            return "Failed" if int(annotations[COMPLETION_INDEX]) > int(annotations[INDEX_FAILURES]) else "Succeeded"
    return None


async def jobs(w: World) -> None:
    """One succeeds, one fails, one gives up an index; one adopts a pod, loses one, shrinks, is suspended, resumed and too late."""
    w.api.seed(node())
    orphan = core.Pod(spec=job().spec.template.spec)
    orphan.metadata.name, orphan.metadata.namespace, orphan.metadata.labels["app"] = "orphan", "default", "sums"
    await w.client.create(orphan)
    await w.client.create(job("sums", 2, 2))
    await w.client.create(job("fails", 2, 1, backoff_limit=1))
    await w.client.create(job("indexed", 2, 2, completion_mode="Indexed", backoff_limit_per_index=1))
    await step(60)
    served = job("serves", 4, 3, manual_selector=True, active_deadline_seconds=200)
    served.spec.selector.match_labels["app"] = "sums"
    await w.client.create(served)
    await step()
    lost = next(found for found in w.api.all(core.Pod) if found.metadata.name.startswith("serves-"))
    await w.client.delete(core.Pod, lost.metadata.name, "default")
    await step()
    await w.edit(core.Pod, "orphan", lambda found: found.metadata.labels.update(app="other"))
    await step()
    await w.edit(batch.Job, "serves", lambda found: setattr(found.spec, "parallelism", 2))
    await step()
    await w.edit(batch.Job, "serves", lambda found: setattr(found.spec, "suspend", True))
    await step()
    await w.edit(batch.Job, "serves", lambda found: setattr(found.spec, "suspend", False))
    await step(240)


async def uncounted_pods(w: World) -> None:
    """Pods that wait to be counted: of a Job that goes, of one that is over, of none, and of one that stays."""
    w.api.seed(node())
    for name in ("goes", "over", "stays"):
        owner = await w.client.create(job(name))
        waits = owned(pod(f"of-{name}", node="node-1", phase="Running"), owner)
        waits.metadata.finalizers.append(TRACKING)
        w.api.seed(waits)
    alone = pod("of-none", node="node-1", phase="Running")
    alone.metadata.finalizers.append(TRACKING)
    w.api.seed(alone)
    await step()
    await w.client.delete(batch.Job, "goes", "default", propagation_policy="Background")

    def over(found: batch.Job) -> None:
        set_condition(found.status, "Failed", True, reason="BackoffLimitExceeded", now=w.clock.now())

    await w.edit(batch.Job, "over", over, subresource="status")
    await step()
    for name in ("goes", "stays"):
        await w.client.delete(core.Pod, f"of-{name}", "default", grace_period_seconds=0)
    await step()


async def over(w: World, name: str, kind: str = "Complete") -> None:
    """A Job ends, as its own controller would say."""

    def end(found: batch.Job) -> None:
        set_condition(found.status, kind, True, now=w.clock.now())
        if kind == "Complete":
            found.status.completion_time.CopyFrom(to_time(w.clock.now()))

    await w.edit(batch.Job, name, end, subresource="status")


async def by_the_clock(w: World) -> None:
    """One keeps a Job that succeeded and none that failed, one replaces its Jobs, one waits for its Job, which vanishes."""
    for name, concurrency in (("keeps", "Allow"), ("replaces", "Replace"), ("waits", "Forbid")):
        made = cron_job(name, "* * * * *", concurrency_policy=concurrency, successful_jobs_history_limit=1, failed_jobs_history_limit=0)
        await w.client.create(made)
    first = int(w.clock.now().timestamp()) // 60 + 1
    await step(90)
    await over(w, f"keeps-{first}")
    await step(60)
    await over(w, f"keeps-{first + 1}")
    await w.client.delete(batch.Job, f"waits-{first}", "default", propagation_policy="Background")
    await step(60)
    await over(w, f"keeps-{first + 2}", "Failed")
    for name in ("keeps", "replaces", "waits"):
        await w.edit(batch.CronJob, name, lambda found: setattr(found.spec, "suspend", True))
    await step()


async def jobs_that_expire(w: World) -> None:
    """Of two that are over one may stay, and one is given more time just before its time is up."""
    for name, seconds in (("goes", 10), ("stays", None), ("later", 35)):
        await w.client.create(job(name) if seconds is None else job(name, ttl_seconds_after_finished=seconds))
        await over(w, name)
    await step()
    await w.edit(batch.Job, "later", lambda found: setattr(found.spec, "ttl_seconds_after_finished", 3600))
    await step()


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


def cluster_role(name: str, label: str = "", gathers: str = "", **rule: str) -> rbac.ClusterRole:
    made = rbac.ClusterRole(metadata=meta.ObjectMeta(name=name))
    if label:
        made.metadata.labels[label] = "true"
    if gathers:
        made.aggregation_rule.cluster_role_selectors.add().match_labels[gathers] = "true"
    for resource, verb in rule.items():
        made.rules.add(verbs=[verb], api_groups=[""], resources=[resource])
    return made


async def gathering_roles(w: World) -> None:
    """A role that gathers one that gathers others; one of these comes, one loses its label, one gets another rule, one goes."""
    for name in ("one", "two", "three"):
        await w.client.create(cluster_role(name, "to-view", **{name: "get"}))
    await w.client.create(cluster_role("view", "to-edit", gathers="to-view"))
    await w.client.create(cluster_role("edit", gathers="to-edit"))
    await step()
    await w.client.create(cluster_role("four", "to-view", four="list"))
    await w.edit(rbac.ClusterRole, "one", lambda found: found.metadata.labels.clear(), "")
    await step()
    await w.edit(rbac.ClusterRole, "two", lambda found: found.rules.add(verbs=["watch"], api_groups=[""], resources=["two"]), "")
    await w.client.delete(rbac.ClusterRole, "three")
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


async def node_ranges(w: World) -> None:
    """Three nodes; one goes, and another comes."""
    for name in ("node-1", "node-2", "node-3"):
        await w.client.create(node(name))
    await step()
    await w.client.delete(core.Node, "node-2")
    await w.client.create(node("node-4"))
    await step()


def ranges_are_apart(w: World) -> None:
    given = [found.spec.pod_cidr for found in w.api.all(core.Node)]
    assert len(set(given)) == 3 and all(given), given


async def silent_nodes(w: World) -> None:
    """A node is silent, its pods go as they tolerate it, and it comes back."""
    hasty, patient = running("hasty", "10.244.0.1"), running("patient", "10.244.0.2")
    hasty.spec.tolerations.add(key="node.kubernetes.io/unreachable", operator="Exists", effect="NoExecute", toleration_seconds=20)
    patient.spec.tolerations.add(operator="Exists")
    w.api.seed(node(), hasty, patient)
    await step(120)

    def beat(found: core.Node) -> None:
        set_condition(found.status, "Ready", "True", now=w.clock.now())
        found.status.conditions[0].last_heartbeat_time.seconds = int(w.clock.now().timestamp())

    for _ in range(5):
        await w.edit(core.Node, "node-1", beat, "", "status")
        await step(10)


async def garbage_pods(w: World) -> None:
    """Pods of a node that goes, and too many that have ended."""
    w.api.seed(node("node-1"), node("node-2"), running("left", "10.244.0.1"))
    await step()
    await w.client.delete(core.Node, "node-1")
    await step(120)
    for name in ("ended-1", "ended-2", "ended-3"):
        w.api.seed(pod(name, node="node-2", phase="Succeeded"))
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


async def claims(w: World) -> None:
    """Of three claims that are deleted one is free, one is used until its pod ends, and one is of before there was protection."""
    user = running("user", "10.244.0.1")
    user.spec.volumes.add(name="data").volume_source.persistent_volume_claim.claim_name = "used"
    old = claim("old")
    old.metadata.finalizers.append("example.com/hold")
    w.api.seed(user, old)
    for name in ("free", "used"):
        await w.client.create(claim(name))
    await step()
    for name in ("free", "used", "old"):
        await w.client.delete(core.PersistentVolumeClaim, name, "default")
    await step()
    await w.client.delete(core.Pod, "user", "default", grace_period_seconds=0)
    await step()


async def ephemeral_volumes(w: World) -> None:
    """Of two pods one goes; the claim of the other is deleted."""
    w.api.seed(with_scratch(pod("stays")), with_scratch(pod("goes")))
    await step()
    await w.client.delete(core.Pod, "goes", "default", grace_period_seconds=0)
    lost = await w.client.get(core.PersistentVolumeClaim, "stays-scratch", "default")
    await w.client.delete(core.PersistentVolumeClaim, "stays-scratch", "default")
    await w.edit(core.PersistentVolumeClaim, "stays-scratch", lambda found: found.metadata.ClearField("finalizers"))
    await step()
    found = await w.client.get(core.PersistentVolumeClaim, "stays-scratch", "default")
    assert found.metadata.uid != lost.metadata.uid


async def volumes(w: World) -> None:
    """Of three volumes that are deleted one is bound for a while; one was made before there was protection."""
    w.api.seed(volume("old"))
    for name in ("free", "bound"):
        await w.client.create(volume(name))
    await w.edit(core.PersistentVolume, "bound", lambda found: setattr(found.status, "phase", "Bound"), "", "status")
    await step()
    for name in ("free", "bound", "old"):
        await w.client.delete(core.PersistentVolume, name)
    await step()
    await w.edit(core.PersistentVolume, "bound", lambda found: setattr(found.status, "phase", "Released"), "", "status")
    await step()


async def bindings(w: World) -> None:
    """The best fit, both ways of choosing beforehand, one that suits nobody, one that is provided for elsewhere, one that waits; claims and
    a volume go."""
    await w.client.create(storage_class("disks"))
    await w.client.create(storage_class("late", waits=True))
    for made in (
        sized("small", "1Gi"),
        sized("middle", "5Gi", policy="Delete"),
        sized("kept", "9Gi", kept_for="keeper"),
        sized("late", "5Gi", of="late"),
        sized("named", "9Gi"),
    ):
        await w.client.create(made)
    await step()
    for wanted in (
        asking("fitting", "3Gi"),
        asking("keeper", "1Gi"),
        asking("choosing", "8Gi", named="named"),
        asking("greedy", "50Gi"),
        asking("elsewhere", "1Gi", of="disks"),
        asking("waiting", "1Gi", of="late"),
    ):
        await w.client.create(wanted)
    await step()
    await w.client.create(sized("huge", "100Gi"))
    await w.client.delete(core.PersistentVolumeClaim, "fitting", "default")
    await w.client.delete(core.PersistentVolume, "kept")
    await step()
    await w.edit(core.PersistentVolume, "kept", lambda found: found.metadata.finalizers.clear(), "")
    await w.client.delete(core.PersistentVolumeClaim, "choosing", "default")
    await step()
    await w.edit(core.PersistentVolume, "named", lambda found: found.spec.ClearField("claim_ref"), "")
    await step()


def every_volume_has_one_claim(w: World) -> None:
    """And no two claims have one volume."""
    named = [found.spec.volume_name for found in w.api.all(core.PersistentVolumeClaim) if found.spec.volume_name]
    assert len(named) == len(set(named)), named
    for found in w.api.all(core.PersistentVolumeClaim):
        if found.status.phase == "Bound":
            held = next(one for one in w.api.all(core.PersistentVolume) if one.metadata.name == found.spec.volume_name)
            assert held.spec.claim_ref.uid == found.metadata.uid, (held.metadata.name, found.metadata.name)


async def folders(w: World) -> None:
    """A volume for a claim whose pod has a node; it grows, and goes with the claim. Another one's node goes; a third is refused."""
    for name in ("node-1", "node-2"):
        made = node(name)
        made.metadata.annotations[local_path.FOLDERS] = "/srv/knarr"
        await w.client.create(made)
    await w.client.create(local_path.default_class())
    for name, chosen in (("data", "node-1"), ("lost", "node-2"), ("shared", "node-1")):
        wanted = asking(name, "1Gi", of=local_path.CLASS)
        wanted.metadata.annotations.update({PROVISIONER: local_path.PROVISIONER, SELECTED_NODE: chosen})
        if name == "shared":
            wanted.spec.access_modes[:] = ["ReadWriteMany"]
        await w.client.create(wanted)
    await step()
    await w.edit(core.PersistentVolumeClaim, "data", lambda found: found.spec.resources.requests["storage"].CopyFrom(amount_of("2Gi")))
    await step()
    for name in ("data", "lost"):
        await w.client.delete(core.PersistentVolumeClaim, name, "default")
    await w.client.delete(core.Node, "node-2")
    await step()


def amount_of(text: str) -> meta.Quantity:
    return meta.Quantity(string=text)


def config(name: str, namespace: str = "default") -> core.ConfigMap:
    made = core.ConfigMap()
    made.metadata.name, made.metadata.namespace = name, namespace
    return made


async def namespaces(w: World) -> None:
    """A namespace with things in it goes; one of them is held for a while."""
    held, app = config("held", "team"), running("app", "10.244.0.1")
    held.metadata.finalizers.append("example.com/hold")
    app.metadata.namespace, app.spec.node_name = "team", ""
    w.api.seed(held, app, config("first", "team"), config("second", "team"))
    await w.client.delete(core.Namespace, "team")
    await step()
    await w.edit(core.ConfigMap, "held", lambda found: found.metadata.finalizers.remove("example.com/hold"), "team")
    await step()


async def accounts(w: World) -> None:
    """A new namespace, and an account that somebody deletes."""
    await w.client.create(namespace("team"))
    await step()
    await w.client.delete(core.ServiceAccount, "default", "team")
    await step()


async def token_secrets(w: World) -> None:
    """Secrets that ask for tokens: of an account that goes, of one that stays and is harmed, and of one that never was."""
    for name in ("going", "staying"):
        await w.client.create(core.ServiceAccount(metadata=meta.ObjectMeta(name=name, namespace="default")))
    for name in ("going", "staying", "nobody"):
        made = secret(f"of-{name}")
        made.type = "kubernetes.io/service-account-token"
        made.metadata.annotations["kubernetes.io/service-account.name"] = name
        await w.client.create(made)
    await step()
    await w.edit(core.Secret, "of-staying", lambda found: found.data.pop("ca.crt"))
    await step()
    await w.client.delete(core.ServiceAccount, "going", "default")
    await step()


async def asked(w: World, name: str, signer: str = CLIENT_SIGNER, user: str = "system:node:node-1", **options: Any) -> None:
    """A request for a certificate, by a node unless told."""
    client = w.api.client(User(user, groups=("system:nodes", "system:authenticated")))
    await client.create(certificate_request(name, signer, user, **options))


async def approvals(w: World) -> None:
    """Requests of a node for itself and for another, and for serving at addresses that it has and has not."""
    w.api.seed(node(), *role_defaults())
    await asked(w, "own")
    await asked(w, "serving", SERVING_SIGNER, addresses=("10.0.0.9",))
    # A node itself is not let to ask for another.
    await w.client.create(certificate_request("other", CLIENT_SIGNER, "admin", subject="system:node:node-2"))
    await step()

    def addressed(found: core.Node) -> None:
        found.status.addresses.add(type="InternalIP", address="10.0.0.9")

    await w.edit(core.Node, "node-1", addressed, namespace="", subresource="status")
    await step()


async def approve(w: World, name: str, kind: str = "Approved") -> None:
    def decide(found: csr.CertificateSigningRequest) -> None:
        found.status.conditions.add(type=kind, status="True", reason="ByHand")

    await w.edit(csr.CertificateSigningRequest, name, decide, namespace="", subresource="approval")


async def signatures(w: World) -> None:
    """Requests that are approved, of which one is none that the signer signs; one that is denied; one of another's signer."""
    await asked(w, "good")
    await asked(w, "denied")
    await asked(w, "bad", SERVING_SIGNER)
    await asked(w, "elsewhere", "example.com/signer")
    for name in ("good", "bad", "elsewhere"):
        await approve(w, name)
    await approve(w, "denied", "Denied")
    await step()


async def old_requests(w: World) -> None:
    """One that nobody decides about, and one that is denied."""
    await asked(w, "pending")
    await asked(w, "denied")
    await approve(w, "denied", "Denied")
    await step(2 * 3600)
    await step(23 * 3600)


async def certificates(w: World) -> None:
    """A new namespace, a ConfigMap that somebody changes and one that somebody deletes."""
    await w.client.create(namespace("team"))
    await step()
    await w.edit(core.ConfigMap, "kube-root-ca.crt", lambda found: found.data.update(more="x"), "team")
    await step()
    await w.client.delete(core.ConfigMap, "kube-root-ca.crt", "team")
    await step()


async def pod_certificates(w: World) -> None:
    """One that nobody answers, and one that its owner takes away."""
    for name in ("unanswered", "taken"):
        await w.client.create(pod_certificate_request(name))
    await step()
    await w.client.delete(csr.PodCertificateRequest, "taken", "default")
    await step(16 * 60)


async def trust_bundles(w: World) -> None:
    """One of a former authority; then somebody changes the one that is kept, and somebody deletes it."""
    former = csr.ClusterTrustBundle()
    former.metadata.name, former.spec.signer_name = "kubernetes.io:kube-apiserver-serving:former", SIGNER
    former.spec.trust_bundle = authority("former")
    await w.client.create(former)
    await step()
    kept = bundle_name(authority("knarr"))
    await w.edit(csr.ClusterTrustBundle, kept, lambda found: setattr(found.spec, "trust_bundle", authority("another")), "")
    await step()
    await w.client.delete(csr.ClusterTrustBundle, kept)
    await step()


def secret(name: str) -> core.Secret:
    made = core.Secret()
    made.metadata.name, made.metadata.namespace = name, "default"
    return made


async def collected(w: World) -> None:
    """Owners are deleted in each of the three ways; what they own has things of its own. Two own one another, one has two owners."""
    for name, propagation in (("back", "Background"), ("front", "Foreground"), ("orphaning", "Orphan")):
        owner = await w.client.create(config(name))
        dependent = await w.client.create(owned(config(f"{name}-a"), owner))
        await w.client.create(owned(config(f"{name}-b"), owner))
        await w.client.create(owned(config(f"{name}-a-below"), dependent))
        await step(5)
        await w.client.delete(core.ConfigMap, name, "default", propagation_policy=propagation)
        await step()
    first = await w.client.create(config("in-a-circle"))
    await w.client.create(owned(config("in-a-circle-too"), first))
    second = await w.client.get(core.ConfigMap, "in-a-circle-too", "default")
    await w.edit(core.ConfigMap, "in-a-circle", lambda found: owned(found, second))
    await w.client.delete(core.ConfigMap, "in-a-circle", "default", propagation_policy="Foreground")
    await step()
    hurried = await w.client.create(config("hurried"))
    await w.client.create(owned(secret("of-hurried"), hurried))
    await w.client.delete(core.ConfigMap, "hurried", "default", propagation_policy="Orphan")
    await step()
    first, second = await w.client.create(config("first")), await w.client.create(config("second"))
    await w.client.create(owned(owned(config("of-two"), first, controller=False), second))
    await w.client.delete(core.ConfigMap, "first", "default")
    await step()


async def quotas(w: World) -> None:
    """Two count, of which one is lowered and one goes; what they count is made, ends and goes."""
    await w.client.create(secret("before"))
    for name, hard in (("things", ("secrets", "count/secrets", "services")), ("pods", ("pods", "count/pods"))):
        quota = core.ResourceQuota(metadata=meta.ObjectMeta(name=name, namespace="default"))
        for amount in hard:
            quota.spec.hard[amount].string = "5"
        await w.client.create(quota)
    await step()
    await w.client.create(secret("after"))
    await w.client.create(service())
    for name in ("one", "two"):
        await w.client.create(pod(name))
    await w.client.delete(core.Secret, "before", "default")
    await step()
    await w.edit(core.Pod, "one", lambda found: setattr(found.status, "phase", "Failed"), subresource="status")
    await w.edit(core.ResourceQuota, "things", lambda found: found.spec.hard["secrets"].CopyFrom(meta.Quantity(string="1")))
    await step()
    await w.client.delete(core.Pod, "two", "default", grace_period_seconds=0)
    await w.client.delete(core.ResourceQuota, "things", "default")
    await step()


SCENARIOS: dict[type[Controller], Scenario] = {
    DeploymentController: alone(
        DeploymentController,
        deployments,
        ReplicaSetController,
        kubelet=True,
        # A rollout that nobody has seen begin is no news, as in Kubernetes: the message names the ReplicaSet of the one before.
        free=frozenset({"Deployment.status.conditions.message"}),
    ),
    HorizontalPodAutoscalerController: alone(
        HorizontalPodAutoscalerController,
        autoscaled,
        DeploymentController,
        ReplicaSetController,
        kubelet=True,
        settings={"autoscaler_downscale_stabilization_seconds": 0.0},
    ),
    DaemonSetController: alone(DaemonSetController, daemon_sets, kubelet=True),
    ReplicaSetController: alone(ReplicaSetController, lambda w: replicated(w, replica_set("web", 3)), kubelet=True),
    ReplicationControllerController: alone(
        ReplicationControllerController, lambda w: replicated(w, replication_controller("web", 3)), kubelet=True
    ),
    StatefulSetController: alone(StatefulSetController, stateful_sets, kubelet=True),
    JobController: alone(JobController, jobs, JobReleaseController, kubelet=True, ending=job_ending),
    JobReleaseController: alone(JobReleaseController, uncounted_pods),
    CronJobController: alone(CronJobController, by_the_clock),
    TtlAfterFinishedController: alone(TtlAfterFinishedController, jobs_that_expire),
    EndpointSliceController: alone(EndpointSliceController, services, free=trigger_time("EndpointSlice")),
    EndpointsController: alone(EndpointsController, services, free=trigger_time("Endpoints")),
    EndpointSliceMirroringController: alone(EndpointSliceMirroringController, mirrored),
    NodeIpamController: alone(
        NodeIpamController, node_ranges, check=ranges_are_apart, free=frozenset({"Node.spec.podCIDR", "Node.spec.podCIDRs"})
    ),
    NodeLifecycleController: alone(NodeLifecycleController, silent_nodes, rest_seconds=5.0),
    DisruptionController: alone(DisruptionController, budgets, ReplicaSetController, kubelet=True),
    StaleDisruptionController: alone(StaleDisruptionController, stale_disruptions),
    EphemeralVolumeController: alone(EphemeralVolumeController, ephemeral_volumes),
    ClaimProtectionController: alone(ClaimProtectionController, claims),
    VolumeProtectionController: alone(VolumeProtectionController, volumes),
    PersistentVolumeBinder: alone(
        PersistentVolumeBinder,
        bindings,
        ClaimProtectionController,
        VolumeProtectionController,
        check=every_volume_has_one_claim,
    ),
    LocalPathController: alone(LocalPathController, folders, PersistentVolumeBinder, ClaimProtectionController, VolumeProtectionController),
    PodGarbageCollector: alone(PodGarbageCollector, garbage_pods, settings={"terminated_pod_threshold": 2}),
    NamespaceController: alone(NamespaceController, namespaces),
    ClusterRoleAggregationController: alone(ClusterRoleAggregationController, gathering_roles),
    CertificateApprovingController: alone(CertificateApprovingController, approvals),
    CertificateSigningController: alone(
        CertificateSigningController,
        signatures,
        settings={"signing": signing()},
        # No two certificates are the same.
        free=frozenset({"CertificateSigningRequest.status.certificate"}),
    ),
    CertificateCleanerController: alone(CertificateCleanerController, old_requests),
    PodCertificateCleanerController: alone(PodCertificateCleanerController, pod_certificates),
    TrustBundlePublisher: alone(TrustBundlePublisher, trust_bundles, settings={"root_certificate": authority("knarr")}),
    ServiceAccountController: alone(ServiceAccountController, accounts),
    ServiceAccountTokenController: alone(
        ServiceAccountTokenController,
        token_secrets,
        settings={"root_certificate": "certificate"},
        tokens=True,
        # No two tokens are the same.
        free=frozenset({"Secret.data.token"}),
    ),
    ResourceQuotaController: alone(ResourceQuotaController, quotas, settings={"quota_resync_seconds": 10.0}),
    RootCertificateController: alone(RootCertificateController, certificates, settings={"root_certificate": "certificate"}),
    GarbageCollector: alone(GarbageCollector, collected),
}
