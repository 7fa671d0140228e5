"""The plugin knarr.pytest, in runs of pytest of its own."""

from __future__ import annotations

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
        import os, time
        import pytest
        from kubernetes import client

        POD = {POD}
        seen = set()

        def test_a_pod_runs_and_kubectl_sees_it(cluster, namespace, kubectl, api):
            seen.add(namespace)
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
    assert found == {"passed": 8}, result.stdout.str()


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
        """
    )
    result, found = outcomes(runs, "-W", "ignore:Kubernetes version")
    assert found == {"passed": 2}, result.stdout.str()


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

        @pytest.mark.parametrize("number", range(4))
        def test_one(number, cluster, namespace):
            assert cluster.files.root.is_relative_to({str(kept)!r})
            server = cluster.kubeconfig_in(namespace)
            pathlib.Path({str(tmp_path)!r}, cluster.files.root.name).write_bytes(server)
        """
    )
    result, found = outcomes(runs, "-n", "2")
    assert found == {"passed": 4}, result.stdout.str()
    assert len(list(tmp_path.glob("knarr-*"))) == 2
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
    result, found = outcomes(runs, *arguments)
    assert found == {"errors": 1}
    assert words in result.stdout.str()


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
