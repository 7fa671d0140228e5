"""A whole kubelet on the hollow runtime."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import status_error
from knarr.objects.copies import copy_of
from services.kubelet.container import starter
from services.kubelet.container.inputs import ContainerInputs
from services.kubelet.container.plan import container_plan
from services.kubelet.eviction import local_storage, signals
from services.kubelet.eviction.usage import Observation
from services.kubelet.node.mounts import mounts_below
from services.kubelet.pod import admission
from services.kubelet.pod.container_status import LOST_EXIT_CODE
from services.kubelet.pod.contents import File, Files
from services.kubelet.pod.decide import decide
from services.kubelet.pod.directory import PodDirectory
from services.kubelet.runtime.hollow import TERMINATED_EXIT_CODE, HollowRuntime, HollowSettings
from services.kubelet.runtime.plan import ContainerPlan, PodRef
from services.kubelet.runtime.port import EXITED, RUNNING, Check, Container, ExecCheck, LocalImage, ProbeResult, RuntimeUnavailable
from services.kubelet.worker import worker
from tests.kubelet.csi.driver_world import needs_mounts
from tests.kubelet.support import NODE, FiledRuntime, condition, make_pod, running
from tests.support.api import FaultyApi
from tests.support.virtual_time import VirtualClock, virtual_time

CIDR = "10.244.0.0/24"


async def test_registers_a_ready_node_and_its_lease(tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        node = await cluster.client.get(core.Node, NODE)
        assert condition(node, "Ready") == "True"
        assert node.status.capacity["pods"].string == "110"
        assert node.metadata.labels["kubernetes.io/hostname"] == NODE
        assert node.spec.pod_cidr == CIDR
        assert await cluster.until(lambda: [lease for lease in cluster.api.all(coordination.Lease) if lease.metadata.name == NODE])


async def test_a_node_that_registers_is_written_once(tmp_path: Path) -> None:
    """It brings its status along; the next report comes in its time, another one for each node."""
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        await cluster.until(lambda: cluster.api.all(coordination.Lease))
        await cluster.until(lambda: any(event.reason == "Starting" for event in cluster.api.all(core.Event)))
        assert [(write.verb, write.subresource) for write in cluster.api.writes if write.message_type is core.Node] == [("create", "")]


async def test_node_is_not_ready_while_the_engine_is_away(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path) as cluster:
        runtime.trouble = "cannot connect"
        await cluster.until(lambda: condition(cluster.api.all(core.Node)[0], "Ready") == "False")
        ready = next(c for c in cluster.api.all(core.Node)[0].status.conditions if c.type == "Ready")
        assert (ready.reason, ready.message) == ("KubeletNotReady", "container runtime is down: cannot connect")
        runtime.trouble = ""
        await cluster.until(lambda: condition(cluster.api.all(core.Node)[0], "Ready") == "True")


async def test_keeps_the_extended_resources_that_others_advertise(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path) as cluster:
        node = await cluster.client.get(core.Node, NODE)
        node.status.capacity["example.com/dongle"].string = "4"
        await cluster.client.update(node, subresource="status")
        runtime.trouble = "cannot connect"
        await cluster.until(lambda: condition(cluster.api.all(core.Node)[0], "Ready") == "False")
        status = cluster.api.all(core.Node)[0].status
        assert [amounts["example.com/dongle"].string for amounts in (status.capacity, status.allocatable)] == ["4", "4"]


async def test_offers_the_extended_resources_that_others_advertise_at_once(tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        await cluster.until(lambda: condition(cluster.api.all(core.Node)[0], "Ready") == "True")
        node = await cluster.client.get(core.Node, NODE)
        node.status.capacity["example.com/dongle"].string = "4"
        await cluster.client.update(node, subresource="status")
        await cluster.until(lambda: cluster.api.all(core.Node)[0].status.allocatable["example.com/dongle"].string == "4")


async def test_the_node_lists_its_images_the_largest_first(tmp_path: Path) -> None:
    class Stocked(HollowRuntime):
        async def images(self) -> list[LocalImage]:
            return [LocalImage((f"app:{number}",), number) for number in range(60)]

    async with running(Stocked(CIDR), tmp_path) as cluster:
        images = await cluster.until(lambda: cluster.api.all(core.Node)[0].status.images)
        assert [image.size_bytes for image in images] == list(range(59, 9, -1))
        assert list(images[0].names) == ["app:59"]


async def test_runs_a_pod_and_deletes_it(tmp_path: Path) -> None:
    async with running(FiledRuntime(CIDR), tmp_path) as cluster:
        await cluster.client.create(make_pod("web", "app", "sidecar"))
        pod = await cluster.ready()
        assert pod.status.phase == "Running"
        assert pod.status.pod_ip.startswith("10.244.0.")
        assert [status.name for status in pod.status.container_statuses] == ["app", "sidecar"]
        await cluster.until(lambda: len(cluster.events("Started")) == 2)
        await cluster.client.delete(core.Pod, "web", "default")
        await cluster.until(lambda: cluster.pod() is None)
        await cluster.until(lambda: not cluster.runtime.observed() and not cluster.kubelet.manager.workers)
        assert not list((tmp_path / "pods").iterdir())


async def test_restarts_a_container_that_exits(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(make_pod())
        pod = await cluster.ready()
        runtime.exit(pod.metadata.uid, "app", 3)
        await cluster.until(lambda: (p := cluster.pod()) and p.status.container_statuses[0].restart_count == 1)
        status = (await cluster.ready()).status.container_statuses[0]
        assert status.last_state.terminated.exit_code == 3
        assert status.last_state.terminated.reason == "Error"


async def test_completes_a_pod_that_is_not_restarted(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(make_pod(restart_policy="Never"))
        pod = await cluster.ready()
        runtime.exit(pod.metadata.uid, "app", 0)
        pod = await cluster.phase("Succeeded")
        assert pod.status.container_statuses[0].state.terminated.reason == "Completed"
        await cluster.until(lambda: (seen := cluster.observed()) is not None and not seen.sandboxes)


@pytest.mark.parametrize(("script", "phase"), [("exit 0", "Succeeded"), ("sleep 0; exit 3", "Failed")])
async def test_a_container_ends_as_its_command_says(script: str, phase: str, tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        made = make_pod(restart_policy="Never")
        made.spec.containers[0].command.extend(["sh", "-c", script])
        await cluster.client.create(made)
        pod = await cluster.phase(phase)
        assert pod.status.container_statuses[0].state.terminated.exit_code == (3 if phase == "Failed" else 0)


@pytest.mark.parametrize(
    ("pull", "sandbox", "start", "ends"),
    [(0.0, 0.0, 0.0, TERMINATED_EXIT_CODE), (0.0, 2.0, 0.0, None), (2.0, 0.0, 0.0, None), (0.0, 0.0, 2.0, TERMINATED_EXIT_CODE)],
    ids=["it runs", "its sandbox is being made", "its image is being pulled", "its container is being started"],
)
@virtual_time
async def test_a_pod_past_its_deadline_fails(pull: float, sandbox: float, start: float, ends: int | None, tmp_path: Path) -> None:
    """Whatever is being done for it just then: nothing of it runs on, and its address is free."""
    clock = VirtualClock()
    runtime = HollowRuntime(CIDR, HollowSettings(pull_seconds=pull, sandbox_seconds=sandbox, start_seconds=start), clock)
    async with running(runtime, tmp_path, clock=clock) as cluster:
        pod = make_pod()
        pod.spec.active_deadline_seconds, pod.spec.containers[0].image_pull_policy = 1, "Always"
        await cluster.client.create(pod)
        failed = await cluster.phase("Failed")
        assert failed.status.reason == "DeadlineExceeded"
        # What was begun comes to its end, and goes.
        await asyncio.sleep(5)
        seen = cluster.observed()
        assert seen is None or not seen.sandboxes
        assert [container.exit_code for container in (seen.containers if seen else ())] == ([] if ends is None else [ends])
        status = (await cluster.phase("Failed")).status
        state = status.container_statuses[0].state
        assert status.reason == "DeadlineExceeded"
        assert (state.waiting.reason, state.terminated.exit_code) == ("", LOST_EXIT_CODE if ends is None else ends)
        # Of one that never ran nobody can say how it ended.
        assert (state.terminated.reason == "ContainerStatusUnknown") is (ends is None)


async def test_a_lost_sandbox_is_replaced(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(make_pod())
        pod = await cluster.ready()
        runtime.kill_sandbox(pod.metadata.uid)
        await cluster.until(lambda: (p := cluster.pod()) and p.status.container_statuses[0].restart_count == 1)
        await cluster.ready()
        assert cluster.events("SandboxChanged")


async def test_a_force_deletion_cuts_a_slow_stop_short(tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR, HollowSettings(stop_seconds=3600)), tmp_path) as cluster:
        await cluster.client.create(make_pod())
        await cluster.ready()
        await cluster.client.delete(core.Pod, "web", "default", grace_period_seconds=600)
        await cluster.until(lambda: cluster.events("Killing"))
        await cluster.client.delete(core.Pod, "web", "default", grace_period_seconds=0)
        await cluster.until(lambda: not cluster.runtime.observed())


async def test_the_last_status_is_written_although_the_api_refuses_some_writes(tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        for _ in range(3):
            cluster.api.fail_next(status_error("Conflict", "changed meanwhile"), verb="update", message_type=core.Pod)
        await cluster.client.create(make_pod())
        await cluster.ready()


@pytest.mark.parametrize("anew", [False, True])
@virtual_time
async def test_a_container_that_always_ends_at_once_is_started_ever_more_rarely(anew: bool, tmp_path: Path) -> None:
    """``anew``: with its whole pod."""
    crashing = make_pod("web", "app", *(["other"] if anew else []))
    if anew:
        codes = core.ContainerRestartRuleOnExitCodes(operator="In", values=[1])
        crashing.spec.containers[0].restart_policy = "Never"
        crashing.spec.containers[0].restart_policy_rules.add(action="RestartAllContainers", exit_codes=codes)
    runtime = HollowRuntime(CIDR, clock=VirtualClock())
    async with running(runtime, tmp_path, clock=VirtualClock()) as cluster:
        await cluster.client.create(crashing)
        starts: list[float] = []
        while len(starts) < 8:
            await cluster.until(lambda: (seen := cluster.observed()) and (c := seen.latest("app")) and c.state == RUNNING, 1000)
            starts.append(asyncio.get_running_loop().time())
            pod = cluster.pod()
            assert pod is not None
            runtime.exit(pod.metadata.uid, "app", 1)
        gaps = [round(later - earlier) for earlier, later in itertools.pairwise(starts)]
        assert gaps == [0, 10, 20, 40, 80, 160, 300]
        await cluster.until(lambda: reason(cluster.pod()) == "CrashLoopBackOff")
        assert cluster.events("BackOff")
        if anew:
            # All have ended, and wait for the one.
            await cluster.until(lambda: (o := cluster.observed()) and [found.state for found in o.containers] == [EXITED, EXITED])
            assert condition(cluster.pod(), "AllContainersRestarting") == "True"


def reason(pod: core.Pod | None) -> str:
    return pod.status.container_statuses[0].state.waiting.reason if pod is not None and pod.status.container_statuses else ""


class AskedRuntime(HollowRuntime):
    """Keeps what it was asked to run in its containers."""

    def __init__(self) -> None:
        super().__init__(CIDR)
        self.asked: list[Check] = []

    async def check(self, container_id: str, check: Check, timeout_seconds: float) -> ProbeResult:
        self.asked.append(check)
        return await super().check(container_id, check, timeout_seconds)


async def test_a_restart_runs_no_hook_again_whose_end_the_status_tells(tmp_path: Path) -> None:
    runtime = AskedRuntime()
    async with running(runtime, tmp_path) as cluster:
        pod = make_pod()
        pod.spec.containers[0].lifecycle.post_start.exec.command.append("greet")
        await cluster.client.create(pod)
        await cluster.ready()
    async with running(runtime, tmp_path, cluster.api) as cluster:
        await cluster.until(lambda: [worker.activity for worker in cluster.kubelet.manager.workers.values()] == ["running"])
        assert condition(cluster.pod(), "Ready") == "True"
        await cluster.client.delete(core.Pod, "web", "default")
        await cluster.until(lambda: not cluster.kubelet.manager.workers)
    assert runtime.asked == [ExecCheck(("greet",))]


@needs_mounts
async def test_volumes_of_a_pod_that_has_ended_are_taken_down_at_once(tmp_path: Path) -> None:
    """What they held of memory and disk is the node's again; containers stay, for their logs."""
    runtime = FiledRuntime(CIDR)
    pod = make_pod(restart_policy="Never")
    pod.spec.volumes.add(name="disk").volume_source.empty_dir.SetInParent()
    pod.spec.volumes.add(name="memory").volume_source.empty_dir.medium = "Memory"
    pod.spec.volumes.add(name="told").volume_source.downward_api.items.add(path="name").field_ref.field_path = "metadata.name"
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(pod)
        uid = (await cluster.ready()).metadata.uid
        directory = PodDirectory(tmp_path, uid)
        (directory.volume_path("disk") / "written").write_text("by the pod")
        assert mounts_below(tmp_path) == {str(directory.volume_path("memory"))}
        runtime.exit(uid, "app", 0)
        await cluster.phase("Succeeded")
        await cluster.until(lambda: not (directory.root / "volumes").exists())
        assert not mounts_below(tmp_path) and directory.root.exists()
        assert [container.state for container in runtime.observed()[uid].containers] == ["exited"]
    # A kubelet that comes later makes them no more.
    async with running(runtime, tmp_path, cluster.api) as later:
        await later.until(lambda: later.kubelet.manager.workers[uid].activity == "ended")
        assert not (directory.root / "volumes").exists()
        await later.client.delete(core.Pod, "web", "default")
        await later.until(lambda: later.pod() is None and not directory.root.exists())


