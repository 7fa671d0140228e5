"""The kubelet's HTTPS: who may see what, and what the pages say."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from knarr.api.authentication.v1 import authentication_pb2 as authentication
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.machinery.errors import StatusError, Unauthorized, status_error
from knarr.service.authentication import AUTHENTICATED, MASTERS, TokenTable, User, hash_token
from knarr.service.client_certificates import CertifiedUser
from knarr.service.web.message import WebAnswer, WebFace, WebRequest
from services.kubelet.eviction.usage import Space, Written
from services.kubelet.image_flags import add_image_flags, image_settings
from services.kubelet.node.machine import read_machine
from services.kubelet.node.machine_use import DiskUse, MachineUse, read_machine_use
from services.kubelet.proc import max_processes
from services.kubelet.resource_flags import add_resource_flags, resource_settings
from services.kubelet.runtime.docker.usage import details_of, usage_of
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.plan import Limits, PodRef
from services.kubelet.runtime.port import Container, RuntimeFailure, Sandbox
from services.kubelet.runtime.usage import NetworkUse, Usage, UsageDetails
from services.kubelet.settings import KubeletSettings
from services.kubelet.shutdown_flags import add_shutdown_flags, shutdown_periods
from services.kubelet.web.cadvisor import cadvisor_metrics
from services.kubelet.web.callers import REFUSED_SECONDS, REMEMBERED_SECONDS, Callers
from services.kubelet.web.configz import configz
from services.kubelet.web.disks import measure
from services.kubelet.web.exposition import family
from services.kubelet.web.node_logs import NodeLogs
from services.kubelet.web.resource_metrics import resource_metrics
from services.kubelet.web.rights import subresources
from services.kubelet.web.summary import PodDisk, VolumeUse, only_cpu_and_memory, summary
from services.kubelet.web.survey import ContainerSurvey, NodeSurvey, PodSurvey
from tests.kubelet.support import NODE, Cluster, FiledRuntime, make_pod, running
from tests.support.virtual_time import virtual_time

ADMIN = User("admin", groups=(MASTERS, AUTHENTICATED))
SOMEBODY = User("somebody", groups=(AUTHENTICATED,))
TOKENS = TokenTable({hash_token("the API server's"): ADMIN})
NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVER = 1e12


def ask(path: str, user: User | None = ADMIN, method: str = "GET", **headers: str) -> WebRequest:
    path, _, query = path.partition("?")
    return WebRequest(method, path, query, headers, certified=CertifiedUser(user, 0, EVER) if user is not None else None)


async def body_of(answer: WebAnswer) -> bytes:
    return answer.body if isinstance(answer.body, bytes) else b"".join([piece async for piece in answer.body])


async def text(face: WebFace, path: str, **options: Any) -> str:
    answer = await face(ask(path, **options))
    assert answer.status == 200, await body_of(answer)
    return (await body_of(answer)).decode()


def values(lines: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """By metric; raises what is no exposition."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for metric in text_string_to_metric_families(lines):
        for sample in metric.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(HollowRuntime("10.244.0.0/24"), tmp_path) as found:
        await found.client.create(make_pod("web"))
        await found.ready()
        yield found


@pytest.fixture
def face(cluster: Cluster) -> WebFace:
    return cluster.kubelet.web(TOKENS)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/metrics", ("metrics",)),
        ("/metrics/cadvisor", ("metrics",)),
        ("/stats/summary", ("stats",)),
        ("/logs/a/b", ("log",)),
        ("/checkpoint/a/b/c", ("checkpoint",)),
        ("/pods", ("pods", "proxy")),
        ("/runningpods/", ("pods", "proxy")),
        ("/healthz/ping", ("healthz", "proxy")),
        ("/configz", ("configz", "proxy")),
        ("/podsx", ("proxy",)),
        ("/containerLogs/a/b/c", ("proxy",)),
        ("/metricsx", ("proxy",)),
        ("/", ("proxy",)),
    ],
)
def test_rights(path: str, expected: tuple[str, ...]) -> None:
    assert subresources(path) == expected


