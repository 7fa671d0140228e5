"""Helm installs, upgrades, rolls back and removes a chart of ours, against the real API server and its controllers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.controller.live import LiveCluster, live_cluster
from tests.support import matrix
from tests.support.clients import HELM, Program
from tests.support.etcd import running_etcd

pytestmark = pytest.mark.etcd

CHART = Path(__file__).parents[1] / "data/chart"
TIMEOUT_SECONDS = 60.0
NEVER_AVAILABLE = "minReadySeconds=3600"


@dataclass
class Helm:
    """One version, on a cluster. Its caches and settings live in a folder of its own."""

    cluster: LiveCluster
    program: Program

    @property
    def is_4(self) -> bool:
        return self.program.version.startswith("4.")

    async def try_(self, *arguments: str) -> tuple[int, str]:
        """Runs to the end, however it ends: its exit code and what it said."""
        folder = self.cluster.folder / "helm"
        environment = {"HOME": str(folder), "KUBECONFIG": str(self.cluster.folder / "kubeconfig"), "PATH": os.environ["PATH"]}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(self.program.path, *arguments, stdout=pipe, stderr=pipe, env=environment)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"helm {' '.join(arguments)} did not end") from None
        assert process.returncode is not None
        matrix.ran(self.program.path, arguments, process.returncode)
        return process.returncode, out.decode() if process.returncode == 0 else err.decode()

    async def __call__(self, *arguments: str) -> str:
        """Runs and must succeed."""
        code, said = await self.try_(*arguments)
        assert code == 0, f"helm {' '.join(arguments)}: {said}"
        return said

    async def json(self, *arguments: str) -> Any:
        return json.loads(await self(*arguments, "-o", "json"))

    async def get(self, resource: str, *arguments: str) -> Any:
        return json.loads(await self.cluster.kubectl("get", resource, "-o", "json", *arguments))

    async def names(self, resource: str) -> list[str]:
        return await self.cluster.names(resource)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[LiveCluster]:
    with running_etcd(tmp_path) as etcd:
        async with live_cluster(etcd, tmp_path) as cluster:
            cluster.kubelet.ending = lambda pod: "Succeeded" if pod.spec.restart_policy == "Never" else None
            yield cluster


@pytest.fixture(params=HELM, ids=str)
def helm(request: pytest.FixtureRequest, cluster: LiveCluster) -> Helm:
    return Helm(cluster, request.param)


@pytest.fixture
def newest(cluster: LiveCluster) -> Helm:
    return Helm(cluster, HELM[-1])


async def test_a_release_is_installed_changed_rolled_back_and_removed(helm: Helm) -> None:
    installed = await helm.json("install", "one", str(CHART), "--wait", "--timeout", "50s")
    assert installed["info"]["status"] == "deployed"
    assert installed["info"]["notes"] == "hello: kubectl --namespace default get orders\n"
    deployment = await helm.get("deployment", "one-shop")
    assert deployment["status"]["availableReplicas"] == 2
    assert deployment["metadata"]["annotations"]["meta.helm.sh/release-name"] == "one"
    password = (await helm.get("secret", "one-shop"))["data"]["password"]
    everything = "serviceaccounts,configmaps,services,ingresses,poddisruptionbudgets,networkpolicies,roles,rolebindings,orders"
    kept = await helm.cluster.names(everything, "-l", "app.kubernetes.io/instance=one")
    assert len(kept) == 9 and set(kept) == {"one-shop"}
    assert [release["name"] for release in await helm.json("list")] == ["one"]

    await helm("upgrade", "one", str(CHART), "--set", "greeting=goodbye,replicas=3", "--wait", "--timeout", "50s")
    changed = await helm.get("deployment", "one-shop")
    assert changed["status"]["availableReplicas"] == changed["status"]["updatedReplicas"] == 3
    checksums = [found["spec"]["template"]["metadata"]["annotations"]["checksum/config"] for found in (deployment, changed)]
    assert checksums[0] != checksums[1]
    assert (await helm.get("order", "one-shop"))["spec"]["items"] == [{"name": "tea", "count": 3}]
    assert (await helm.get("secret", "one-shop"))["data"]["password"] == password
    assert await helm.json("get", "values", "one") == {"greeting": "goodbye", "replicas": 3}

    await helm("rollback", "one", "1", "--wait", "--timeout", "50s")
    back = await helm.get("deployment", "one-shop")
    assert back["spec"]["replicas"] == back["status"]["availableReplicas"] == 2
    assert back["spec"]["template"]["metadata"]["annotations"]["checksum/config"] == checksums[0]
    # The hooks of the revision that comes back ran again.
    assert (await helm.get("configmap", "one-shop-migration"))["data"] == {"revision": "1"}
    history = await helm.json("history", "one")
    assert [(entry["revision"], entry["status"]) for entry in history] == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    assert (await helm.json("status", "one"))["version"] == 3
    assert "kind: Deployment" in await helm("get", "manifest", "one")
    assert "helm.sh/hook: test" in await helm("get", "hooks", "one")
    assert "hello" in await helm("get", "all", "one")

    await helm("uninstall", "one", "--wait", "--timeout", "50s")
    assert await helm.json("list") == []
    assert await helm.names("deployments,ingresses,secrets,orders,roles") == []
    assert await helm.names("configmaps") == ["one-shop-farewell", "one-shop-migration"]
    assert await helm.names("customresourcedefinitions") == ["orders.shop.example.com"]


async def test_its_tests_run_as_pods(newest: Helm) -> None:
    await newest("install", "one", str(CHART), "--wait", "--timeout", "50s")
    assert "Succeeded" in await newest("test", "one", "--timeout", "50s")
    assert (await newest.get("pod", "one-shop-test"))["status"]["phase"] == "Succeeded"
    newest.cluster.kubelet.ending = lambda pod: "Failed" if pod.spec.restart_policy == "Never" else None
    code, said = await newest.try_("test", "one", "--timeout", "50s")
    assert code == 1 and "one-shop-test failed" in said


async def test_a_hook_that_fails_ends_the_install(newest: Helm) -> None:
    newest.cluster.kubelet.ending = lambda pod: "Failed" if pod.spec.restart_policy == "Never" else None
    code, said = await newest.try_("install", "one", str(CHART), "--timeout", "50s")
    assert code == 1 and "one-shop-migrate failed" in said
    assert (await newest.json("list", "--failed"))[0]["status"] == "failed"
    assert await newest.names("deployments") == []


async def test_an_upgrade_that_never_gets_ready_is_rolled_back(helm: Helm) -> None:
    await helm("install", "one", str(CHART), "--wait", "--timeout", "50s")
    atomic = "--rollback-on-failure" if helm.is_4 else "--atomic"
    code, said = await helm.try_("upgrade", "one", str(CHART), "--set", f"image.tag=2,{NEVER_AVAILABLE}", atomic, "--timeout", "2s")
    assert code == 1 and "been rolled back" in said, said
    deployment = await helm.get("deployment", "one-shop")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "shop:1"
    assert [entry["status"] for entry in await helm.json("history", "one")] == ["superseded", "failed", "deployed"]


async def test_a_dry_run_asks_the_server_and_keeps_nothing(newest: Helm) -> None:
    await newest("install", "one", str(CHART), "--wait", "--timeout", "50s")
    before = await newest.get("deployments,configmaps,secrets,orders")
    shown = await newest("upgrade", "one", str(CHART), "--set", "greeting=changed", "--dry-run=server")
    assert 'greeting: "changed"' in shown
    # What the chart looks up is there: a dry run on the server knows the password that was made.
    assert f"password: {(await newest.get('secret', 'one-shop'))['data']['password']}" in shown
    assert await newest.get("deployments,configmaps,secrets,orders") == before


async def test_objects_of_others_are_not_taken(newest: Helm) -> None:
    await newest.cluster.kubectl("create", "configmap", "one-shop", "--from-literal=a=b")
    code, said = await newest.try_("install", "one", str(CHART), "--no-hooks")
    assert code == 1 and "invalid ownership metadata" in said
    assert (await newest.get("configmap", "one-shop"))["data"] == {"a": "b"}


async def test_fields_of_other_managers_are_conflicts(newest: Helm) -> None:
    """Helm 4 applies on the server: who changed a field by the same way is not overwritten unasked."""
    await newest("install", "one", str(CHART), "--wait", "--timeout", "50s")
    other = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "one-shop"}, "spec": {"replicas": 5}}
    await newest.cluster.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=other", "-f", "-", stdin=json.dumps(other))
    code, said = await newest.try_("upgrade", "one", str(CHART), "--set", "replicas=3")
    assert code == 1 and 'conflict with "other"' in said and ".spec.replicas" in said, said
    await newest("upgrade", "one", str(CHART), "--set", "replicas=3", "--force-conflicts", "--wait", "--timeout", "50s")
    assert (await newest.get("deployment", "one-shop"))["status"]["availableReplicas"] == 3


async def test_an_autoscaled_release_leaves_the_replicas_alone(newest: Helm) -> None:
    await newest("install", "one", str(CHART), "--set", "autoscaling.enabled=true", "--wait", "--timeout", "50s")
    await newest.cluster.kubectl("scale", "deployment/one-shop", "--replicas=4")
    await newest("upgrade", "one", str(CHART), "--set", "autoscaling.enabled=true,image.tag=2", "--wait", "--timeout", "50s")
    deployment = await newest.get("deployment", "one-shop")
    assert deployment["spec"]["replicas"] == 4
    assert await newest.names("horizontalpodautoscalers") == ["one-shop"]


async def test_a_definition_is_made_before_its_objects_are_known(newest: Helm, tmp_path: Path) -> None:
    """A chart that brings its definitions among its templates: Helm sorts them first, and waits until each is established."""
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    (chart / "crds/orders.yaml").rename(chart / "templates/definition.yaml")
    (chart / "templates/order.yaml").unlink()
    await newest("install", "one", str(chart), "--wait", "--timeout", "50s")
    await newest.cluster.kubectl("create", "-f", "-", stdin="apiVersion: shop.example.com/v1\nkind: Order\nmetadata: {name: o}\nspec: {}\n")
    await newest("uninstall", "one", "--wait", "--timeout", "50s")
    assert await newest.names("customresourcedefinitions") == []