async def test_what_pods_left_that_ended_while_no_kubelet_ran_is_removed(tmp_path: Path) -> None:
    gone = PodDirectory(tmp_path, "gone")
    gone.set_up({"v": Files((File("a", b"1"),))})
    async with running(FiledRuntime(CIDR), tmp_path) as cluster:
        await cluster.client.create(make_pod())
        uid = (await cluster.ready()).metadata.uid
        await cluster.until(lambda: not gone.root.exists())
        assert PodDirectory(tmp_path, uid).root.exists()


class ImpossibleChecks(HollowRuntime):
    """Whoever asks it raises what nobody thought of."""

    asked = 0

    async def check(self, container_id: str, check: Check, timeout_seconds: float) -> ProbeResult:
        self.asked += 1
        raise LookupError("no such encoding")


def probed(**probe: Any) -> core.Pod:
    pod = make_pod()
    pod.spec.termination_grace_period_seconds = 300
    pod.spec.containers[0].liveness_probe.MergeFrom(core.Probe(period_seconds=1, failure_threshold=2, **probe))
    pod.spec.containers[0].liveness_probe.handler.exec.command.append("true")
    return pod


@virtual_time
async def test_a_pod_that_begins_is_looked_at_once_for_each_thing_that_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its volumes, its sandbox, its container, and that this runs; that its own status was written is no reason to look again."""
    looks = list[str]()

    def counted(*given: Any) -> Any:
        decision = decide(*given)
        looks.append(decision.activity)
        return decision

    monkeypatch.setattr(worker, "decide", counted)
    clock = VirtualClock()
    async with running(HollowRuntime(CIDR, clock=clock), tmp_path, clock=clock) as cluster:
        await cluster.client.create(make_pod("web", "app"))
        await cluster.ready()
        await asyncio.sleep(5.0)
    assert looks == ["preparing volumes", "creating sandbox", "running", "running"]


@virtual_time
async def test_a_probe_that_raises_is_a_failure_and_the_probes_own_grace_counts(tmp_path: Path) -> None:
    clock = VirtualClock()
    runtime = ImpossibleChecks(CIDR, HollowSettings(stop_seconds=1000), clock)
    async with running(runtime, tmp_path, clock=clock) as cluster:
        await cluster.client.create(probed(termination_grace_period_seconds=3))
        await cluster.until(lambda: (p := cluster.pod()) and p.status.container_statuses and p.status.container_statuses[0].restart_count)
        assert runtime.asked >= 2
        assert cluster.events("Unhealthy")[0] == "Liveness probe failed: LookupError: no such encoding"
        pod = cluster.pod()
        assert pod is not None
        ended = pod.status.container_statuses[0].last_state.terminated
        assert ended.finished_at.seconds - ended.started_at.seconds < 30


class AbsentEngine(HollowRuntime):
    """Its containers cannot be asked."""

    asked = 0

    async def check(self, container_id: str, check: Check, timeout_seconds: float) -> ProbeResult:
        self.asked += 1
        raise RuntimeUnavailable("the engine is away")


@virtual_time
async def test_a_container_that_cannot_be_asked_is_neither_well_nor_ill(tmp_path: Path) -> None:
    clock = VirtualClock()
    runtime = AbsentEngine(CIDR, clock=clock)
    async with running(runtime, tmp_path, clock=clock) as cluster:
        await cluster.client.create(probed())
        await cluster.until(lambda: runtime.asked > 5)
        (words,) = set(cluster.events("Unhealthy"))
        assert words == "Liveness probe errored and resulted in unknown state: the engine is away"
        pod = await cluster.ready()
        assert pod.status.container_statuses[0].restart_count == 0


async def test_a_warning_of_a_probe_is_told_and_a_success(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    runtime.check_results["app"] = ProbeResult(True, "Probe terminated redirects, Response body: ", warning=True)
    pod = make_pod()
    pod.spec.containers[0].readiness_probe.handler.http_get.port.int_val = 80
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(pod)
        await cluster.ready()
        await cluster.until(
            lambda: cluster.events("ProbeWarning") == ["Readiness probe warning: Probe terminated redirects, Response body: "]
        )


async def test_downward_volumes_follow_the_pods_metadata(tmp_path: Path) -> None:
    pod = make_pod()
    pod.metadata.labels["tier"] = "front"
    own = pod.spec.volumes.add(name="own").volume_source.downward_api.items.add(path="labels")
    own.field_ref.field_path = "metadata.labels"
    part = pod.spec.volumes.add(name="projected").volume_source.projected.sources.add().downward_api.items.add(path="note")
    part.field_ref.field_path = "metadata.annotations['note']"
    async with running(FiledRuntime(CIDR), tmp_path) as cluster:
        await cluster.client.create(pod)
        uid = (await cluster.ready()).metadata.uid
        directory = PodDirectory(tmp_path, uid)
        changed = cluster.pod()
        assert changed is not None
        assert (directory.volume_path("own") / "labels").read_text() == 'tier="front"'
        changed.metadata.labels["tier"] = "back"
        changed.metadata.annotations["note"] = "moved"
        await cluster.client.update(changed)
        await cluster.until(lambda: (directory.volume_path("own") / "labels").read_text() == 'tier="back"')
        await cluster.until(lambda: (directory.volume_path("projected") / "note").read_text() == "moved")


async def test_a_pod_that_fills_its_volume_is_evicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_storage, "PERIOD_SECONDS", 0.02)
    pod = make_pod()
    pod.spec.volumes.add(name="small").volume_source.empty_dir.size_limit.string = "1Mi"
    pod.spec.volumes.add(name="large").volume_source.empty_dir.size_limit.string = "1Gi"
    async with running(FiledRuntime(CIDR), tmp_path) as cluster:
        await cluster.client.create(pod)
        volumes = PodDirectory(tmp_path, (await cluster.ready()).metadata.uid)
        for name in ("large", "small"):
            (volumes.volume_path(name) / "file").write_bytes(b"x" * 2_000_000)
        evicted = await cluster.phase("Failed")
        message = 'Usage of EmptyDir volume "small" exceeds the limit "1Mi". '
        assert (evicted.status.reason, evicted.status.message) == ("Evicted", message)
        assert not [c for c in evicted.status.conditions if c.type == "DisruptionTarget"], "it is its own doing"
        await cluster.until(lambda: cluster.events("Evicted") == [message])
        await cluster.until(lambda: cluster.observed() is None and not volumes.root.exists())


async def test_a_pod_of_too_many_containers_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that an earlier kubelet has begun with."""
    monkeypatch.setattr(admission, "MAX_CONTAINERS", 100)
    api = FaultyApi()
    poison = make_pod("poison")
    del poison.spec.containers[:]
    for number in range(101):
        poison.spec.containers.add(name=f"c{number}", image="x")
    client = api.client()
    begun = copy_of(await client.create(poison))
    begun.status.phase = "Pending"
    begun.status.start_time.seconds = 1_700_000_000
    await client.update(begun, subresource="status")
    async with running(HollowRuntime(CIDR), tmp_path, api) as cluster:
        await client.create(make_pod())
        await cluster.ready()
        refused = await cluster.phase("Failed", "poison")
        assert refused.status.reason == "TooManyContainers"
        assert refused.status.message == "Pod was rejected: Pod has more than 100 containers, the most that this kubelet takes"


