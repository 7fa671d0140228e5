"""Control groups: the arithmetic of both versions, their names, and what is written where."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.qos import BEST_EFFORT, BURSTABLE, GUARANTEED
from knarr.service.tasks import cancel
from services.kubelet.cgroups.hierarchy import Hierarchy
from services.kubelet.cgroups.keeper import TOGETHER_SECONDS, PodGroups
from services.kubelet.cgroups.names import CGROUPFS, SYSTEMD, folder, parent, pod_group, root_of
from services.kubelet.cgroups.values import GroupLimits, of_all, of_class, of_pod, properties, v1_files, v2_files, weight, widest
from services.kubelet.node.files import NodeFiles, NoFiles
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.worker import actions
from tests.kubelet.support import make_pod, running
from tests.support.virtual_time import virtual_time

MI, GI = 1 << 20, 1 << 30
ROOT = root_of("ab-1", "node-1")


def fill(target: Any, amounts: Mapping[str, Mapping[str, str]]) -> None:
    for kind, found in amounts.items():
        for name, text in found.items():
            getattr(target, kind)[name].string = text


def pod(*containers: Mapping[str, Mapping[str, str]], whole: Mapping[str, Mapping[str, str]] | None = None, **overhead: str) -> core.Pod:
    made = make_pod("web", *(f"c{number}" for number in range(len(containers))))
    for spec, amounts in zip(made.spec.containers, containers, strict=True):
        fill(spec.resources, amounts)
    fill(made.spec.resources, whole or {})
    for name, text in overhead.items():
        made.spec.overhead[name].string = text
    return made


BOTH = {"cpu": "500m", "memory": "64Mi"}
WHOLE = {"requests": {"cpu": "2"}, "limits": {"cpu": "3", "memory": "1Gi"}}


@pytest.mark.parametrize(
    ("made", "limits"),
    [
        (pod({}), GroupLimits()),
        (pod({"requests": BOTH, "limits": BOTH}), GroupLimits(512, 50_000, 64 * MI)),
        (pod({"requests": BOTH, "limits": BOTH}, {"requests": BOTH, "limits": BOTH}), GroupLimits(1024, 100_000, 128 * MI)),
        # Where one container may use what it likes, so may the pod.
        (pod({"requests": BOTH, "limits": BOTH}, {"requests": {"cpu": "100m"}}), GroupLimits(614)),
        (pod({"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}), GroupLimits(102, 100_000)),
        (pod({"limits": {"memory": "1Gi"}, "requests": {"memory": "1Gi"}}), GroupLimits(memory_bytes=GI)),
        # The pod as a whole says more than its containers.
        (
            pod({"requests": {"cpu": "100m"}}, {}, whole=WHOLE),
            GroupLimits(2048, 300_000, GI),
        ),
        (pod({"requests": BOTH, "limits": BOTH}, cpu="250m", memory="36Mi"), GroupLimits(768, 75_000, 100 * MI)),
        (pod({"requests": {"cpu": "1m"}, "limits": {"cpu": "1m"}}), GroupLimits(2, 1000)),
        (
            pod({"requests": {"cpu": "1", "hugepages-2Mi": "4Mi"}, "limits": {"hugepages-2Mi": "4Mi"}}),
            GroupLimits(1024, huge_pages={"hugepages-2Mi": 4 * MI}),
        ),
    ],
)
def test_what_a_pod_is_held_to(made: core.Pod, limits: GroupLimits) -> None:
    assert of_pod(made) == limits


def test_classes_weigh_what_their_pods_ask_for() -> None:
    pods = [pod({"requests": {"cpu": "500m"}}), pod({"requests": {"cpu": "250m"}}), pod({"requests": BOTH, "limits": BOTH}), pod({})]
    assert of_class(BURSTABLE, pods) == GroupLimits(768)
    assert of_class(BEST_EFFORT, pods) == of_class(BURSTABLE, ()) == GroupLimits()
    assert of_all({"cpu": 4000, "memory": 8 * GI, "pid": 1000}, [{"cpu": 500, "memory": GI}, {"pid": 100}]) == GroupLimits(
        3584, 0, 7 * GI, 900
    )


def test_the_files_of_either_version() -> None:
    limits = GroupLimits(512, 50_000, 64 * MI, 100, {"hugepages-2Mi": 4 * MI, "hugepages-1Gi": GI})
    assert v1_files(limits) == [
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_period_us", "100000"),
        ("cpu", "cpu.cfs_quota_us", "50000"),
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("pids", "pids.max", "100"),
        ("hugetlb", "hugetlb.1GB.limit_in_bytes", str(GI)),
        ("hugetlb", "hugetlb.2MB.limit_in_bytes", "4194304"),
    ]
    assert v2_files(limits)[:4] == [
        ("cpu", "cpu.weight", "59"),
        ("cpu", "cpu.max", "50000 100000"),
        ("memory", "memory.max", "67108864"),
        ("pids", "pids.max", "100"),
    ]
    assert [text for _, _, text in v1_files(GroupLimits())] == ["2", "100000", "-1", "-1", "max"]
    assert [text for _, _, text in v2_files(GroupLimits())] == ["1", "max 100000", "max", "max"]
    assert properties(limits, version=2) == ["CPUWeight=59", "CPUQuota=50%", "MemoryMax=67108864", "TasksMax=100"]
    assert properties(GroupLimits(), version=1) == ["CPUShares=2", "CPUQuota=", "MemoryLimit=infinity", "TasksMax=infinity"]


@given(st.integers(0, 300_000), st.integers(0, 300_000))
def test_weights_keep_the_order_and_meet_the_ends(one: int, other: int) -> None:
    assert (weight(2), weight(1024), weight(262_144)) == (1, 100, 10_000)
    assert 1 <= weight(one) <= 10_000
    assert weight(min(one, other)) <= weight(max(one, other))


limits = st.builds(GroupLimits, st.integers(2, 9000), st.sampled_from([0, 1000, 90_000]), st.sampled_from([0, MI, GI]))


@given(limits, limits)
def test_while_it_changes_there_is_room_for_both(one: GroupLimits, other: GroupLimits) -> None:
    found = widest(one, other)
    assert found == widest(other, one) == widest(found, one)
    for name in ("cpu_quota_micros", "memory_bytes"):
        assert getattr(found, name) in (getattr(one, name), getattr(other, name))
        assert not getattr(found, name) or getattr(found, name) >= max(getattr(one, name), getattr(other, name))


def test_names() -> None:
    assert ROOT == ("knarr_ab_1_node_1", "kubepods")
    group = pod_group(ROOT, BURSTABLE, "1-2")
    assert folder(group, CGROUPFS) == "knarr_ab_1_node_1/kubepods/burstable/pod1-2"
    assert parent(group, CGROUPFS) == "/knarr_ab_1_node_1/kubepods/burstable/pod1-2"
    assert pod_group(ROOT, GUARANTEED, "u")[-2:] == ("kubepods", "podu")
    top, pods = "knarr_ab_1_node_1", "knarr_ab_1_node_1-kubepods"
    assert folder(group, SYSTEMD) == f"{top}.slice/{pods}.slice/{pods}-burstable.slice/{pods}-burstable-pod1_2.slice"
    assert parent(group, SYSTEMD) == f"{pods}-burstable-pod1_2.slice"


def v2_tree(root: Path, *groups: str) -> None:
    """What a kernel has of the files in a group; a folder made here has none by itself."""
    for place in (root, *(root / group for group in groups)):
        place.mkdir(parents=True, exist_ok=True)
        (place / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
        (place / "cgroup.subtree_control").write_text("")
        for name in ("cpu.weight", "cpu.max", "memory.max", "pids.max"):
            (place / name).write_text("")


def test_version_2_is_one_tree_whose_controllers_are_let_through(tmp_path: Path) -> None:
    group = pod_group(ROOT, BEST_EFFORT, "u")
    v2_tree(tmp_path, *("/".join(group[:count]) for count in range(1, 5)))
    hierarchy = Hierarchy(CGROUPFS, tmp_path)
    assert hierarchy.version == 2
    hierarchy.make(group, GroupLimits(1024, 0, MI))
    place = tmp_path / "/".join(group)
    assert {name: (place / name).read_text() for name in ("cpu.weight", "cpu.max", "memory.max", "pids.max")} == {
        "cpu.weight": "100",
        "cpu.max": "max 100000",
        "memory.max": str(MI),
        "pids.max": "max",
    }
    assert (
        (place.parent / "cgroup.subtree_control").read_text() == (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    )
    assert (place / "cgroup.subtree_control").read_text() == "", "the engine lets through what containers need"
    assert hierarchy.pods(group[:-1]) == ["u"]
    (place / "memory.current").write_text("500\n")
    (place / "memory.stat").write_text("anon 100\ninactive_file 200\n")
    assert hierarchy.memory(group) == 300


def test_systemd_is_asked_for_slices(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("")
    asked: list[list[str]] = []
    hierarchy = Hierarchy(SYSTEMD, tmp_path, lambda arguments: asked.append(list(arguments)))
    group = pod_group(("kubepods",), BURSTABLE, "1-2")
    hierarchy.make(group, GroupLimits(1024))
    unit = "kubepods-burstable-pod1_2.slice"
    assert asked == [
        ["start", unit],
        ["set-property", "--runtime", unit, "CPUWeight=100", "CPUQuota=", "MemoryMax=infinity", "TasksMax=infinity"],
    ]
    (tmp_path / folder(group, SYSTEMD)).mkdir(parents=True)
    assert hierarchy.pods(group[:-1]) == ["1-2"]
    hierarchy.remove(group)
    assert asked[2:] == [["stop", unit], ["revert", unit]]
    assert hierarchy.pods(group[:-1]) == []
    hierarchy.remove(group)
    assert len(asked) == 4, "what is not there need not be asked for"


async def test_a_pod_is_looked_for_in_its_own_class_alone(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("")
    asked: list[Sequence[str]] = []
    groups = PodGroups(("knarr_test", "kubepods"), NoFiles(), list)
    groups._hierarchy = Hierarchy(SYSTEMD, tmp_path, asked.append)
    (tmp_path / folder(pod_group(("knarr_test", "kubepods"), BURSTABLE, "u"), SYSTEMD)).mkdir(parents=True)
    await groups.remove("u")
    unit = "knarr_test-kubepods-burstable-podu.slice"
    assert [list(arguments) for arguments in asked] == [["stop", unit], ["revert", unit]]


async def test_whom_the_kernel_ended_is_counted_on_version_2(tmp_path: Path) -> None:
    """In the pod's own group: that of the container is gone by the time that anybody asks."""
    made = pod({"limits": {"memory": "64Mi"}})
    made.metadata.uid = "u"
    group = pod_group(ROOT, BURSTABLE, "u")
    v2_tree(tmp_path, *("/".join(group[:count]) for count in range(1, 5)))
    events = tmp_path / "/".join(group) / "memory.events"
    events.write_text("low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\noom_group_kill 0\n")
    now = [1000.0]
    groups = PodGroups(ROOT, NoFiles(), list, lambda: now[0])
    groups._hierarchy = Hierarchy(CGROUPFS, tmp_path)
    await groups.hold(made, of_pod(made))
    assert not groups.ran_short("u"), "what was before it was held"
    # Two containers, in one each, or all of one that ends as a whole: one container hears of it after the other.
    events.write_text("low 0\nhigh 0\nmax 9\noom 3\noom_kill 4\noom_group_kill 1\n")
    assert groups.ran_short("u") and not groups.ran_short("other")
    now[0] += TOGETHER_SECONDS / 2
    assert groups.ran_short("u")
    now[0] += TOGETHER_SECONDS
    assert not groups.ran_short("u"), "one that is ended later is ended for another reason"
    events.write_text("low 0\nhigh 0\nmax 9\noom 4\noom_kill 5\noom_group_kill 1\n")
    assert groups.ran_short("u")
    events.unlink()
    now[0] += 2 * TOGETHER_SECONDS
    assert not groups.ran_short("u")


