"""Logs, exec, attach and statistics of real containers, through KubeletService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.kubelet.v1 import kubelet_service_pb2 as pb
from knarr.machinery.errors import StatusError
from services.kubelet.runtime.docker.streams import FrameReader
from services.kubelet.runtime.port import ExecCheck
from services.kubelet.servicer import KubeletServicer
from tests.kubelet.docker_support import docker
from tests.kubelet.support import Cluster, make_pod, running


class Call:
    """The servicer's side of a call: whether it has said that the command runs."""

    def __init__(self) -> None:
        self.runs = False

    async def send_initial_metadata(self, _: object) -> None:
        self.runs = True


REF = pb.ContainerRef(namespace="default", pod="web", container="app")


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[tuple[Cluster, KubeletServicer, str]]:
    async with docker() as (runtime, _, image), running(runtime, tmp_path) as found:
        yield found, KubeletServicer(found.kubelet.manager, runtime, found.kubelet.stats), image


async def start(cluster: Cluster, image: str, script: str, **container: Any) -> core.Pod:
    pod = make_pod()
    pod.spec.termination_grace_period_seconds = 1
    app = pod.spec.containers[0]
    app.image = image
    app.command.extend(["sh", "-c", script])
    app.MergeFrom(core.Container(**container))
    await cluster.client.create(pod)
    return await cluster.ready()


async def logs(servicer: KubeletServicer, **options: Any) -> bytes:
    return b"".join([piece.data async for piece in servicer.Logs(pb.LogsRequest(container=REF, **options), None)])


async def exec_(servicer: KubeletServicer, *command: str, stdin: bytes = b"", **options: Any) -> tuple[bytes, bytes, Any]:
    async def requests() -> AsyncIterator[pb.ExecRequest]:
        begin = pb.ExecStart(container=REF, command=command, stdin=bool(stdin), stdout=True, stderr=True, **options)
        yield pb.ExecRequest(start=begin)
        if stdin:
            yield pb.ExecRequest(stdin=stdin)
        yield pb.ExecRequest(stdin_closed=True)
        await asyncio.sleep(30)

    out, err, status, call = b"", b"", None, Call()
    async with asyncio.timeout(20):
        async for answer in servicer.Exec(requests(), call):
            assert call.runs
            out, err = out + answer.stdout, err + answer.stderr
            status = answer.status if answer.HasField("status") else status
    return out, err, status