async def test_a_pod_whose_containers_nobody_can_make_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(inputs: ContainerInputs) -> ContainerPlan:
        if inputs.pod.metadata.name == "broken":
            raise ArithmeticError("an amount that nobody can read")
        return container_plan(inputs)

    monkeypatch.setattr(starter, "container_plan", broken)
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        await cluster.client.create(make_pod("broken"))
        await cluster.until(lambda: reason(cluster.pod("broken")) == "CreateContainerError")
        await cluster.client.create(make_pod())
        await cluster.ready()


def showing(name: str, *sources: core.VolumeProjection) -> core.Pod:
    """A pod with a volume that shows these."""
    pod = make_pod(name)
    pod.spec.volumes.add(name="shown").volume_source.projected.sources.extend(sources)
    pod.spec.containers[0].volume_mounts.add(name="shown", mount_path="/shown", sub_path="part")
    return pod


def laid(folder: Path) -> list[Path]:
    """Whatever a kubelet has made for pods in its directory."""
    return list(folder.rglob("pods"))


async def test_where_nobody_sees_files_none_are_made_and_no_tokens_asked_for(tmp_path: Path) -> None:
    """Whoever runs it need not have leave to mount; a token would be refused here, where no key signs any."""
    token = core.VolumeProjection(service_account_token=core.ServiceAccountTokenProjection(path="token", expiration_seconds=3600))
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        pod = showing("web", token)
        pod.spec.volumes.add(name="own").volume_source.empty_dir.medium = "Memory"
        pod.spec.volumes.add(name="there").volume_source.host_path.MergeFrom(core.HostPathVolumeSource(path="/nowhere", type="Directory"))
        await cluster.client.create(pod)
        await cluster.ready()
        assert not laid(tmp_path)
        await cluster.client.delete(core.Pod, "web", "default")
        await cluster.until(lambda: cluster.pod() is None and not cluster.kubelet.manager.workers)
        assert not laid(tmp_path)


