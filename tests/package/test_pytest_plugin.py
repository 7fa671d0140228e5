"""The plugin knarr.pytest, in runs of pytest of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.cluster_client import BIN, ROOT

pytest_plugins = ["pytester"]
# Each run loads a cluster anew.
pytestmark = pytest.mark.timeout(300)

EXAMPLE = ROOT / "examples/operator-tests"
POD = '{"metadata": {"name": "web"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}'


@pytest.fixture
def runs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    pytester.makeini("[pytest]\naddopts = -p knarr.pytest -p no:cacheprovider -p no:schemathesis -p no:anyio -p no:asyncio")
    return pytester


def outcomes(runs: pytest.Pytester, *arguments: str) -> tuple[pytest.RunResult, dict[str, int]]:
    result = runs.runpytest_subprocess(*arguments)
    return result, result.parseoutcomes()


def test_fixtures_and_faults(runs: pytest.Pytester) -> None:
    runs.makepyfile(
        f"""
        import gc, os, time
        import pytest
        from kubernetes import client

        POD = {POD}
        seen = set()

        def test_a_pod_runs_and_kubectl_sees_it(cluster, namespace, kubectl, api):
            seen.add(namespace)
            assert gc.isenabled()
            assert cluster.took.starting > 0
            client.CoreV1Api(api).create_namespaced_pod(namespace, POD)
            assert "condition met" in kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=20s")

        def test_a_namespace_is_a_tests_own_and_goes_with_it(cluster, namespace, kubectl):
            (former,) = seen
            assert namespace != former
            kubectl("wait", "--for=delete", f"namespace/{{former}}", "--timeout=20s")

        def test_kubectl_fails_with_its_error(kubectl):
            with pytest.raises(pytest.fail.Exception, match='pods "none" not found'):
                kubectl("get", "pod", "none")

        def test_kubectl_fails_where_it_does_not_end(kubectl, monkeypatch):
            monkeypatch.setattr("knarr.pytest.KUBECTL_SECONDS", 1.0)
            with pytest.raises(pytest.fail.Exception, match="kubectl get pods -w: it did not end within 1 s"):
                kubectl("get", "pods", "-w")

        def test_a_node_that_is_killed_is_missed_in_the_clusters_time(kubectl, inject):
            inject.kill_node()
            inject.clock.advance(60)
            assert "NotReady" in kubectl("get", "nodes")

        def test_faults_end_with_their_test(kubectl, inject):
            inject.clock.advance(20)
            assert "NotReady" not in kubectl("get", "nodes")
            with pytest.raises(ValueError, match="no node 'other'"):
                inject.kill_node("other")

        def test_writes_are_refused(namespace, api, inject):
            core = client.CoreV1Api(api)
            inject.refuse_writes(409, times=1)
            with pytest.raises(client.ApiException) as caught:
                core.create_namespaced_pod(namespace, POD)
            assert (caught.value.status, caught.value.reason) == (409, "Conflict")
            core.create_namespaced_pod(namespace, POD)

        def test_the_api_is_slow(namespace, api, inject):
            inject.delay_api(0.3)
            before = time.monotonic()
            client.CoreV1Api(api).list_namespaced_pod(namespace)
            assert time.monotonic() - before >= 0.3
            inject.clear()

        def test_clients_find_the_kubeconfig(kubeconfig):
            assert os.environ["KUBECONFIG"] == str(kubeconfig)
        """
    )
    result, found = outcomes(runs, "-W", "error")
    assert found == {"passed": 9}, result.stdout.str()


# Each sees what its fault does, by a client that knows nothing of it.
FAULTS = f"""
import http.client, json, ssl, time
import pytest
from kubernetes import client

POD = {POD}

def test_kill_node(kubectl, inject):
    inject.kill_node()
    inject.clock.advance(60)
    assert "NotReady" in kubectl("get", "nodes")

def test_revive_node(cluster, kubectl, inject):
    within = cluster.faults._within
    within.call(cluster.faults._set_dead("node", True))
    within.advance(60)
    assert "NotReady" in kubectl("get", "nodes")
    inject.revive_node()
    within.advance(20)
    assert "NotReady" not in kubectl("get", "nodes")

def test_refuse_writes(namespace, api, inject):
    inject.refuse_writes(503, times=1)
    core = client.CoreV1Api(api)
    with pytest.raises(client.ApiException) as caught:
        core.create_namespaced_pod(namespace, POD)
    assert caught.value.status == 503
    core.create_namespaced_pod(namespace, POD)

def test_delay_api(namespace, api, inject):
    inject.delay_api(0.5)
    before = time.monotonic()
    client.CoreV1Api(api).list_namespaced_pod(namespace)
    assert time.monotonic() - before >= 0.5