class TestFace:
    async def test_who_may_not(self, face: WebFace) -> None:
        unknown = await face(ask("/metrics", None))
        assert (unknown.status, unknown.body) == (401, b"Unauthorized\n")
        refused = await face(ask("/pods", SOMEBODY))
        assert refused.status == 403
        assert refused.body == b"Forbidden (user=somebody, verb=get, resource=nodes, subresource(s)=[pods proxy])\n"
        # Nothing is told of what there is to who may not see it.
        assert (await face(ask("/nothing", SOMEBODY))).status == 403
        assert (await face(ask("/pods", SOMEBODY, "PROPFIND"))).status == 403

    async def test_the_api_server_by_its_token(self, face: WebFace) -> None:
        assert (await face(ask("/healthz", None, authorization="Bearer the API server's"))).body == b"ok"

    async def test_methods_and_places_that_are_none(self, face: WebFace) -> None:
        for path, method, status in (
            ("/nothing", "GET", 404),
            ("/metrics/nothing", "GET", 404),
            ("/stats", "GET", 404),
            ("/pods/x", "GET", 404),
            ("/pods", "POST", 405),
            ("/exec/default/web/app", "POST", 400),
            ("/portForward/default/web", "GET", 400),
            ("/checkpoint/default/web/app", "POST", 404),
            ("/containerLogs/default/web", "GET", 400),
            ("/run/default/web/app", "POST", 400),
            ("/logs/?query=kubelet", "GET", 400),
        ):
            assert (await face(ask(path, method=method))).status == status, path

    async def test_health(self, cluster: Cluster, face: WebFace) -> None:
        assert await text(face, "/healthz") == await text(face, "/healthz/ping") == "ok"
        assert "[+]syncloop ok" in await text(face, "/healthz?verbose")
        assert (await face(ask("/healthz/other"))).status == 404
        cluster.kubelet._pods._synced.clear()
        failed = await face(ask("/healthz"))
        assert failed.status == 500 and b"[-]syncloop failed" in await body_of(failed)
        assert (await face(ask("/healthz?exclude=syncloop"))).status == 200

    async def test_pods(self, cluster: Cluster, face: WebFace) -> None:
        pods = codec.from_json(core.PodList, (await text(face, "/pods")).encode()).message
        assert [(pod.metadata.name, pod.status.phase) for pod in pods.items] == [("web", "Running")]
        ran = orjson.loads(await text(face, "/runningpods/"))
        assert (ran["kind"], ran["items"][0]["spec"]["containers"][0]["name"]) == ("PodList", "app")

    async def test_settings(self, face: WebFace) -> None:
        told = orjson.loads(await text(face, "/configz"))["kubeletconfig"]
        assert (told["kind"], told["maxPods"], told["port"]) == ("KubeletConfiguration", 110, 10250)

    async def test_metrics(self, face: WebFace) -> None:
        own = values(await text(face, "/metrics"))
        assert own["kubelet_node_name"] == [({"node": NODE}, 1)]
        assert own["kubelet_running_pods"] == [({}, 1)] and "knarr_kubelet_pods" in own
        resource = values(await text(face, "/metrics/resource"))
        labels = {"container": "app", "namespace": "default", "pod": "web"}
        assert resource["container_memory_working_set_bytes"] == [(labels, 1 << 20)]
        assert resource["resource_scrape_error"] == [({}, 0)]
        cadvisor = values(await text(face, "/metrics/cadvisor"))
        assert {found["pod"] for found, _ in cadvisor["container_cpu_usage_seconds_total"]} == {"web", ""}
        assert values(await text(face, "/metrics/slis"))["kubernetes_healthcheck"]

    async def test_an_engine_that_does_not_answer(self, cluster: Cluster, face: WebFace, monkeypatch: pytest.MonkeyPatch) -> None:
        async def usage() -> list[Usage]:
            raise RuntimeFailure("the engine is away")

        monkeypatch.setattr(cluster.runtime, "usage", usage)
        assert values(await text(face, "/metrics/resource")) == {"resource_scrape_error": [({}, 1)]}
        for path in ("/metrics/cadvisor", "/stats/summary"):
            answer = await face(ask(path))
            assert (answer.status, b"the engine is away" in await body_of(answer)) == (500, True)

    async def test_logs_of_containers(self, face: WebFace) -> None:
        for query in ("tailLines=1", "stream=All&tailLines=1", "stream=Stdout"):
            assert "hollow container app" in await text(face, f"/containerLogs/default/web/app?{query}")
        assert await text(face, "/containerLogs/default/web/app?stream=Stderr") == ""
        for path, words in (
            ("/containerLogs/default/web/none", b"container none is not valid for pod web"),
            ("/containerLogs/default/web/none?follow=true", b"container none is not valid for pod web"),
            (f"/containerLogs/default/web/app?tailLines={'9' * 5000}", b"tailLines: '99999999999999999999' is no number from 0 on"),
            ("/containerLogs/default/web/app?tailLines=-1", b"tailLines: '-1' is no number from 0 on"),
            ("/containerLogs/default/web/app?stream=both", b"invalid stream 'both': it must be one of All, Stdout, Stderr"),
            ("/containerLogs/default/web/app?follow=true&stream=", b"invalid stream ''"),
            ("/containerLogs/default/web/app?stream=Stdout&tailLines=1", b"tailLines cannot be given with the stream Stdout"),
            ("/containerLogs/default/web/app?sinceTime=now", b"invalid sinceTime 'now'"),
            ("/containerLogs/default/web/app?sinceTime=0001-01-01T00:00:00%2B05:00", b"invalid sinceTime '0001"),
        ):
            answer = await face(ask(path))
            assert (answer.status, words in await body_of(answer)) == (400, True), path
        assert (await face(ask("/containerLogs/default/none/app"))).status == 404

    async def test_a_command_that_cannot_be_run(self, face: WebFace) -> None:
        answer = await face(ask("/run/default/web/app?cmd=ls", method="POST"))
        assert answer.status == 500 and b"a hollow container runs no commands" in await body_of(answer)
        assert (await face(ask("/run/default/web/another-uid/app?cmd=ls", method="POST"))).status == 404