async def test_what_a_pod_names_itself_is_laid_where_nobody_sees_files_too(tmp_path: Path) -> None:
    """For whoever looks at the node, as long as the pod is there; closed to all others, and mounted nowhere."""
    secret, shown = core.Secret(data={"p": b"hidden"}), core.VolumeProjection()
    secret.metadata.name, secret.metadata.namespace = "s", "default"
    shown.secret.local_object_reference.name = "s"
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        await cluster.client.create(secret)
        pod = showing("web", shown)
        pod.spec.security_context.fs_group = 4000
        pod.spec.volumes.add(name="s").volume_source.secret.MergeFrom(
            core.SecretVolumeSource(secret_name="s", default_mode=0o400, default_user=7)
        )
        pod.spec.volumes.add(name="empty").volume_source.empty_dir.SetInParent()
        await cluster.client.create(pod)
        directory = PodDirectory(tmp_path, (await cluster.ready()).metadata.uid)
        file = directory.volume_path("s") / "p"
        assert (file.read_text(), file.stat().st_mode & 0o777) == ("hidden", 0o400)
        assert sorted(path.name for path in (directory.root / "volumes").iterdir()) == ["s", "shown"]
        assert directory.root.stat().st_mode & 0o777 == 0o750 and not mounts_below(tmp_path)
        changed = copy_of(cluster.api.all(core.Secret)[0])
        changed.data["p"] = b"other"
        await cluster.client.update(changed)
        await cluster.until(lambda: file.read_text() == "other")
        await cluster.client.delete(core.Pod, "web", "default")
        await cluster.until(lambda: cluster.pod() is None and not cluster.kubelet.manager.workers)
        assert not directory.root.exists()