def watch(cluster, namespace):
    pki = cluster.files.pki
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    server = json.loads(cluster.kubeconfig.read_bytes())["clusters"][0]["cluster"]["server"].removeprefix("https://")
    connection = http.client.HTTPSConnection(server, context=context, timeout=3)
    connection.request("GET", f"/api/v1/namespaces/{{namespace}}/configmaps?watch=true")
    return connection.getresponse()

def test_drop_watches(cluster, namespace, inject):
    open_one = watch(cluster, namespace)
    assert json.loads(open_one.readline())["object"]["metadata"]["name"] == "kube-root-ca.crt"
    assert inject.drop_watches() >= 1
    # It ends, and is not only silent.
    with pytest.raises((ConnectionError, ssl.SSLError, http.client.HTTPException)):
        if open_one.readline() == b"":
            raise ConnectionError
    # Others may be opened.
    assert watch(cluster, namespace).readline()

def test_clock(namespace, api, inject):
    batch = client.BatchV1Api(api)
    template = {{"spec": {{"restartPolicy": "Never", "containers": POD["spec"]["containers"]}}}}
    spec = {{"schedule": "0 * * * *", "jobTemplate": {{"spec": {{"template": template}}}}}}
    batch.create_namespaced_cron_job(namespace, {{"metadata": {{"name": "hourly"}}, "spec": spec}})
    inject.clock.advance(3700)
    assert len(batch.list_namespaced_job(namespace).items) >= 1
"""
NOTHING = """
from knarr.pytest import faults

for name in ("kill_node", "revive_node", "refuse_writes", "delay_api", "drop_watches"):
    setattr(faults.Faults, name, lambda self, *given, **named: 1)
