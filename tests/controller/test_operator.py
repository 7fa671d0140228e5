"""An operator of the Go world's kind, on the real API server and its controllers: operator.py says what it does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.controller.live import TOKEN, LiveCluster, live_cluster
from tests.controller.operator import FINALIZER, GROUP, Connection, Operator
from tests.support.etcd import running_etcd

pytestmark = pytest.mark.etcd

DEFINITION = Path(__file__).parents[1] / "data/operator/applications.yaml"
SECONDS = 30.0
APPLICATION = """
apiVersion: apps.example.com/v1
kind: Application
metadata: {name: web}
spec:
  image: web:1
  endpoints: [{name: http, port: 80}]
  podTemplate: {spec: {terminationGracePeriodSeconds: 5, tolerations: [{key: a, operator: Exists}]}}
"""


def inlined(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """A schema of OpenAPI with all that it refers to in its place, as generators of definitions write it."""
    if "allOf" in schema:
        (part,) = schema["allOf"]
        schema = {**{key: value for key, value in schema.items() if key not in ("allOf", "default")}, **part}
    if "$ref" in schema:
        schema = {**schemas[schema["$ref"].rpartition("/")[2]], **{key: value for key, value in schema.items() if key != "$ref"}}
    if schema.get("format") == "int-or-string" or "oneOf" in schema:
        return {"x-kubernetes-int-or-string": True}
    found = {
        key: value for key, value in schema.items() if key in ("type", "required", "enum", "format") or key.startswith("x-kubernetes-list")
    }
    if "properties" in schema:
        found["properties"] = {name: inlined(part, schemas) for name, part in schema["properties"].items()}
    if "items" in schema:
        found["items"] = inlined(schema["items"], schemas)
    if "additionalProperties" in schema:
        found["additionalProperties"] = inlined(schema["additionalProperties"], schemas)
    # The keys of a list are required or have a default.
    for key in found.get("x-kubernetes-list-map-keys", ()):
        keyed = found["items"]
        if key not in keyed.get("required", ()):
            keyed["properties"][key] = {**keyed["properties"][key], "default": "TCP" if key == "protocol" else ""}
    return found


async def definition(connection: Connection) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(DEFINITION.read_text())
    schemas = (await connection("GET", "/openapi/v3/apis/apps/v1"))["components"]["schemas"]
    (template,) = (schema for name, schema in schemas.items() if name.endswith(".PodTemplateSpec"))
    for version in found["spec"]["versions"]:
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        spec["properties"]["podTemplate"] = inlined(template, schemas)
        # One is given by the operator.
        spec["properties"]["podTemplate"]["properties"]["spec"].pop("required", None)
    return found


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[LiveCluster]:
    with running_etcd(tmp_path) as etcd:
        async with live_cluster(etcd, tmp_path) as cluster:
            yield cluster


@pytest.fixture
async def connection(cluster: LiveCluster) -> AsyncIterator[Connection]:
    server = json.loads((cluster.folder / "kubeconfig").read_text())["clusters"][0]["cluster"]["server"]
    connection = Connection(server, str(cluster.folder / "ca.crt"), TOKEN)
    try:
        made = await connection("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", await definition(connection))
        assert len(json.dumps(made)) > 100_000
        await cluster.kubectl("wait", "--for=condition=Established", "crd/applications.apps.example.com")
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def running(operator: Operator) -> AsyncIterator[Operator]:
    task = asyncio.create_task(operator.run())
    try:
        yield operator
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            task.result()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_an_application_is_kept_and_let_go(cluster: LiveCluster, connection: Connection) -> None:
    async with running(Operator(connection, "default", "one")):
        await cluster.kubectl("apply", "-f", "-", stdin=APPLICATION)
        await cluster.kubectl("wait", "--for=condition=Ready", "application/web", f"--timeout={SECONDS:.0f}s")
        found = json.loads(await cluster.kubectl("get", "application", "web", "-o", "json"))
        assert found["spec"]["replicas"] == 1 and found["spec"]["interval"] == "30s"
        assert found["spec"]["endpoints"] == [{"name": "http", "port": 80, "protocol": "TCP"}]
        assert found["metadata"]["finalizers"] == [FINALIZER]
        pod = json.loads(await cluster.kubectl("get", "pods", "-o", "json"))["items"][0]
        assert pod["spec"]["terminationGracePeriodSeconds"] == 5 and pod["spec"]["containers"][0]["image"] == "web:1"
        table = (await cluster.kubectl("get", "appl")).splitlines()
        assert table[0].split() == ["NAME", "READY", "REPLICAS", "AGE"] and table[1].split()[:3] == ["web", "True", "1"]
        assert "Available" in await cluster.kubectl("events", "--for=application/web")

        await cluster.kubectl("scale", "application/web", "--replicas=3")
        await cluster.kubectl("wait", "--for=jsonpath={.status.replicas}=3", "application/web", f"--timeout={SECONDS:.0f}s")
        older = await connection("GET", f"/apis/{GROUP}/v1alpha1/namespaces/default/applications/web")
        assert older["apiVersion"] == f"{GROUP}/v1alpha1" and older["status"]["replicas"] == 3

        await cluster.kubectl("delete", "application", "web", f"--timeout={SECONDS:.0f}s")
        # The garbage collector takes what it owned.
        async with asyncio.timeout(SECONDS):
            while await cluster.names("deployments,replicasets,pods"):
                pass


async def test_what_it_applies_is_its_own(cluster: LiveCluster, connection: Connection) -> None:
    async with running(Operator(connection, "default", "one")):
        await cluster.kubectl("apply", "-f", "-", stdin=APPLICATION)
        await cluster.kubectl("wait", "--for=condition=Ready", "application/web", f"--timeout={SECONDS:.0f}s")
    path = "/apis/apps/v1/namespaces/default/deployments/web"
    mine = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"mine": "yes"}}}
    with pytest.raises(Exception, match=r'conflict with "application-controller": \.spec\.replicas'):
        await connection("PATCH", path, {**mine, "spec": {"replicas": 2}}, "application/apply-patch+yaml", fieldManager="me")
    await connection("PATCH", path, mine, "application/apply-patch+yaml", fieldManager="me")
    managers = {
        (one["manager"], one["operation"], one.get("subresource")) for one in (await connection("GET", path))["metadata"]["managedFields"]
    }
    assert {("application-controller", "Apply", None), ("me", "Apply", None)} <= managers
    application = await connection("GET", f"/apis/{GROUP}/v1/namespaces/default/applications/web")
    managers = {(one["manager"], one["operation"], one.get("subresource")) for one in application["metadata"]["managedFields"]}
    assert {("application-controller", "Update", None), ("application-controller", "Apply", "status")} <= managers


async def test_one_leads_and_the_next_takes_over(cluster: LiveCluster, connection: Connection) -> None:
    first, second = Operator(connection, "default", "first"), Operator(connection, "default", "second")
    async with running(first):
        await until(first.leads.is_set)
        async with running(second):
            await cluster.kubectl("apply", "-f", "-", stdin=APPLICATION)
            await until(lambda: first.reconciled > 0)
            assert not second.leads.is_set() and second.reconciled == 0
            await first.release()
            await until(second.leads.is_set)
            # What was there before it led comes in its first, streamed list.
            await until(lambda: second.reconciled > 0)
    lease = await connection("GET", "/apis/coordination.k8s.io/v1/namespaces/default/leases/application-controller")
    assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]) == ("second", 1)


async def test_watches_that_end_go_on_where_they_were(cluster: LiveCluster, connection: Connection) -> None:
    async with running(Operator(connection, "default", "one", watch_seconds=1)) as operator:
        for number in range(6):
            await cluster.kubectl("apply", "-f", "-", stdin=APPLICATION.replace("name: web}", f"name: web-{number}}}", 1))
            await until(partial(lambda number: operator.applications.watches > number // 2, number))
        await until(lambda: len(operator.applications.objects) == 6)
        await cluster.kubectl("delete", "applications", "--all", f"--timeout={SECONDS:.0f}s")
        await until(lambda: operator.applications.objects == {} and operator.applications.watches >= 3)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("image: web:1", "image: WEB", "spec.image in body should match"),
        ("image: web:1", "image: web:1\n  replicas: 101", "spec.replicas in body should be less than or equal to 100"),
        ("image: web:1", "image: web:1\n  class: huge", 'Unsupported value: "huge"'),
        ("port: 80}]", "port: 80}, {name: http, port: 81}]", "Duplicate value"),
        ("terminationGracePeriodSeconds: 5", "terminationGracePeriodSeconds: long", "must be of type integer"),
        ("key: a", "keys: a", 'unknown field "spec.podTemplate.spec.tolerations[0].keys"'),
    ],
)
async def test_what_the_definition_refuses(cluster: LiveCluster, connection: Connection, old: str, new: str, words: str) -> None:
    with pytest.raises(AssertionError, match="kubectl create") as refused:
        await cluster.kubectl("create", "-f", "-", stdin=APPLICATION.replace(old, new))
    assert words in str(refused.value)


async def test_what_cannot_be_changed_later(cluster: LiveCluster, connection: Connection) -> None:
    await cluster.kubectl("create", "-f", "-", stdin=APPLICATION.replace("image: web:1", "image: web:1\n  class: small"))
    for patch, words in (
        ('{"spec":{"class":"large"}}', "the class cannot be changed"),
        ('{"spec":{"class":null}}', "a class cannot be taken away"),
    ):
        with pytest.raises(AssertionError, match=words):
            await cluster.kubectl("patch", "application", "web", "--type=merge", "-p", patch)