class Api:
    """Knows one token, as long as it is ``good``."""

    def __init__(self) -> None:
        self.asked, self.good, self.failure = 0, True, None

    failure: StatusError | None

    async def create(self, review: authentication.TokenReview) -> authentication.TokenReview:
        self.asked += 1
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        answer = authentication.TokenReview()
        answer.status.authenticated = self.good and review.spec.token == "token"
        answer.status.user.username = "prometheus"
        answer.status.user.groups.append("monitoring")
        answer.status.user.extra["a"].items.append("b")
        return answer


class TestCallers:
    @virtual_time
    async def test_tokens(self) -> None:
        api = Api()
        callers = Callers(api, TOKENS)  # type: ignore[arg-type]
        request = ask("/", SOMEBODY, authorization="Bearer token")
        found = await asyncio.gather(*(callers.user(request) for _ in range(5)))
        assert set(found) == {User("prometheus", groups=("monitoring",), extra=(("a", ("b",)),))} and api.asked == 1
        api.good = False
        assert (await callers.user(request)).name == "prometheus"
        await asyncio.sleep(REMEMBERED_SECONDS + 1)
        for _ in range(3):
            with pytest.raises(Unauthorized):
                # A certificate does not make up for it.
                await callers.user(request)
        assert api.asked == 2
        api.good = True
        await asyncio.sleep(REFUSED_SECONDS + 1)
        assert (await callers.user(request)).name == "prometheus"

    async def test_an_api_server_that_is_away(self) -> None:
        api = Api()
        callers = Callers(api, None)  # type: ignore[arg-type]
        api.failure = status_error("ServiceUnavailable", "away")
        with pytest.raises(StatusError, match="cannot ask the API server whose token this is: away"):
            await callers.user(ask("/", None, authorization="Bearer token"))
        api.failure = None
        assert (await callers.user(ask("/", None, authorization="Bearer token"))).name == "prometheus"

    @pytest.mark.parametrize("shown", ["Basic YTpi", "Bearer", "Bearer ", "Bearer " + "x" * 20_000])
    async def test_what_is_no_token(self, shown: str) -> None:
        api = Api()
        with pytest.raises(Unauthorized):
            await Callers(api, TOKENS).user(ask("/", SOMEBODY, authorization=shown))  # type: ignore[arg-type]
        assert api.asked == 0

    async def test_a_certificate_that_has_expired(self) -> None:
        callers = Callers(Api(), None, lambda: 100.0)  # type: ignore[arg-type]
        for ends, known in ((200, True), (99, False)):
            request = WebRequest("GET", "/", certified=CertifiedUser(SOMEBODY, 0, ends))
            if known:
                assert await callers.user(request) == SOMEBODY
            else:
                with pytest.raises(Unauthorized):
                    await callers.user(request)