faults.Time.advance = lambda self, span: None
"""


@pytest.mark.parametrize(("faults", "expected"), [("", {"passed": 6}), (NOTHING, {"failed": 6})], ids=["injected", "that do nothing"])
def test_each_fault_is_seen_and_seen_to_be_missing(runs: pytest.Pytester, faults: str, expected: dict[str, int]) -> None:
    runs.makeconftest(faults)
    runs.makepyfile(FAULTS)
    result, found = outcomes(runs)
    assert found == expected, result.stdout.str()


def test_other_libraries(runs: pytest.Pytester) -> None:
    pytest.importorskip("kr8s")
    runs.makepyfile(
        f"""
        POD = {POD}

        def test_kr8s(kubeconfig, namespace):
            import kr8s
            from kr8s.objects import Pod
            api = kr8s.api(kubeconfig=str(kubeconfig), namespace=namespace)
            pod = Pod({{**POD, "metadata": {{"name": "web", "namespace": namespace}}}}, api=api)
            pod.create()
            pod.wait("condition=Ready", timeout=20)
            assert [found.name for found in api.get("pods")] == ["web"]

        def test_lightkube(kubeconfig, namespace):
            from lightkube import Client
            from lightkube.config.kubeconfig import KubeConfig
            from lightkube.models.core_v1 import Container, PodSpec
            from lightkube.models.meta_v1 import ObjectMeta
            from lightkube.resources.core_v1 import Pod
            client = Client(config=KubeConfig.from_file(kubeconfig))
            client.create(Pod(metadata=ObjectMeta(name="web"), spec=PodSpec(containers=[Container(name="c", image="x")])))
            client.wait(Pod, "web", for_conditions=["Ready"])

        def test_kubernetes_asyncio(kubeconfig, namespace):
            import asyncio
            from kubernetes_asyncio import client, config, watch

            async def until_ready():
                await config.load_kube_config(config_file=str(kubeconfig))
                async with client.ApiClient() as api, watch.Watch() as watching:
                    core = client.CoreV1Api(api)
                    await core.create_namespaced_pod(namespace, POD)
                    async for event in watching.stream(core.list_namespaced_pod, namespace, timeout_seconds=20):
                        conditions = event["object"].status.conditions or []
                        if any((one.type, one.status) == ("Ready", "True") for one in conditions):
                            break
                    else:
                        raise AssertionError("it did not become ready")
                    found = await core.patch_namespaced_pod("web", namespace, {{"metadata": {{"labels": {{"a": "b"}}}}}})
                    assert found.metadata.labels == {{"a": "b"}}

            asyncio.run(until_ready())
        """
    )
    result, found = outcomes(runs, "-W", "ignore:Kubernetes version")
    assert found == {"passed": 3}, result.stdout.str()


def test_the_example(runs: pytest.Pytester) -> None:
    pytest.importorskip("kopf")
    for path in EXAMPLE.iterdir():
        if path.is_file():
            (runs.path / path.name).write_bytes(path.read_bytes())
    result, found = outcomes(runs)
    assert found == {"passed": 3}, result.stdout.str()


def test_a_failure_is_told_with_why_a_pod_is_pending(runs: pytest.Pytester) -> None:
    runs.makepyfile(
        f"""
        import json

        def test_a_pod_that_is_too_large(kubectl):
            pod = {POD}
            pod["spec"]["containers"][0]["resources"] = {{"requests": {{"cpu": "1000"}}}}
            kubectl("apply", "-f", "-", stdin=json.dumps({{"kind": "Pod", "apiVersion": "v1", **pod}}))
            kubectl("wait", "--for=condition=PodScheduled=false", "pod/web", "--timeout=20s")
            assert not "ready"
        """
    )
    result, found = outcomes(runs)
    assert found == {"failed": 1}
    text = result.stdout.str()
    assert re.search(r"-+ namespace test-[0-9a-f]{8} -+\n", text), text
    assert "pod web is Pending: 0/1 nodes are available: 1 Insufficient cpu." in text
    assert "Warning FailedScheduling pod/web: 0/1 nodes are available" in text


def test_each_worker_has_a_cluster_and_nothing_of_it_stays(runs: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.setenv("TMPDIR", str(kept))
    runs.makepyfile(
        f"""
        import pathlib, pytest

        @pytest.mark.parametrize("number", range(8))
        def test_one(number, cluster, namespace):
            assert cluster.files.root.is_relative_to({str(kept)!r})
            server = cluster.kubeconfig_in(namespace)
            pathlib.Path({str(tmp_path)!r}, cluster.files.root.name).write_bytes(server)
        """
    )
    result, found = outcomes(runs, "-n", "4")
    assert found == {"passed": 8}, result.stdout.str()
    servers = {json.loads(path.read_bytes())["clusters"][0]["cluster"]["server"] for path in tmp_path.glob("knarr-*")}
    assert len(servers) == 4
    assert list(kept.glob("knarr-*")) == []


@pytest.mark.etcd
def test_several_nodes_over_etcd(runs: pytest.Pytester) -> None:
    runs.makepyfile(
        """
        def test_one_of_them_dies(kubectl, inject):
            names = kubectl("get", "nodes", "-o", "name").split()
            assert len(names) == 2
            (other,) = [name for name in names if name != "node/node"]
            inject.kill_node(other.removeprefix("node/"))
            inject.clock.advance(60)
            states = dict(line.split()[:2] for line in kubectl("get", "nodes", "--no-headers").splitlines())
            assert states == {"node": "Ready", other.removeprefix("node/"): "NotReady"}
        """
    )
    result, found = outcomes(runs, "--knarr-store=etcd", "--knarr-nodes", "2")
    assert found == {"passed": 1}, result.stdout.str()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--knarr-flavour=podman"], "knarr_flavour: 'podman' is none of hollow, docker"),
        (["-o", "knarr_store=disk"], "knarr_store: 'disk' is none of memory, etcd"),
        (["--knarr-nodes=0"], "knarr_nodes: '0' is not a number from 1 on"),
    ],
)
def test_a_choice_that_is_none_is_told_with_those_there_are(runs: pytest.Pytester, arguments: list[str], words: str) -> None:
    runs.makepyfile("def test_one(cluster): ...")
    result = runs.runpytest_subprocess(*arguments)
    assert (result.ret, result.stderr.str().strip()) == (pytest.ExitCode.USAGE_ERROR, f"ERROR: {words}")


def test_who_wants_no_cluster_loads_none(runs: pytest.Pytester) -> None:
    runs.makepyfile("import sys\n\ndef test_one():\n    assert not {'grpc', 'google.protobuf', 'knarr.pytest.clusters'} & set(sys.modules)")
    result, found = outcomes(runs)
    assert found == {"passed": 1}, result.stdout.str()


def test_fixtures_of_the_same_names_are_left_to_those_who_have_them(runs: pytest.Pytester) -> None:
    runs.makepyfile(
        """
        import pytest

        @pytest.fixture
        def cluster():
            return object()

        @pytest.fixture
        def namespace():
            return "mine"

        def test_fails(cluster, namespace):
            assert namespace == "other"
        """
    )
    result, found = outcomes(runs)
    assert found == {"failed": 1} and "INTERNALERROR" not in result.stdout.str(), result.stdout.str()


def test_a_test_may_delete_its_namespace_itself(runs: pytest.Pytester) -> None:
    runs.makepyfile(
        """
        import time

        def test_deletes(cluster, namespace):
            path = f"/api/v1/namespaces/{namespace}"
            cluster.api.request("DELETE", path)
            names = [namespace]
            deadline = time.monotonic() + 20
            while namespace in names and time.monotonic() < deadline:
                names = [one["metadata"]["name"] for one in cluster.api.request("GET", "/api/v1/namespaces")["items"]]
            assert namespace not in names

        def test_begins_to_delete(cluster, namespace):
            cluster.api.request("DELETE", f"/api/v1/namespaces/{namespace}")
        """
    )
    result, found = outcomes(runs)
    assert found == {"passed": 2}, result.stdout.str()
