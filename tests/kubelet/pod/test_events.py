"""What a kubelet says of a pod's life in events: reasons, messages and of which container, in Kubernetes' words."""

from __future__ import annotations

from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.port import ProbeResult
from tests.kubelet.support import NODE, Cluster, make_pod, running

CIDR = "10.244.0.0/24"
PULLED = 'Container image "app:1" already present on machine and can be accessed by the pod'


def told(cluster: Cluster) -> set[tuple[str, str, str, str]]:
    """Type, reason, message and container of each event of the pods."""
    return {
        (event.type, event.reason, event.message, event.involved_object.field_path)
        for event in cluster.api.all(core.Event)
        if event.involved_object.kind == "Pod"
    }


async def test_a_start_and_an_end(tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        pod = make_pod()
        pod.spec.init_containers.add(name="init", image="app:1", image_pull_policy="IfNotPresent", command=("sh", "-c", "exit 0"))
        await cluster.client.create(pod)
        await cluster.ready()
        await cluster.client.delete(core.Pod, "web", "default")
        await cluster.until(lambda: cluster.pod() is None and len(told(cluster)) == 7)
        init, app = "spec.initContainers{init}", "spec.containers{app}"
        assert told(cluster) == {
            *(("Normal", "Pulled", PULLED, place) for place in (init, app)),
            *(("Normal", "Created", "Container created", place) for place in (init, app)),
            *(("Normal", "Started", "Container started", place) for place in (init, app)),
            ("Normal", "Killing", "Stopping container app", app),
        }


async def test_an_image_that_cannot_be_had(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    runtime.missing_images.add("app:1")
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(make_pod())
        await cluster.until(lambda: any(reason == "BackOff" for _, reason, _, _ in told(cluster)))
        why = "manifest for app:1 not found: manifest unknown"
        await cluster.until(lambda: len(told(cluster)) >= 5)
        assert told(cluster) == {
            ("Normal", "Pulling", 'Pulling image "app:1"', "spec.containers{app}"),
            ("Warning", "Failed", f'Failed to pull image "app:1": {why}', "spec.containers{app}"),
            ("Warning", "Failed", "Error: ErrImagePull", "spec.containers{app}"),
            ("Normal", "BackOff", 'Back-off pulling image "app:1"', "spec.containers{app}"),
            ("Warning", "Failed", "Error: ImagePullBackOff", "spec.containers{app}"),
        }


async def test_an_image_that_is_not_here_and_never_pulled(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    runtime.missing_images.add("app:1")
    pod = make_pod()
    pod.spec.containers[0].image_pull_policy = "Never"
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(pod)
        await cluster.until(lambda: len(told(cluster)) >= 2)
        why, place = 'Container image "app:1" is not present with pull policy of Never', "spec.containers{app}"
        assert told(cluster) == {
            ("Warning", "ErrImageNeverPull", why, place),
            ("Warning", "Failed", "Error: ErrImageNeverPull", place),
        }
        await cluster.until(lambda: (found := cluster.pod()) is not None and found.status.container_statuses)
        found = cluster.pod()
        assert found is not None
        waiting = found.status.container_statuses[0].state.waiting
        assert (waiting.reason, waiting.message, runtime.pulled) == ("ErrImageNeverPull", why, [])


async def test_more_servers_than_a_resolver_takes(tmp_path: Path) -> None:
    pod = make_pod(dns_policy="ClusterFirst")
    pod.spec.dns_config.nameservers.extend(("192.0.2.1", "192.0.2.2", "192.0.2.3"))
    async with running(HollowRuntime(CIDR), tmp_path, cluster_dns="10.96.0.10") as cluster:
        await cluster.client.create(pod)
        await cluster.ready()
        await cluster.until(lambda: cluster.events("DNSConfigForming"))
        words = "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "
        assert cluster.events("DNSConfigForming") == [f"{words}10.96.0.10 192.0.2.1 192.0.2.2"]


async def test_probes_and_restarts(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    runtime.check_results["app"] = ProbeResult(False, "no answer")
    pod = make_pod()
    pod.spec.containers[0].liveness_probe.period_seconds = pod.spec.containers[0].liveness_probe.failure_threshold = 1
    pod.spec.containers[0].liveness_probe.handler.exec.command.append("true")
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(pod)
        await cluster.until(lambda: cluster.events("BackOff"))
        place = "spec.containers{app}"
        found = told(cluster)
        assert ("Warning", "Unhealthy", "Liveness probe failed: no answer", place) in found
        assert ("Normal", "Killing", "Container app failed liveness probe, will be restarted", place) in found
        (backoff,) = cluster.events("BackOff")
        assert backoff.startswith("Back-off restarting failed container app in pod web_default(")


async def test_hooks_that_fail_say_no_more_than_that(tmp_path: Path) -> None:
    """What a hook has said may be a secret."""
    runtime = HollowRuntime(CIDR)
    runtime.check_results["app"] = ProbeResult(False, "password=hunter2")
    pod = make_pod(restart_policy="Never")
    for hook in (pod.spec.containers[0].lifecycle.post_start, pod.spec.containers[0].lifecycle.pre_stop):
        hook.exec.command.append("true")
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(pod)
        await cluster.phase("Failed")
        await cluster.until(lambda: cluster.events("FailedPreStopHook"))
        found, place = told(cluster), "spec.containers{app}"
        assert ("Warning", "FailedPostStartHook", "PostStartHook failed", place) in found
        assert ("Warning", "FailedPreStopHook", "PreStopHook failed", place) in found
        assert ("Normal", "Killing", "FailedPostStartHook", place) in found
        assert not any("hunter2" in message for _, _, message, _ in found)


async def test_each_start_of_a_kubelet_is_told_and_that_of_its_machine(tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        await cluster.until(lambda: cluster.events("Starting") == ["Starting kubelet."])
    node = await cluster.client.get(core.Node, NODE)
    boot, node.status.node_info.boot_id = node.status.node_info.boot_id, "the boot before"
    await cluster.client.update(node, subresource="status")
    async with running(HollowRuntime(CIDR), tmp_path, cluster.api) as again:
        await again.until(lambda: again.events("Rebooted"))
        assert again.events("Rebooted") == [f"Node {NODE} has been rebooted, boot id: {boot}"]
        await again.until(lambda: sum(event.count or 1 for event in again.api.all(core.Event) if event.reason == "Starting") == 2)