MACHINE = read_machine(Path("/"))
REF = PodRef("default", "web", "uid")
DETAILS = UsageDetails(memory_usage_bytes=300, rss_bytes=200, page_faults=7, cpu_throttled_nanoseconds=2_500_000_000, read_bytes=11)
PAUSE = UsageDetails(memory_usage_bytes=10, networks=(NetworkUse("eth0", 1, 2, 3, 4, 5, 6, 7, 8),))
DISK = DiskUse(capacity=1000, available=400, used=600, inodes=100, inodes_free=90)


def survey(*, host_network: bool = False) -> NodeSurvey:
    container = Container("c1", "app", 0, "running", "app:1", started_at=NOW, limits=Limits(512, 50_000, 1000))
    one = ContainerSurvey(container, Usage(REF, "app", 1_500_000_000, 250, 3, DETAILS), 20_000_000)
    pod = make_pod("web", volumes=[core.Volume(name="data"), core.Volume(name="claim")])
    pod.spec.volumes[0].volume_source.empty_dir.SetInParent()
    pod.spec.volumes[1].volume_source.persistent_volume_claim.claim_name = "disk"
    pod.metadata.uid = "uid"
    sandbox = Sandbox("s1", REF, 0, True, "" if host_network else "10.244.0.2", NOW)
    machine = MachineUse(
        memory_total=5000, memory_available=4000, memory_free=3000, swap_total=100, swap_free=70, networks=(NetworkUse("eth0", 9),)
    )
    pods = (PodSurvey(pod, REF, sandbox, Usage(REF, "", 500_000_000, 10, 1, PAUSE), (one,)),)
    return NodeSurvey(NOW, 9_000_000_000, 1000, machine, DISK, pods, 123)


class TestPages:
    def test_cadvisor(self) -> None:
        disks = {"uid": PodDisk({}, {"app": Written(Space(20, 2), Space(5, 1))})}
        found = values("\n".join(cadvisor_metrics(survey(), MACHINE, disks)) + "\n")
        app = {
            "container": "app",
            "id": "/kubepods/besteffort/poduid/c1",
            "image": "app:1",
            "name": "c1",
            "namespace": "default",
            "pod": "web",
        }
        whole = {**app, "container": "", "id": "/kubepods/besteffort/poduid", "image": "", "name": ""}
        cpu = {(labels["id"], labels["cpu"]): value for labels, value in found["container_cpu_usage_seconds_total"]}
        assert cpu == {(app["id"], "total"): 1.5, (whole["id"], "total"): 2.0, ("/", "total"): 9.0}
        assert found["container_memory_usage_bytes"] == [(app, 300), (whole, 310)]
        assert found["container_cpu_cfs_throttled_seconds_total"][0] == (app, 2.5)
        assert found["container_spec_memory_limit_bytes"] == [(app, 1000)]
        assert found["container_spec_cpu_quota"] == [(app, 50_000)]
        assert found["container_start_time_seconds"] == [(app, NOW.timestamp())]
        assert ({**app, "failure_type": "pgfault", "scope": "container"}, 7) in found["container_memory_failures_total"]
        assert found["container_fs_reads_bytes_total"][0] == ({**app, "device": ""}, 11)
        sent = {labels["id"]: value for labels, value in found["container_network_transmit_bytes_total"]}
        assert sent == {"/": 0, "/kubepods/besteffort/poduid/s1": 5}
        assert {labels["id"]: value for labels, value in found["container_fs_usage_bytes"]} == {"/": 600, app["id"]: 25}
        assert found["container_fs_limit_bytes"][0][1] == 1000 and found["machine_cpu_cores"][0][1] == MACHINE.cpus

    def test_a_pod_in_the_nodes_network_has_none_of_its_own(self) -> None:
        found = values("\n".join(cadvisor_metrics(survey(host_network=True), MACHINE)) + "\n")
        assert [labels["id"] for labels, _ in found["container_network_receive_bytes_total"]] == ["/"]

    def test_resource(self) -> None:
        found = values("\n".join(resource_metrics(survey())) + "\n")
        assert found["pod_cpu_usage_seconds_total"] == [({"namespace": "default", "pod": "web"}, 2.0)]
        assert found["node_memory_working_set_bytes"] == [({}, 1000)] and found["node_swap_usage_bytes"] == [({}, 30)]
        # By the time of what was seen, from which rates are made.
        assert f" 9 {round(NOW.timestamp() * 1000)}" in next(
            line for line in resource_metrics(survey()) if line.startswith("node_cpu_usage_seconds_total")
        )

    def test_summary(self) -> None:
        volumes = {"data": VolumeUse(DISK, 70, 3), "claim": VolumeUse(DISK, 600, 10)}
        disks = {"uid": PodDisk(volumes, {"app": Written(Space(20, 2), Space(5, 1))})}
        told = summary(NODE, survey(), disks, 77, NOW)
        node, (pod,) = told["node"], told["pods"]
        assert node["cpu"] == {"time": "2026-01-01T00:00:00Z", "usageNanoCores": 123, "usageCoreNanoSeconds": 9_000_000_000}
        assert (node["memory"]["availableBytes"], node["fs"]["availableBytes"]) == (4000, 400)
        assert node["runtime"]["imageFs"]["usedBytes"] == 77 and node["swap"]["swapUsageBytes"] == 30
        assert pod["podRef"] == {"name": "web", "namespace": "default", "uid": "uid"}
        assert pod["memory"]["workingSetBytes"] == 260 and pod["process_stats"] == {"process_count": 4}
        assert pod["network"]["interfaces"] == [{"name": "eth0", "rxBytes": 1, "rxErrors": 3, "txBytes": 5, "txErrors": 7}]
        # A claim is no part of what ends with the pod.
        assert (pod["ephemeral-storage"]["usedBytes"], pod["ephemeral-storage"]["inodesUsed"]) == (95, 6)
        assert {volume["name"]: volume.get("pvcRef") for volume in pod["volume"]} == {
            "data": None, "claim": {"name": "disk", "namespace": "default"},
        }  # fmt: skip
        (app,) = pod["containers"]
        assert app["memory"]["availableBytes"] == 750 and app["rootfs"]["usedBytes"] == 20 and app["logs"]["usedBytes"] == 5
        less = only_cpu_and_memory(told)
        assert set(less["node"]) == {"nodeName", "systemContainers", "startTime", "cpu", "memory"}
        assert set(less["pods"][0]["containers"][0]) == {"name", "startTime", "cpu", "memory"}

    def test_exposition(self) -> None:
        lines = family("x", "gauge", "words", [({"a": 'q"\\\n'}, 0.1, None), ({}, 1e300, 5), ({}, 3.0, None)])
        assert lines[2:] == ['x{a="q\\"\\\\\\n"} 0.1', "x 1e+300 5", "x 3"]
        assert family("x", "gauge", "words", []) == []


