"""What containers use, read from their control groups: found in either version, and the same as the engine tells."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.kubelet.cgroups.names import CGROUPFS, parent, pod_group, root_of
from services.kubelet.runtime import groups
from services.kubelet.runtime.docker import DockerRuntime
from services.kubelet.runtime.plan import ContainerPlan, Limits, PodRef, Process, SandboxPlan
from services.kubelet.runtime.usage import Usage, UsageDetails
from tests.kubelet.docker_support import docker

POD, ID, PID = PodRef("default", "web", "uid"), "c" * 64, 7
# What each processor may have taken from a group's memory in advance, by the kernel: 64 pages. It comes and goes between two looks.
STOCK_BYTES = 64 * os.sysconf("SC_PAGE_SIZE") * (os.cpu_count() or 1)
TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
SPLIT = {
    "cpuacct/cpuacct.usage": "5000000001\n",
    "cpuacct/cpuacct.stat": "user 30\nsystem 12\n",
    "cpu/cpu.stat": "nr_periods 9\nnr_throttled 4\nthrottled_time 1234\nwait_sum 1\n",
    "memory/memory.usage_in_bytes": "1000\n",
    "memory/memory.max_usage_in_bytes": "2000\n",
    "memory/memory.limit_in_bytes": "4096\n",
    "memory/memory.failcnt": "3\n",
    "memory/memory.stat": "cache 1\ninactive_file 1\ntotal_cache 300\ntotal_rss 600\ntotal_mapped_file 50\ntotal_swap 8\n"
    "total_pgfault 11\ntotal_pgmajfault 2\ntotal_inactive_file 250\n",
    "pids/pids.current": "5\n",
    "blkio/blkio.throttle.io_service_bytes_recursive": "8:0 Read 100\n8:0 Write 20\n8:0 Total 120\n8:16 Read 1\n8:16 Total 1\nTotal 121\n",
    "blkio/blkio.throttle.io_serviced_recursive": "8:0 Read 6\n8:0 Write 2\n8:0 Total 8\nTotal 8\n",
}
UNIFIED = {
    "cpu.stat": "usage_usec 5000000\nuser_usec 300000\nsystem_usec 120000\nnr_periods 9\nnr_throttled 4\nthrottled_usec 12\n",
    "memory.current": "1000\n",
    "memory.peak": "2000\n",
    "memory.max": "4096\n",
    "memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n",
    "memory.stat": "anon 600\nfile 300\nfile_mapped 50\ninactive_file 250\npgfault 11\npgmajfault 2\n",
    "memory.swap.current": "8\n",
    "pids.current": "5\n",
    "io.stat": "8:0 rbytes=100 wbytes=20 rios=6 wios=2 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=0 rios=0 wios=0\n",
}


@dataclass
class Kernel:
    """A machine's /proc and /sys/fs/cgroup, as files."""

    root: Path

    @property
    def proc(self) -> Path:
        return self.root / "proc"

    @property
    def mounts(self) -> Path:
        return self.root / "cgroup"

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def split(self, path: str, files: Mapping[str, str] = SPLIT) -> None:
        self.write({f"cgroup/{name.split('/')[0]}/{path}/{name.split('/')[1]}": text for name, text in files.items()})

    def unified(self, path: str, files: Mapping[str, str] = UNIFIED) -> None:
        self.write({"cgroup/cgroup.controllers": "cpu memory\n", **{f"cgroup/{path}/{name}": text for name, text in files.items()}})

    def process(self, pid: int | str, text: str) -> None:
        self.write({f"proc/{pid}/cgroup": text})

    def read(self) -> Usage | None:
        found = groups.find(PID, ID, self.proc, self.mounts)
        return None if found is None else groups.read(POD, "app", found)

    def are_seen(self) -> bool:
        return groups.are_seen(self.proc, self.mounts)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def of_split(path: str) -> str:
    names = ["name=systemd", "pids", "blkio", "memory", "cpu,cpuacct"]
    return "".join(f"{number}:{name}:{path}\n" for number, name in enumerate(names, 1)) + "0::/\n"


