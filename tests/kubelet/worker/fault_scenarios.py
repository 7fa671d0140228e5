"""The pods whose lives are attacked, and what befalls them on the way."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.runtime.port import RUNNING
from tests.kubelet.support import make_pod
from tests.kubelet.worker.fault_world import Scenario, World

STATIC_SPEC = """apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - {name: app, image: "app:1", lifecycle: {preStop: {exec: {command: [preStop]}}}}
  initContainers:
  - {name: setup, image: "setup:1", command: ["true"]}
  - {name: proxy, image: "proxy:1", restartPolicy: Always}
"""


def full_pod() -> core.Pod:
    """With an init container, a sidecar and a main container; volumes of three kinds; hooks and probes."""
    pod = make_pod("web", "app")
    for name, source in (("settings", "config_map"), ("scratch", "empty_dir"), ("data", "image")):
        made = pod.spec.volumes.add(name=name)
        getattr(made.volume_source, source).SetInParent()
    pod.spec.volumes[0].volume_source.config_map.local_object_reference.name = "settings"
    pod.spec.volumes[2].volume_source.image.MergeFrom(core.ImageVolumeSource(reference="data:1", pull_policy="IfNotPresent"))
    setup = pod.spec.init_containers.add(name="setup", image="setup:1", image_pull_policy="IfNotPresent", command=["true"])
    proxy = pod.spec.init_containers.add(name="proxy", image="proxy:1", image_pull_policy="IfNotPresent", restart_policy="Always")
    app = pod.spec.containers[0]
    for spec in (setup, proxy, app):
        spec.volume_mounts.add(name="settings", mount_path="/settings")
    app.volume_mounts.add(name="scratch", mount_path="/scratch", sub_path="inner")
    app.volume_mounts.add(name="data", mount_path="/data")
    app.resources.requests["cpu"].string = "100m"
    _probe(proxy.startup_probe, "startup")
    _probe(app.readiness_probe, "readiness")
    _probe(app.liveness_probe, "liveness")
    app.lifecycle.post_start.exec.command.append("postStart")
    app.lifecycle.pre_stop.exec.command.append("preStop")
    return pod


def _probe(probe: core.Probe, word: str) -> None:
    probe.handler.exec.command.append(word)
    probe.period_seconds, probe.failure_threshold, probe.success_threshold = 10, 3, 1


def exits(world: World) -> None:
    """The main container ends in a way that starts the whole pod anew."""
    seen = world.seen
    app = seen.latest("app") if seen is not None else None
    if seen is not None and app is not None and app.state == RUNNING:
        world.engine.exit(seen.ref.uid, "app", 42)


def evicts(world: World) -> None:
    assert world.kubelet is not None
    for worker in world.kubelet.manager.all():
        worker.evict("The node was low on resource: memory.", 5.0, disrupted=False)


def shuts_down(world: World) -> None:
    assert world.kubelet is not None
    world.kubelet.shutdown.begin()


def anew_pod() -> core.Pod:
    pod = full_pod()
    app = pod.spec.containers[0]
    app.restart_policy = "Always"
    codes = core.ContainerRestartRuleOnExitCodes(operator="In", values=[42])
    app.restart_policy_rules.add(action="RestartAllContainers", exit_codes=codes)
    return pod


def job_pod(policy: str) -> core.Pod:
    pod = full_pod()
    pod.spec.restart_policy = policy
    app = pod.spec.containers[0]
    app.command.extend(["sleep", "5"])
    return pod


SCENARIOS = {
    found.name: found
    for found in (
        Scenario("web", full_pod),
        Scenario("on failure", lambda: job_pod("OnFailure"), "Succeeded"),
        Scenario("never", lambda: job_pod("Never"), "Succeeded"),
        Scenario("anew", anew_pod, then=exits),
        Scenario("evicted", full_pod, then=evicts, may_fail=True),
        Scenario("shutdown", full_pod, then=shuts_down, may_fail=True),
        Scenario("shown", full_pod, shows=True),
        Scenario("hollow", full_pod, files=False),
        Scenario("static", full_pod, manifest=STATIC_SPEC),
    )
}