async def test_volumes_are_measured(tmp_path: Path) -> None:
    async with running(FiledRuntime("10.244.0.0/24"), tmp_path) as cluster:
        pod = make_pod("web", volumes=[core.Volume(name="data")])
        pod.spec.volumes[0].volume_source.empty_dir.SetInParent()
        await cluster.client.create(pod)
        await cluster.ready()
        worker = cluster.kubelet.manager.find("default", "web")
        assert worker is not None
        (worker.volume_path("data") / "file").write_bytes(b"x" * 100_000)
        face = cluster.kubelet.web(TOKENS)
        (told,) = orjson.loads(await text(face, "/stats/summary"))["pods"]
        (volume,) = told["volume"]
        assert volume["name"] == "data" and 100_000 <= volume["usedBytes"] < 120_000 and volume["inodesUsed"] == 1


def test_what_an_own_file_system_holds() -> None:
    assert measure(Path("/proc")).used == 0
    with pytest.raises(OSError):
        measure(Path("/nowhere"))


def open_handles() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


async def test_logs_of_the_node(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "a&b").mkdir()
    (tmp_path / "log" / "messages").write_bytes(b"x" * 100_000)
    (tmp_path / "log" / "out").symlink_to("/etc/passwd")
    logs = NodeLogs(tmp_path / "log")
    listed = await logs.answer("")
    assert b'<a href="a%26b/">a&amp;b/</a>' in await body_of(listed)
    assert await body_of(await logs.answer("messages")) == b"x" * 100_000
    open_before = open_handles()
    unread = (await logs.answer("messages")).body
    assert not isinstance(unread, bytes)
    # As for a HEAD.
    await unread.aclose()  # type: ignore[attr-defined]
    assert open_handles() == open_before
    moved = await logs.answer("a&b")
    assert (moved.status, moved.headers) == (301, (("Location", "a%26b/"),))
    for path, reason in (("none", "NotFound"), ("out", "Forbidden"), ("../secret", "Forbidden"), ("messages/x", "Forbidden")):
        with pytest.raises(StatusError) as failed:
            await logs.answer(path)
        assert failed.value.reason == reason, path