DETAILS = UsageDetails(
    cpu_user_nanoseconds=300_000_000,
    cpu_system_nanoseconds=120_000_000,
    cpu_periods=9,
    cpu_throttled_periods=4,
    cpu_throttled_nanoseconds=12_000,
    memory_usage_bytes=1000,
    memory_most_bytes=2000,
    memory_limit_bytes=4096,
    memory_failures=3,
    cache_bytes=300,
    rss_bytes=600,
    mapped_bytes=50,
    swap_bytes=8,
    page_faults=11,
    major_page_faults=2,
    read_bytes=101,
    written_bytes=20,
    reads=6,
    writes=2,
)


@pytest.mark.parametrize("place", [f"kubepods/pod1/{ID}", f"kubepods.slice/kubepods-pod1.slice/docker-{ID}.scope"])
@pytest.mark.parametrize("below", ["", "/init.scope"])
def test_use_is_read_from_the_one_tree(kernel: Kernel, place: str, below: str) -> None:
    """Also of a container that has made groups of its own, under either driver."""
    kernel.unified(place)
    kernel.process(PID, f"0::/{place}{below}\n")
    assert kernel.read() == Usage(POD, "app", 5_000_000_000, 750, 5, DETAILS)


def test_use_is_read_from_a_tree_for_each_controller(kernel: Kernel) -> None:
    kernel.split(f"docker/{ID}")
    kernel.process(PID, of_split(f"/docker/{ID}"))
    found = kernel.read()
    assert found is not None and (found.cpu_nanoseconds, found.memory_bytes, found.processes) == (5_000_000_001, 750, 5)
    times = {"cpu_user_nanoseconds": 30 * TICK, "cpu_system_nanoseconds": 12 * TICK, "cpu_throttled_nanoseconds": 1234}
    assert found.details == UsageDetails(**{**{name: getattr(DETAILS, name) for name in DETAILS.__slots__}, **times})


def test_no_limit_is_none(kernel: Kernel) -> None:
    kernel.split(ID, {**SPLIT, "memory/memory.limit_in_bytes": "9223372036854771712\n"})
    kernel.process(PID, of_split(f"/{ID}"))
    found = kernel.read()
    assert found is not None and found.details.memory_limit_bytes == 0


def test_what_a_kernel_does_not_count_is_nothing(kernel: Kernel) -> None:
    """Older ones know no peak; without swap, devices or a limit there is nothing to tell of them."""
    left = {name: UNIFIED[name] for name in ("cpu.stat", "memory.current", "memory.stat", "memory.events")}
    kernel.unified(ID, {**left, "memory.max": "max\n"})
    kernel.process(PID, f"0::/{ID}\n")
    found = kernel.read()
    assert found is not None and (found.memory_bytes, found.processes) == (750, 0)
    assert (found.details.memory_limit_bytes, found.details.memory_most_bytes, found.details.read_bytes) == (0, 0, 0)


def test_without_pids_and_devices_the_rest_is_told(kernel: Kernel) -> None:
    kernel.split(ID, {name: text for name, text in SPLIT.items() if name.startswith(("cpuacct", "memory"))})
    kernel.process(PID, of_split(f"/{ID}"))
    found = kernel.read()
    assert found is not None and (found.memory_bytes, found.processes, found.details.cpu_periods) == (750, 0, 0)


@pytest.mark.parametrize("told", [f"0::/../../docker/{ID}\n", f"0::/docker/{'d' * 64}\n", f"0::/elsewhere/{ID}\n", "0::/\n"])
def test_what_is_not_to_be_seen_or_another_containers_is_not_read(kernel: Kernel, told: str) -> None:
    kernel.unified(f"docker/{ID}")
    kernel.process(PID, told)
    assert kernel.read() is None