@pytest.mark.parametrize("pods", [(), ("u",)])
async def test_a_node_that_ends_without_pods_leaves_no_groups(tmp_path: Path, pods: tuple[str, ...]) -> None:
    root, other = root_of("test", "n"), tmp_path / "other"
    for place in (root, *(pod_group(root, BURSTABLE, uid) for uid in pods)):
        (tmp_path / "cpu" / "/".join(place)).mkdir(parents=True)
    groups = PodGroups(root, NoFiles(), list)
    await groups.close()
    groups._hierarchy = Hierarchy(CGROUPFS, tmp_path)
    other.mkdir()
    await groups.close()
    assert (tmp_path / "cpu" / root[0]).exists() is bool(pods) and other.exists()


async def test_without_leave_pods_have_no_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("services.kubelet.cgroups.hierarchy.MOUNTS", tmp_path)
    monkeypatch.setattr(Hierarchy, "make", lambda *_: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
    groups = PodGroups(ROOT, NodeFiles(), list)
    await groups.start(CGROUPFS, {"cpu": 1000, "memory": GI}, ())
    assert not groups.there
    assert groups.parent(pod({})) == ""
    assert "Read-only" in caplog.records[0].__dict__["error"]
    await groups.hold(pod({}), GroupLimits())
    await groups.remove("u")
    assert (await groups.left_behind(), await groups.memory()) == ([], None)


@virtual_time
async def test_groups_that_are_refused_are_tried_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    tries: list[float] = []
    loop = asyncio.get_running_loop()

    def make(*_: object) -> None:
        tries.append(loop.time() - begun)
        if len(tries) < 4:
            raise OSError(28, "No space left on device")

    async def call(_: NodeFiles, work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    monkeypatch.setattr(Hierarchy, "make", make)
    monkeypatch.setattr(NodeFiles, "call", call)
    groups, begun = PodGroups(ROOT, NodeFiles(), list), loop.time()
    trying = asyncio.create_task(groups.run())
    await groups.start("", {"cpu": 1000, "memory": GI}, ())
    await asyncio.sleep(200)
    assert not tries, "an engine without a driver has no groups to wait for"
    begun = loop.time()
    await groups.start(CGROUPFS, {"cpu": 1000, "memory": GI}, ())
    await groups.come()
    await asyncio.sleep(200)
    await cancel([trying])
    assert groups.there and groups.parent(pod({}))
    assert [round(at) for at in tries] == [0, 60, 120, 180, 180, 180], "root and classes, as soon as that goes, and then no more"
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


async def test_a_group_that_is_busy_is_removed_later_and_holds_nobody_up_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "RETRY_SECONDS", 0.001)
    tried: dict[str, int] = {}

    async def remove(self: PodGroups, uid: str) -> None:
        tried[uid] = tried.get(uid, 0) + 1
        if tried[uid] < 3 or uid in stuck:
            raise OSError(16, "Device or resource busy")

    stuck: set[str] = set()
    monkeypatch.setattr(PodGroups, "remove", remove)
    async with running(HollowRuntime("10.244.0.0/24"), tmp_path) as cluster:
        for name in ("busy", "stuck"):
            await cluster.client.create(make_pod(name))
            uid = (await cluster.ready(name)).metadata.uid
            if name == "stuck":
                stuck.add(uid)
            await cluster.client.delete(core.Pod, name, "default", grace_period_seconds=0)
            await cluster.until(lambda: not cluster.kubelet.manager.workers)
            assert tried[uid] == (3 if name == "busy" else actions.LEAVE_TRIES)


@pytest.mark.skipif(os.geteuid() != 0 or not os.access("/sys/fs/cgroup/memory", os.W_OK), reason="needs leave to make control groups")
async def test_the_kernel_takes_them() -> None:
    made = pod({"requests": {"cpu": "500m"}, "limits": {"memory": "64Mi", "cpu": "1"}})
    made.metadata.uid = "u-1"
    root = root_of("test", f"n{os.getpid()}")
    apart = itertools.count(step=2 * TOGETHER_SECONDS)
    groups = PodGroups(root, NodeFiles(), lambda: [made], lambda: next(apart))
    place = Path("/sys/fs/cgroup")
    try:
        await groups.start(CGROUPFS, {"cpu": 2000, "memory": GI}, [{"memory": 24 * MI}])
        assert groups.there
        await groups.hold(made, of_pod(made))
        group = folder(pod_group(root, BURSTABLE, "u-1"), CGROUPFS)
        assert (place / "memory" / group / "memory.limit_in_bytes").read_text() == f"{64 * MI}\n"
        assert (place / "cpu" / group / "cpu.cfs_quota_us").read_text() == "100000\n"
        assert (place / "cpu" / group / "../cpu.shares").read_text() == "512\n", "its class weighs what it asks for"
        assert (place / "memory" / folder(root, CGROUPFS) / "memory.limit_in_bytes").read_text() == f"{1000 * MI}\n"
        assert await groups.left_behind() == ["u-1"]
        used = await groups.memory()
        assert used is not None
        assert 0 <= used[0] < used[1] == 1000 * MI
        assert not groups.ran_short("u-1")
        # As a container's process in a group of its own below the pod's.
        container = place / "memory" / group / "container"
        container.mkdir()
        script = f"echo $$ > {container}/cgroup.procs; exec {sys.executable} -c 'bytearray(200 << 20)'"
        process = await asyncio.create_subprocess_exec("sh", "-c", script)
        assert await process.wait() in (-9, 137)
        assert groups.ran_short("u-1") and not groups.ran_short("u-1") and not groups.ran_short("other")
        container.rmdir()
        await groups.remove("u-1")
        assert await groups.left_behind() == [] and not groups.ran_short("u-1")
    finally:
        Hierarchy(CGROUPFS).remove(root[:1])
    assert not (place / "memory" / root[0]).exists()