@pytest.mark.docker
async def test_logs(cluster: tuple[Cluster, KubeletServicer, str]) -> None:
    running_cluster, servicer, image = cluster
    await start(running_cluster, image, "for i in 1 2 3; do echo line $i; done; echo oops >&2; exec sleep 1000")

    async def complete() -> bytes:
        while b"oops" not in (found := await logs(servicer)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return found

    async with asyncio.timeout(10):
        assert sorted((await complete()).split(b"\n")) == [b"", b"line 1", b"line 2", b"line 3", b"oops"]
    assert len((await logs(servicer, tail_lines=2)).splitlines()) == 2
    assert await logs(servicer, tail_lines=0) == b""
    assert len(await logs(servicer, limit_bytes=9)) == 9
    assert await logs(servicer, stream="Stdout") == b"line 1\nline 2\nline 3\n"
    assert await logs(servicer, stream="Stderr", limit_bytes=4) == b"oops"
    assert await logs(servicer, stream="All") == await logs(servicer)
    assert (await logs(servicer, timestamps=True, tail_lines=1))[:4].isdigit()
    assert await logs(servicer, since_seconds=3600) == await logs(servicer)
    with pytest.raises(StatusError, match="previous terminated container"):
        await logs(servicer, previous=True)


@pytest.mark.docker
async def test_followed_logs_end_with_the_container_and_the_previous_ones_stay(cluster: tuple[Cluster, KubeletServicer, str]) -> None:
    running_cluster, servicer, image = cluster
    pod = await start(running_cluster, image, "echo mine; while [ ! -e /tmp/end ]; do sleep 0.05; done; echo bye; exit 5")
    following = asyncio.create_task(logs(servicer, follow=True))
    await exec_(servicer, "sh", "-c", "echo > /tmp/end")
    async with asyncio.timeout(20):
        assert (await following).splitlines() == [b"mine", b"bye"]
    await running_cluster.until(lambda: running_cluster.pod().status.container_statuses[0].restart_count == 1)  # type: ignore[union-attr]
    assert (await logs(servicer, previous=True)).splitlines() == [b"mine", b"bye"]
    assert pod.status.container_statuses[0].restart_count == 0


# A file of 3 MB of numbered lines, forty times as fast as the engine takes it; the engine rotates at 10 MiB and keeps five files.
RUSH = """busybox awk 'BEGIN { for (i = 0; i < 3000; i++) printf "%04d %0995d\\n", i, i }' > /tmp/lines
while [ ! -e /tmp/begin ]; do sleep 0.05; done
i=0; while [ $i -lt 40 ]; do cat /tmp/lines; i=$((i+1)); done; busybox sleep 1000"""


@pytest.mark.docker
async def test_a_follower_of_a_log_that_is_rotated_away_misses_no_line(cluster: tuple[Cluster, KubeletServicer, str]) -> None:
    running_cluster, servicer, image = cluster
    await start(running_cluster, image, RUSH)
    await exec_(servicer, "sh", "-c", "echo > /tmp/begin")
    found, place = 0, b""
    request = pb.LogsRequest(container=REF, follow=True)
    async with asyncio.timeout(60), aclosing(servicer.Logs(request, None)) as stream:  # type: ignore[type-var]
        async for piece in stream:
            *lines, place = (place + piece.data).split(b"\n")
            for line in lines:
                assert len(line) == 1000 and line[:4] == b"%04d" % (found % 3000)
                found += 1
            if found == 120_000:
                break


LONG = "printf '\\307\\321\\n'; head -c 50000 /dev/zero | tr '\\0' A; echo END; echo last; exec sleep 1000"


@pytest.mark.docker
@pytest.mark.parametrize("tty", [False, True])
async def test_bytes_come_out_as_they_are_and_a_long_line_is_one(cluster: tuple[Cluster, KubeletServicer, str], tty: bool) -> None:
    running_cluster, servicer, image = cluster
    await start(running_cluster, image, LONG, tty=tty)
    end = b"\r\n" if tty else b"\n"
    lines = [b"\307\321" + end, b"A" * 50_000 + b"END" + end, b"last" + end]
    async with asyncio.timeout(10):
        while (found := await logs(servicer)).count(b"\n") < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert found == b"".join(lines)
    for count in (1, 2, 3, 4):
        assert await logs(servicer, tail_lines=count) == b"".join(lines[-count:])
    stamped = (await logs(servicer, timestamps=True, tail_lines=2)).splitlines(keepends=True)
    assert [line.partition(b"Z ")[2] for line in stamped] == lines[1:]


@pytest.mark.docker
async def test_a_command_that_nobody_waits_for_any_more_ends(cluster: tuple[Cluster, KubeletServicer, str]) -> None:
    running_cluster, servicer, image = cluster
    pod = await start(running_cluster, image, "exec sleep 1000")
    runtime = running_cluster.runtime
    container = pod.status.container_statuses[0].container_id.partition("://")[2]
    timed_out = await runtime.check(container, ExecCheck(("sh", "-c", "sleep 71 & sleep 72")), 0.5)
    assert not timed_out.success and "timed out" in timed_out.output
    session = await runtime.exec(container, ("sh", "-c", "echo begun; sleep 73"), stdin=False, tty=False)
    assert await session.read() == (1, b"begun\n")
    await session.close()
    out, _, _ = await exec_(servicer, "sh", "-c", "for p in /proc/[0-9]*; do cat $p/cmdline; echo; done")
    assert [line for line in out.split(b"\n") if b"sleep\x007" in line] == []


@pytest.mark.docker
async def test_exec(cluster: tuple[Cluster, KubeletServicer, str]) -> None:
    running_cluster, servicer, image = cluster
    await start(running_cluster, image, "exec sleep 1000")
    out, err, status = await exec_(servicer, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (out, err) == (b"out\n", b"err\n")
    assert (status.status, status.reason) == ("Failure", "NonZeroExitCode")
    assert [(cause.reason, cause.message) for cause in status.details.causes] == [("ExitCode", "7")]
    big = b"x" * 300_000
    out, _, status = await exec_(servicer, "wc", "-c", stdin=big)
    assert (out.strip(), status.status) == (b"300000", "Success")
    out, _, _ = await exec_(servicer, "hostname")
    assert out == b"web\n"
    out, _, _ = await exec_(servicer, "sh", "-c", "echo $0", tty=True)
    assert out == b"sh\r\n"
    with pytest.raises(StatusError, match="is not valid for pod web"):
        await anext(servicer.Logs(pb.LogsRequest(container=pb.ContainerRef(namespace="default", pod="web", container="other")), None))
    with pytest.raises(StatusError, match='pods "none" not found'):
        await anext(servicer.Logs(pb.LogsRequest(container=pb.ContainerRef(namespace="default", pod="none")), None))


@pytest.mark.docker
async def test_attach_and_statistics(cluster: tuple[Cluster, KubeletServicer, str]) -> None:
    running_cluster, servicer, image = cluster
    await start(running_cluster, image, "read word; echo got $word; exec sleep 1000", stdin=True)

    async def requests() -> AsyncIterator[pb.AttachRequest]:
        yield pb.AttachRequest(start=pb.ExecStart(container=REF, stdin=True, stdout=True))
        yield pb.AttachRequest(stdin=b"hello\n")
        await asyncio.sleep(30)

    stream = servicer.Attach(requests(), Call())
    async with asyncio.timeout(10):
        first = await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    assert first.stdout == b"got hello\n"
    stats = await servicer.GetStats(pb.GetStatsRequest(), None)
    assert stats.containers[0].container == REF and stats.containers[0].memory_bytes > 0
    listed = await servicer.ListPods(pb.ListPodsRequest(), None)
    assert listed.pods[0].sandbox_id and listed.pods[0].activity == "running"


def test_frames_are_cut_wherever_the_bytes_break() -> None:
    data = b"\x01\0\0\0\0\0\0\x03abc" + b"\x02\0\0\0\0\0\0\x00" + b"\x02\0\0\0\0\0\0\x02de"
    for size in range(1, len(data) + 1):
        reader, found = FrameReader(), {1: b"", 2: b""}
        for begin in range(0, len(data), size):
            for stream, piece in reader.feed(data[begin : begin + size]):
                found[stream] += piece
        assert found == {1: b"abc", 2: b"de"}, size


async def forward(servicer: KubeletServicer, port: int, *, by_address: bool = False) -> bytes:
    """What an HTTP server says to a client that has said everything."""

    async def requests() -> AsyncIterator[pb.PortForwardRequest]:
        yield pb.PortForwardRequest(start=pb.PortForwardStart(namespace="default", pod="web", port=port, by_address=by_address))
        yield pb.PortForwardRequest(data=b"GET /word HTTP/1.0\r\n\r\n")

    async with asyncio.timeout(20):
        return b"".join([piece.data async for piece in servicer.PortForward(requests(), Call())])


@pytest.mark.docker
async def test_ports_are_reached_on_the_pods_loopback_and_on_its_address(cluster: tuple[Cluster, KubeletServicer, str]) -> None:
    running_cluster, servicer, image = cluster
    await start(running_cluster, image, "exec sleep 1000")
    serve = "busybox mkdir /w; echo hello > /w/word; busybox httpd -h /w -p 127.0.0.1:80; busybox httpd -h /w -p 0.0.0.0:81"
    # In the foreground each of them listens when it has come back.
    assert (await exec_(servicer, "sh", "-c", serve))[2].status == "Success"
    for port, by_address in ((80, False), (81, False), (81, True)):
        assert (await forward(servicer, port, by_address=by_address)).endswith(b"hello\n")
    with pytest.raises(StatusError, match=r"dial tcp .*:80: connect: connection refused"):
        await forward(servicer, 80, by_address=True)
    with pytest.raises(StatusError, match="failed to connect to localhost:82 inside the pod: connection refused"):
        await forward(servicer, 82)
    with pytest.raises(StatusError, match="port 0 is not between 1 and 65535"):
        await forward(servicer, 0)