async def test_what_cannot_be_shown_is_missed_where_nobody_sees_files_too(tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        missing = core.VolumeProjection()
        missing.config_map.local_object_reference.name = "nowhere"
        await cluster.client.create(showing("unmounted", missing))
        await cluster.until(lambda: any('configmap "nowhere" not found' in words for words in cluster.events("FailedMount")))
        unset = make_pod("unset")
        unset.spec.containers[0].env.add(name="A").value_from.config_map_key_ref.MergeFrom(core.ConfigMapKeySelector(key="a"))
        unset.spec.containers[0].env[0].value_from.config_map_key_ref.local_object_reference.name = "nowhere"
        await cluster.client.create(unset)
        await cluster.until(lambda: reason(cluster.pod("unset")) == "CreateContainerConfigError")
        assert cluster.pod("unmounted").status.phase == "Pending"  # type: ignore[union-attr]


class MachineRuntime(HollowRuntime):
    """One whose containers would use this machine."""

    uses_machine = True


@pytest.mark.parametrize(("runtime", "told"), [(MachineRuntime, "True"), (HollowRuntime, "False")], ids=["its own", "simulated"])
async def test_a_node_tells_of_the_pressure_on_its_own_machine_alone(
    runtime: type[HollowRuntime], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "machine_signals", lambda: {"memory.available": Observation(50 << 20, 1 << 30)})
    async with running(runtime(CIDR), tmp_path) as cluster:
        await cluster.until(lambda: condition(cluster.api.all(core.Node)[0], "MemoryPressure") == told)


class NotingHooks(HollowRuntime):
    """Notes which containers were asked something, and when they were stopped with how much time."""

    def __init__(self, cidr: str, settings: HollowSettings, clock: VirtualClock) -> None:
        super().__init__(cidr, settings, clock)
        self.noted: list[str] = []

    async def check(self, container_id: str, check: Check, timeout_seconds: float) -> ProbeResult:
        self.noted.append(f"hook of {self._plan(container_id).name}")
        return await super().check(container_id, check, timeout_seconds)

    async def stop_container(self, container: Container, pod: PodRef, grace_seconds: float) -> None:
        self.noted.append(f"stop {container.name} in {grace_seconds:.0f} s")
        await super().stop_container(container, pod, grace_seconds)


@virtual_time
async def test_containers_share_the_time_that_their_pod_has_to_end(tmp_path: Path) -> None:
    clock = VirtualClock()
    runtime = NotingHooks(CIDR, HollowSettings(stop_seconds=5), clock)
    pod = make_pod()
    for name in ("log", "proxy"):
        sidecar = pod.spec.init_containers.add(name=name, image="app:1", restart_policy="Always")
        sidecar.lifecycle.pre_stop.exec.command.append("true")
    async with running(runtime, tmp_path, clock=clock) as cluster:
        await cluster.client.create(pod)
        await cluster.ready()
        await cluster.client.delete(core.Pod, "web", "default")
        await cluster.until(lambda: cluster.pod() is None)
    # Hooks run at once and only once, the last one to end has what is left.
    assert sorted(runtime.noted[:3]) == ["hook of log", "hook of proxy", "stop app in 30 s"]
    assert runtime.noted[3:] == ["stop proxy in 25 s", "stop log in 20 s"]
    assert sorted(cluster.events("Killing")) == [f"Stopping container {name}" for name in ("app", "log", "proxy")]