def test_settings_are_told_as_they_were_given(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    for add in (add_resource_flags, add_image_flags, add_shutdown_flags):
        add(parser)
    words = (
        "--eviction-hard memory.available<100Mi,nodefs.available<7.5% --eviction-soft imagefs.available<2Gi --image-gc-high-threshold 90 "
        "--eviction-soft-grace-period imagefs.available=1m30s --eviction-minimum-reclaim nodefs.available=1Gi --max-parallel-image-pulls 3 "
        "--kube-reserved cpu=1500m,memory=1Gi,pid=1000 --shutdown-grace-period 30s --shutdown-grace-period-critical-pods 10s"
    )
    given = parser.parse_args(words.split())
    chosen = resource_settings(given) | image_settings(given)
    told = configz(KubeletSettings("n", tmp_path, "192.0.2.1", shutdown_periods=shutdown_periods(given), manifest_path=tmp_path, **chosen))
    found = told["kubeletconfig"]
    assert found["evictionHard"] == {"memory.available": "100Mi", "nodefs.available": "7.5%"}
    assert (found["evictionSoft"], found["evictionSoftGracePeriod"]) == ({"imagefs.available": "2Gi"}, {"imagefs.available": "1m30s"})
    assert (found["evictionMinimumReclaim"], found["kubeReserved"]) == (
        {"nodefs.available": "1Gi"},
        {"cpu": "1500m", "memory": "1Gi", "pid": "1k"},
    )
    assert (found["imageGCHighThresholdPercent"], found["imageMinimumGCAge"], found["maxParallelImagePulls"]) == (90, "2m0s", 3)
    assert [tuple(one.values()) for one in found["shutdownGracePeriodByPodPriority"]] == [(0, 20), (2_000_000_000, 10)]
    assert (found["staticPodPath"], "systemReserved" in found) == (str(tmp_path), False)


def test_what_this_machine_uses() -> None:
    found = read_machine_use()
    assert found.memory_total > found.memory_available > 0 and found.page_faults > 0
    assert 0 < found.processes < found.most_processes == max_processes() and found.booted_at is not None


def test_what_an_engine_tells() -> None:
    of_v1 = {
        "cpu_stats": {"cpu_usage": {"usage_in_usermode": 3}, "throttling_data": {"periods": 4}},
        "memory_stats": {"usage": 9, "limit": 9223372036854771712, "stats": {"total_rss": 5, "rss": 4, "total_pgfault": 6}},
        "blkio_stats": {
            "io_service_bytes_recursive": [{"op": "Read", "value": 1}, {"op": "Write", "value": 2}, {"op": "Read", "value": 3}]
        },
        "networks": {"eth0": {"rx_bytes": 1, "tx_dropped": 8}},
    }
    found = details_of(of_v1)
    assert (found.cpu_user_nanoseconds, found.cpu_periods, found.rss_bytes, found.page_faults, found.memory_limit_bytes) == (3, 4, 5, 6, 0)
    assert (found.read_bytes, found.written_bytes) == (4, 2)
    assert found.networks == (NetworkUse("eth0", 1, 0, 0, 0, 0, 0, 0, 8),)
    of_v2 = {"memory_stats": {"limit": 64, "stats": {"anon": 5, "file": 6}}, "blkio_stats": {"io_service_bytes_recursive": None}}
    assert (details_of(of_v2).rss_bytes, details_of(of_v2).cache_bytes, details_of(of_v2).memory_limit_bytes) == (5, 6, 64)
    assert details_of({}) == UsageDetails()
    cpu = {"cpu_usage": {"total_usage": 7}}
    for inactive in ({"total_inactive_file": 30, "inactive_file": 1}, {"inactive_file": 30}):
        told = {"cpu_stats": cpu, "memory_stats": {"usage": 100, "stats": inactive}, "pids_stats": {"current": 2}}
        assert usage_of(REF, "app", told) == Usage(REF, "app", 7, 70, 2, details_of(told))
