"""What every runtime promises: one suite, run on the hollow runtime, on Docker and on containerd. What it promises of processes stands in
test_conformance_processes.py."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from knarr.objects.images import full_name
from services.kubelet.node.files import NodeFiles
from services.kubelet.node.image_folders import ImageFolders
from services.kubelet.node.mounts import unmount_all
from services.kubelet.node.trees import remove_tree
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.plan import ContainerPlan, Limits, PodRef, Process, SandboxPlan
from services.kubelet.runtime.port import (
    CREATED,
    EXITED,
    RUNNING,
    STDERR,
    STDOUT,
    Container,
    LogOptions,
    NoSuchHandler,
    NoSuchImage,
    Runtime,
    RuntimeFailure,
    Sandbox,
)
from tests.kubelet.containerd_support import IMAGE, Containerd, cri
from tests.kubelet.docker_support import docker
from tests.kubelet.support import until


@dataclass
class Subject:
    runtime: Runtime
    image: str
    pod: PodRef
    changes: list[str]

    def sandbox_plan(self, attempt: int = 0) -> SandboxPlan:
        return SandboxPlan(self.pod, attempt, self.pod.name)

    def plan(self, sandbox: Sandbox, attempt: int = 0) -> ContainerPlan:
        return ContainerPlan(self.pod, sandbox.id, "app", attempt, self.image, "hash", sandbox.attempt, process=Process(("sleep", "1000")))

    @property
    def states(self) -> list[str]:
        observation = self.runtime.observe(self.pod.uid)
        return [container.state for container in observation.containers] if observation else []


@asynccontextmanager
async def hollow_subject() -> AsyncIterator[tuple[Runtime, str]]:
    runtime = HollowRuntime("10.244.0.0/24")
    runtime.missing_images.add("nowhere/missing:1")
    yield runtime, "app:1"


@asynccontextmanager
async def docker_subject() -> AsyncIterator[tuple[Runtime, str]]:
    async with docker() as (runtime, _, image):
        yield runtime, image


@asynccontextmanager
async def containerd_subject(made: Containerd) -> AsyncIterator[tuple[Runtime, str]]:
    async with cri(made) as (runtime, _):
        yield runtime, IMAGE


@pytest.fixture(params=["hollow", pytest.param("docker", marks=pytest.mark.docker), pytest.param("containerd", marks=pytest.mark.docker)])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    subjects = {
        "hollow": hollow_subject,
        "docker": docker_subject,
        "containerd": lambda: containerd_subject(request.getfixturevalue("own_containerd")),
    }
    async with subjects[request.param]() as (runtime, image):
        changes: list[str] = []
        runtime.on_change(changes.append)
        await runtime.start()
        following = asyncio.create_task(runtime.run())
        yield Subject(runtime, image, PodRef("default", "web", str(uuid.uuid4())), changes)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_is_well_and_says_what_it_is(subject: Subject) -> None:
    assert subject.runtime.trouble == ""
    assert "://" in subject.runtime.version


async def test_a_sandbox_has_an_address_of_the_range_and_is_made_once(subject: Subject) -> None:
    first = await subject.runtime.create_sandbox(subject.sandbox_plan())
    again = await subject.runtime.create_sandbox(subject.sandbox_plan())
    assert first.ready and first.ip.startswith("10.")
    assert (again.id, again.ip) == (first.id, first.ip)
    assert subject.pod.uid in subject.changes
    other = SandboxPlan(PodRef("default", "other", str(uuid.uuid4())), 0, "other")
    assert (await subject.runtime.create_sandbox(other)).ip != first.ip


async def test_a_pod_is_run_by_the_handler_that_it_asks_for_or_not_at_all(subject: Subject) -> None:
    handler = subject.runtime.handlers[-1]
    with pytest.raises(NoSuchHandler, match='no runtime for "another" is configured'):
        await subject.runtime.create_sandbox(replace(subject.sandbox_plan(), handler="another"))
    assert subject.runtime.observe(subject.pod.uid) is None
    sandbox = await subject.runtime.create_sandbox(replace(subject.sandbox_plan(), handler=handler))
    assert sandbox.handler == handler
    container = await subject.runtime.create_container(replace(subject.plan(sandbox), handler=handler))
    await subject.runtime.start_container(container, subject.pod)
    assert subject.states == [RUNNING]


async def test_an_images_files_are_shown_until_nobody_has_them(subject: Subject, tmp_path: Path) -> None:
    if not subject.runtime.mounts_files:
        with pytest.raises(RuntimeFailure, match="this container runtime cannot show an image as a volume"):
            subject.runtime.export(await subject.runtime.image(subject.image))
        return
    # An engine may lay an image out when it makes the first container of it.
    await subject.runtime.create_container(subject.plan(await subject.runtime.create_sandbox(subject.sandbox_plan())))
    image, pods, files = await subject.runtime.image(subject.image), tmp_path / "pods", NodeFiles()
    folders = ImageFolders(tmp_path, pods, subject.runtime, files)
    try:
        for name in ("one", "two"):
            laid = await folders.lay(image, pods / name)
        assert [path.name for path in (tmp_path / "image-volumes").iterdir()] == [laid.name]
        assert (laid / "bin" / "sh").readlink() == Path("busybox") and (laid / "bin" / "busybox").stat().st_mode & 0o111
        for name, stays in (("one", True), ("two", False)):
            remove_tree(pods / name)
            # Whoever comes after a kubelet that ended here does the same.
            await ImageFolders(tmp_path, pods, subject.runtime, files).sweep()
            assert laid.exists() is stays
        assert await subject.runtime.hide_images(()) == []
    finally:
        unmount_all(tmp_path)


async def test_a_container_is_created_started_stopped_and_removed(subject: Subject) -> None:
    sandbox = await subject.runtime.create_sandbox(subject.sandbox_plan())
    container = await subject.runtime.create_container(subject.plan(sandbox))
    assert subject.states == [CREATED]
    assert (await subject.runtime.create_container(subject.plan(sandbox))).id == container.id
    await subject.runtime.start_container(container, subject.pod)
    assert subject.states == [RUNNING]
    running = subject.runtime.observe(subject.pod.uid).containers[0]  # type: ignore[union-attr]
    assert running.started_at is not None and (running.name, running.spec_hash, running.image) == ("app", "hash", subject.image)
    await subject.runtime.stop_container(container, subject.pod, 0.0)
    assert subject.states == [EXITED]
    ended = subject.runtime.observe(subject.pod.uid).containers[0]  # type: ignore[union-attr]
    assert ended.exit_code in (137, 143) and ended.finished_at is not None and ended.finished_at >= running.started_at
    await subject.runtime.remove_container(container, subject.pod)
    await subject.runtime.remove_sandbox(sandbox)
    await until(lambda: subject.runtime.observe(subject.pod.uid) is None)


async def test_what_is_gone_can_be_stopped_and_removed_again(subject: Subject) -> None:
    sandbox = await subject.runtime.create_sandbox(subject.sandbox_plan())
    container = await subject.runtime.create_container(subject.plan(sandbox))
    for _ in range(2):
        await subject.runtime.remove_container(container, subject.pod)
        await subject.runtime.stop_container(container, subject.pod, 0.0)
        await subject.runtime.remove_sandbox(sandbox)
    assert subject.runtime.observe(subject.pod.uid) is None


async def test_an_image_that_is_missing(subject: Subject) -> None:
    missing = "nowhere/missing:1" if isinstance(subject.runtime, HollowRuntime) else "localhost:1/missing:1"
    with pytest.raises(NoSuchImage):
        await subject.runtime.image(missing)
    with pytest.raises(RuntimeFailure):
        await subject.runtime.pull(missing)
    sandbox = await subject.runtime.create_sandbox(subject.sandbox_plan())
    with pytest.raises(RuntimeFailure):
        await subject.runtime.create_container(replace(subject.plan(sandbox), image=missing))
    assert subject.states == []


async def test_an_image_is_one_however_it_is_spelled(subject: Subject) -> None:
    """What a pod asks for is seldom spelled as the engine spells it."""
    spelled = full_name(subject.image)
    image = await subject.runtime.image(subject.image)
    assert {(await subject.runtime.image(name)).id for name in (spelled, spelled.removeprefix("docker.io/"))} == {image.id}
    if listed := [found for found in await subject.runtime.images() if spelled in map(full_name, found.names)]:
        assert [found.id for found in listed] == [image.id]


async def test_a_start_that_fails_leaves_an_ended_container_with_the_reason(subject: Subject) -> None:
    if isinstance(subject.runtime, HollowRuntime):
        subject.runtime.fail_start["app"] = "no such program"
    sandbox = await subject.runtime.create_sandbox(subject.sandbox_plan())
    container = await subject.runtime.create_container(replace(subject.plan(sandbox), process=Process(("/no/such/program",))))
    with pytest.raises(RuntimeFailure):
        await subject.runtime.start_container(container, subject.pod)
    ended = subject.runtime.observe(subject.pod.uid).containers[0]  # type: ignore[union-attr]
    assert (ended.state, ended.exit_code) == (EXITED, 128)
    assert "no such" in ended.error


async def test_logs_end_when_they_are_not_followed(subject: Subject) -> None:
    sandbox = await subject.runtime.create_sandbox(subject.sandbox_plan())
    plan = replace(subject.plan(sandbox), process=Process(("sh", "-c", "echo oops >&2; echo hollow one; exec sleep 1000")))
    container = await subject.runtime.create_container(plan)
    await subject.runtime.start_container(container, subject.pod)

    async def output(stream: int | None = STDOUT) -> bytes:
        return b"".join([piece async for piece in subject.runtime.logs(container.id, LogOptions(stream=stream))])

    found = b""
    # An engine may write them a moment later.
    async with asyncio.timeout(20):
        while not found:
            found = await output()
            await asyncio.sleep(0.005)
    assert found.startswith(b"hollow ") and found.count(b"\n") == 1
    oops = b"" if isinstance(subject.runtime, HollowRuntime) else b"oops\n"
    async with asyncio.timeout(20):
        while await output(STDERR) != oops:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert sorted(await output(None)) == sorted(oops + found)
    with pytest.raises(RuntimeFailure):
        [piece async for piece in subject.runtime.logs("0" * 64, LogOptions())]


async def test_a_running_container_is_held_to_other_amounts(subject: Subject) -> None:
    sandbox = await subject.runtime.create_sandbox(subject.sandbox_plan())
    small, large = Limits(102, 10_000, 32 << 20), Limits(204, 20_000, 64 << 20)
    container = await subject.runtime.create_container(replace(subject.plan(sandbox), limits=small))
    await subject.runtime.start_container(container, subject.pod)
    for wanted in (large, replace(large, cpu_quota_micros=0), small):
        await subject.runtime.update_container(container, subject.pod, wanted)
        (seen,) = subject.runtime.observe(subject.pod.uid).containers  # type: ignore[union-attr]
        assert (seen.state, seen.id) == (RUNNING, container.id)
        assert seen.limits is not None and replace(seen.limits, oom_score_adj=0) == wanted
    await subject.runtime.remove_container(container, subject.pod)
    with pytest.raises(RuntimeFailure):
        await subject.runtime.update_container(container, subject.pod, large)


async def test_a_container_runs_on_the_processors_that_it_is_given(subject: Subject) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("a machine of one processor")
    sandbox = await subject.runtime.create_sandbox(subject.sandbox_plan())
    limits = Limits(1024, 0, 32 << 20, cpuset="1")
    container = await subject.runtime.create_container(replace(subject.plan(sandbox), limits=limits))
    await subject.runtime.start_container(container, subject.pod)
    assert await processors(subject, container) == "1"
    await subject.runtime.pin_container(container, subject.pod, "0-1")
    assert await processors(subject, container) == "0-1"
    await subject.runtime.update_container(container, subject.pod, replace(limits, cpu_shares=512))
    (seen,) = subject.runtime.observe(subject.pod.uid).containers  # type: ignore[union-attr]
    assert seen.limits is not None and (seen.limits.cpu_shares, seen.limits.memory_bytes, seen.limits.cpuset) == (512, 32 << 20, "0-1")
    await subject.runtime.pin_container(container, subject.pod, "0")
    assert await processors(subject, container) == "0"
    await subject.runtime.remove_container(container, subject.pod)
    with pytest.raises(RuntimeFailure):
        await subject.runtime.pin_container(container, subject.pod, "1")


async def processors(subject: Subject, container: Container) -> str:
    """What the kernel lets it run on; of a hollow one, what its runtime says."""
    if isinstance(subject.runtime, HollowRuntime):
        (seen,) = subject.runtime.observe(subject.pod.uid).containers  # type: ignore[union-attr]
        return seen.limits.cpuset if seen.limits else ""
    async with await subject.runtime.exec(container.id, ("cat", "/proc/self/status"), stdin=False, tty=False) as session:
        said = b""
        while (piece := await session.read()) is not None:
            said += piece[1]
    return next(line.split()[1] for line in said.decode().splitlines() if line.startswith("Cpus_allowed_list:"))