def test_groups_without_memory_are_none(kernel: Kernel) -> None:
    """As where nobody gave the group above that controller: the engine has nothing to tell either."""
    kernel.unified(ID, {"cpu.stat": UNIFIED["cpu.stat"]})
    kernel.process(PID, f"0::/{ID}\n")
    assert kernel.read() is None


def test_of_a_process_that_is_gone_nothing_is_found(kernel: Kernel) -> None:
    kernel.unified(ID)
    assert kernel.read() is None


def test_groups_are_seen_on_the_machine_and_not_in_a_container(kernel: Kernel) -> None:
    kernel.unified("system.slice/knarr.service")
    kernel.process(1, "0::/init.scope\n")
    kernel.process("self", "0::/system.slice/knarr.service\n")
    assert kernel.are_seen()


def test_a_view_of_its_own_shows_no_others(kernel: Kernel) -> None:
    kernel.unified(".")
    kernel.process(1, "0::/../../..\n")
    kernel.process("self", "0::/\n")
    assert not kernel.are_seen()


def test_trees_that_begin_at_ones_own_group_show_no_others(kernel: Kernel) -> None:
    kernel.split(".")
    kernel.process(1, of_split("/docker/other"))
    kernel.process("self", of_split("/docker/own"))
    assert not kernel.are_seen()


@pytest.fixture
async def runtime() -> AsyncIterator[tuple[DockerRuntime, str, str]]:
    """It, the reference of an image, and the group of a pod."""
    async with docker() as (made, settings, image):
        await made.start()
        group = pod_group(root_of(settings.cluster_id, settings.node_name), "Burstable", str(uuid.uuid4()))
        yield made, image, parent(group, CGROUPFS)


async def busy(runtime: DockerRuntime, image: str, group: str) -> None:
    """A pod whose container has computed, kept and written something, and waits now."""
    sandbox = await runtime.create_sandbox(SandboxPlan(PodRef("default", "web", str(uuid.uuid4())), 0, "web", cgroup_parent=group))
    script = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; head -c 4000000 /dev/zero > /tmp/kept; touch /tmp/done; sleep 1000"
    plan = ContainerPlan(
        sandbox.pod, sandbox.id, "app", 0, image, "", process=Process(("/bin/busybox", "sh", "-c", script)),
        limits=Limits(memory_bytes=64 << 20), cgroup_parent=group,
    )  # fmt: skip
    container = await runtime.create_container(plan)
    await runtime.start_container(container, sandbox.pod)
    session = await runtime.exec(
        container.id, ("/bin/busybox", "sh", "-c", "until [ -e /tmp/done ]; do usleep 20000; done"), stdin=False, tty=False
    )
    while await session.read() is not None:
        pass
    await session.close()


@pytest.mark.docker
async def test_the_engine_tells_the_same(runtime: tuple[DockerRuntime, str, str]) -> None:
    made, image, group = runtime
    made._interfaces._may_lay = False
    await busy(made, image, group)
    assert made._meter.reads_groups
    (read,) = await made.usage()
    assert all(made._meter._found.values()), "nobody asked the engine"
    made._meter._found.clear()
    made._meter.reads_groups = False
    (told,) = await made.usage()
    assert (read.pod, read.container, read.processes) == (told.pod, told.container, told.processes)
    assert read.cpu_nanoseconds == pytest.approx(told.cpu_nanoseconds, rel=0.05) and read.cpu_nanoseconds > 10_000_000
    assert read.memory_bytes == pytest.approx(told.memory_bytes, rel=0.2, abs=STOCK_BYTES)
    for name in ("memory_usage_bytes", "memory_most_bytes"):
        assert getattr(read.details, name) == pytest.approx(getattr(told.details, name), rel=0.1, abs=STOCK_BYTES), name
    for name in ("memory_limit_bytes", "memory_failures", "cpu_user_nanoseconds", "page_faults", "cache_bytes"):
        assert getattr(read.details, name) == pytest.approx(getattr(told.details, name), rel=0.1), name
