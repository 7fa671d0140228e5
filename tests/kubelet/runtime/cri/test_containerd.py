"""The CRI runtime on a containerd that runs: streams, logs, what containers see, and faults of the engine."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from knarr.api.containerd.leases.v1 import leases_pb2 as leases
from knarr.api.containerd.snapshots.v1 import snapshots_pb2 as snapshots
from services.kubelet.node.mounts import mount_tmpfs, unmount_all
from services.kubelet.runtime.cri import CriRuntime, CriSettings
from services.kubelet.runtime.cri.engine import Engine
from services.kubelet.runtime.cri.image_import import import_image
from services.kubelet.runtime.cri.log_files import generations, log_path
from services.kubelet.runtime.cri.runtime import remove_everything
from services.kubelet.runtime.plan import ContainerPlan, Limits, Namespaces, PodRef, Process, SandboxPlan, Security
from services.kubelet.runtime.port import EXITED, RUNNING, Container, ExecCheck, LogOptions, RuntimeFailure, Sandbox
from tests.kubelet.containerd_support import IMAGE, Containerd, cri
from tests.kubelet.docker_support import busybox_archive
from tests.kubelet.support import output_of, until

pytestmark = pytest.mark.docker

LINES, ROTATIONS = 1000, 3


@dataclass
class World:
    runtime: CriRuntime
    settings: CriSettings
    sandbox: Sandbox
    pod: PodRef

    async def run(self, *command: str, name: str = "app", **plan: Any) -> Container:
        process = plan.pop("process", Process(command))
        container = await self.runtime.create_container(
            ContainerPlan(self.pod, self.sandbox.id, name, 0, IMAGE, "hash", process=process, **plan)
        )
        await self.runtime.start_container(container, self.pod)
        return container

    async def said(self, container: Container) -> str:
        options = LogOptions(follow=True)
        return b"".join([piece async for piece in self.runtime.logs(container.id, options)]).decode()

    def latest(self, name: str = "app") -> Container:
        observation = self.runtime.observe(self.pod.uid)
        found = observation.latest(name) if observation else None
        assert found is not None
        return found


@asynccontextmanager
async def world(made: Containerd, **settings: Any) -> AsyncIterator[World]:
    async with cri(made, replace(made.settings(), **settings)) as (runtime, used):
        await runtime.start()
        following = asyncio.create_task(runtime.run())
        pod = PodRef("default", "web", str(uuid.uuid4()))
        yield World(runtime, used, await runtime.create_sandbox(SandboxPlan(pod, 0, "web")), pod)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_commands_and_their_streams(own_containerd: Containerd) -> None:
    async with world(own_containerd) as it:
        main = await it.run(process=Process(("sh", "-c", "read x; echo got $x; exec sleep 1000"), stdin=True))
        attached = await it.runtime.attach(main.id, stdin=True, tty=False)
        await attached.write(b"hello\n")
        assert await attached.read() == (1, b"got hello\n")
        await attached.close()

        session = await it.runtime.exec(main.id, ("sh", "-c", "cat; echo bad >&2; exit 5"), stdin=True, tty=False)
        given = bytes(range(256)) * 2000
        reading = asyncio.create_task(output_of(session))
        await session.write(given)
        await session.close_stdin()
        assert await reading == {1: given, 2: b"bad\n"}
        assert await session.exit_code() == 5
        await session.close()

        # The engine tells a terminal its size beside what is typed, so the line may come before it.
        sized = 'read go; until size=$(stty size 2>/dev/null) && [ "$size" ]; do :; done; echo "$size"'
        session = await it.runtime.exec(main.id, ("sh", "-c", sized), stdin=True, tty=True)
        await session.resize(100, 40)
        await session.write(b"go\n")
        assert (await output_of(session))[1].endswith(b"40 100\r\n")
        assert await session.exit_code() == 0
        await session.close()

        session = await it.runtime.exec(main.id, ("no-such-program",), stdin=False, tty=False)
        await output_of(session)
        with pytest.raises(RuntimeFailure, match="executable file not found"):
            await session.exit_code()
        await session.close()

        assert (await it.runtime.check(main.id, ExecCheck(("true",)), 5)).success
        late = await it.runtime.check(main.id, ExecCheck(("sleep", "77")), 0.3)
        assert (late.success, late.output) == (False, 'command "sleep 77" timed out')
        assert not (await it.runtime.check(main.id, ExecCheck(("no-such-program",)), 5)).success
        (used,) = await it.runtime.usage()
        assert used.container == "app" and used.cpu_nanoseconds > 0 < used.memory_bytes
        (network,) = await it.runtime.sandbox_usage()
        assert [found.interface for found in network.details.networks] == ["eth0"]


async def test_a_follower_loses_nothing_while_the_log_is_rotated(own_containerd: Containerd) -> None:
    async with world(own_containerd, log_max_bytes=8 << 10, log_check_seconds=3600.0) as it:
        script = f"while read x; do i=0; while [ $i -lt {LINES} ]; do echo line $x $i; i=$((i+1)); done; done; printf end; exit 3"
        main = await it.run(process=Process(("sh", "-c", script), stdin=True, stdin_once=True))
        following = asyncio.create_task(it.said(main))
        attached = await it.runtime.attach(main.id, stdin=True, tty=False)
        draining = asyncio.create_task(output_of(attached))
        path = log_path(it.settings.logs, it.pod, "app", 0)
        for count in range(1, ROTATIONS + 1):
            await attached.write(f"{count}\n".encode())
            await until(lambda: path.exists() and path.stat().st_size > it.settings.log_max_bytes)
            # While it still writes.
            await it.runtime._log_keeper.look()
            assert len(generations(path)) > 1
        await attached.close_stdin()
        wanted = [*(f"line {count} {number}" for count in range(1, ROTATIONS + 1) for number in range(LINES)), "end"]
        assert (await following).split("\n") == wanted
        await draining
        await attached.close()
        files = generations(path)
        assert len(files) == ROTATIONS + 1
        again = b"".join([piece async for piece in it.runtime.logs(main.id, LogOptions())])
        assert again.decode().split("\n") == wanted
        tail = b"".join([piece async for piece in it.runtime.logs(main.id, LogOptions(tail_lines=len(wanted) - 6))])
        assert tail.decode().split("\n") == wanted[6:]
        await until(lambda: it.latest().state == EXITED)
        assert it.latest().exit_code == 3
        await it.runtime.remove_container(main, it.pod)
        assert generations(files[-1]) == []


async def test_a_disk_that_its_logs_have_filled_costs_lines_and_nothing_else(own_containerd: Containerd, tmp_path: Path) -> None:
    """Nothing crashes, the container goes on, and once there is room it is heard again."""
    logs = tmp_path / "pods"
    logs.mkdir()
    mount_tmpfs(logs, 0o755, 256 << 10)
    try:
        async with world(own_containerd, logs=logs, log_max_bytes=32 << 10, log_max_files=2, log_check_seconds=3600.0) as it:
            script = "while read x; do i=0; while [ $i -lt 200 ]; do echo $x $i; i=$((i+1)); done; done"
            main = await it.run(process=Process(("sh", "-c", script), stdin=True, stdin_once=True))
            attached = await it.runtime.attach(main.id, stdin=True, tty=False)
            draining = asyncio.create_task(output_of(attached))
            path = log_path(logs, it.pod, "app", 0)
            await attached.write(b"before\n")
            await until(lambda: b"before 199\n" in path.read_bytes())
            ballast = logs / "ballast"
            with pytest.raises(OSError, match="No space left"):
                ballast.write_bytes(b"x" * (1 << 20))
            following = asyncio.create_task(it.said(main))
            for number in range(20):
                await attached.write(b"full%d\n" % number)
                await it.runtime._log_keeper.look()
            ballast.unlink()
            # The first lines may still meet a full disk.
            while not any(b"after 199\n" in file.read_bytes() for file in generations(path)):
                await attached.write(b"after\n")
                await asyncio.sleep(0.05)
            assert it.latest().state == RUNNING
            await it.runtime._log_keeper.look()
            await attached.close_stdin()
            said = await following
            assert "before 199\n" in said and "after 199\n" in said
            await draining
            await attached.close()
            assert len(generations(path)) <= 2
            await until(lambda: it.latest().state == EXITED)
            assert it.latest().exit_code == 0
    finally:
        unmount_all(tmp_path)


# One field of what Linux says of a process.
STATUS = "while read a b; do case $a in {}:) echo $b;; esac; done </proc/self/status"
# What is run, how, and what it says.
SEEN: dict[str, tuple[str, dict[str, Any], str]] = {
    "its pod's name": ("echo $HOSTNAME $(hostname)", {}, "web web\n"),
    "its user": ("id -u; id -g; id -G", {"security": Security(user="1000:3000", supplemental_groups=(4000,))}, "1000\n3000\n3000 4000\n"),
    "a read-only root": ("(echo x >/x) 2>/dev/null || echo refused", {"security": Security(read_only_root=True)}, "refused\n"),
    "a hidden /proc": ("head -c 1 /proc/kcore 2>/dev/null | wc -c", {}, "0\n"),
    "a read-only /proc": ("(echo x >/proc/sys/kernel/hostname) 2>/dev/null || echo refused", {}, "refused\n"),
    "its capabilities": (
        STATUS.format("CapEff"),
        {"security": Security(cap_drop=("ALL",), cap_add=("NET_BIND_SERVICE",))},
        "0000000000000400\n",
    ),
    "no new privileges": (STATUS.format("NoNewPrivs"), {"security": Security(no_new_privileges=True)}, "1\n"),
    "its pod's processes": ("cat /proc/1/comm", {"namespaces": Namespaces(share_process=True)}, "pause\n"),
}


async def test_what_containers_see(own_containerd: Containerd) -> None:
    async with world(own_containerd) as it:
        found = {}
        for number, (what, (script, plan, _)) in enumerate(SEEN.items()):
            found[what] = await it.said(await it.run("sh", "-c", script, name=f"c{number}", **plan))
        assert found == {what: wanted for what, (_, _, wanted) in SEEN.items()}


async def test_an_image_is_shown_whatever_was_cut_off_before_and_only_its_own_node_hides_it(own_containerd: Containerd) -> None:
    name = "docker.io/knarr-test/files:1"
    async with world(own_containerd) as it, cri(own_containerd, replace(it.settings, node_name="node-2")) as (other, _):
        engine, key = Engine(own_containerd.endpoint, 60.0), f"knarr-{it.settings.cluster_id}-node-1-files"
        snapshotter = it.runtime._image_views.snapshotter

        async def leased() -> list[str]:
            found = (await engine.leases("List", leases.ListRequest())).leases
            return [lease.id for lease in found if it.settings.cluster_id in lease.id]

        await import_image(engine, name, busybox_archive() + bytes(512), {})
        image = await it.runtime.image(name)
        # Nothing of it lies unpacked yet; the lease that was made goes all the same.
        with pytest.raises(RuntimeFailure, match=f"image {name} is not unpacked by containerd's snapshotter {snapshotter}: pull it anew"):
            await it.runtime.show_image(image, "files")
        assert (await leased(), await it.runtime.hide_images(())) == ([key], ["files"])

        await it.runtime.create_container(ContainerPlan(it.pod, it.sandbox.id, "files", 0, name, "hash", process=Process(("true",))))
        shown = await it.runtime.show_image(image, "files")
        assert shown is not None and await it.runtime.show_image(image, "files") == shown
        # A lease that went alone: the next one takes its view over, and the collector leaves that alone.
        await engine.leases("Delete", leases.DeleteRequest(id=key))
        assert await it.runtime.show_image(image, "files") == shown
        await engine.leases("Create", leases.CreateRequest(id="passing"))
        await engine.leases("Delete", leases.DeleteRequest(id="passing", sync=True))
        await engine.snapshots("Mounts", snapshots.MountsRequest(snapshotter=snapshotter, key=key), key)

        await other.show_image(image, "files")
        assert len(await leased()) == 2
        assert (await other.hide_images({"files"}), await other.hide_images(())) == ([], ["files"])
        assert await leased() == [key]
        await remove_everything(it.settings, network=False)
        assert await leased() == []
        with pytest.raises(RuntimeFailure, match="not found"):
            await engine.snapshots("Mounts", snapshots.MountsRequest(snapshotter=snapshotter, key=key), key)
        await it.runtime.remove_image(name)
        await engine.close()


async def test_a_signal_that_the_pod_chose_ends_a_container(own_containerd: Containerd) -> None:
    async with world(own_containerd) as it:
        main = await it.run("sh", "-c", "trap 'exit 7' USR1; echo ready; while true; do sleep 0.05; done", stop_signal="SIGUSR1")
        async for piece in it.runtime.logs(main.id, LogOptions(follow=True)):
            assert piece == b"ready\n"
            break
        await it.runtime.stop_container(main, it.pod, 20)
        assert (it.latest().state, it.latest().exit_code, it.latest().stop_signal) == (EXITED, 7, "SIGUSR1")


async def test_pods_outlive_their_engine_and_what_ended_meanwhile_is_told(own_containerd: Containerd) -> None:
    async with world(own_containerd) as it:
        limits = Limits(102, 20_000, 64 << 20)
        await it.run("sleep", "1000", name="stays", limits=limits)
        await it.run("sh", "-c", "sleep 0.3; exit 6", name="goes")
        own_containerd.stop(signal.SIGKILL)
        await until(lambda: "does not answer" in it.runtime.trouble)
        with pytest.raises(RuntimeFailure):
            await it.runtime.image(f"{IMAGE}-other")
        own_containerd.start()
        await until(lambda: it.runtime.trouble == "")
        await until(lambda: it.latest("goes").state == EXITED)
        assert (it.latest("stays").state, it.latest("goes").exit_code) == (RUNNING, 6)
        # Another kubelet finds what this one made, and what it may use.
        async with cri(own_containerd, it.settings) as (next_one, _):
            await next_one.start()
            found = next_one.observe(it.pod.uid)
            assert found is not None and found.sandbox is not None and (found.sandbox.ready, found.sandbox.ip) == (True, it.sandbox.ip)
            adopted = found.latest("stays")
            assert adopted is not None and (adopted.state, adopted.spec_hash) == (RUNNING, "hash")
            assert adopted.limits is not None and replace(adopted.limits, oom_score_adj=0) == limits
            assert (await next_one.create_sandbox(SandboxPlan(it.pod, 0, "web"))).id == it.sandbox.id


async def test_what_ends_is_seen_without_a_list(own_containerd: Containerd) -> None:
    async with world(own_containerd, relist_seconds=3600.0) as it:
        await it.run("sh", "-c", "sleep 0.2; exit 9")
        await until(lambda: it.latest().state == EXITED)
        assert it.latest().exit_code == 9
        os.kill(await it.runtime._sandboxes.pid(it.sandbox.id), signal.SIGKILL)
        await until(lambda: (seen := it.runtime.observe(it.pod.uid)) is not None and seen.sandbox is not None and not seen.sandbox.ready)
        again = await it.runtime.create_sandbox(SandboxPlan(it.pod, 1, "web"))
        assert again.ready and again.id != it.sandbox.id
