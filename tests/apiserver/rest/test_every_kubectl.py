"""kubectls of several years against a whole API server: those up to 1.26 ask OpenAPI v2 before they do anything."""

from __future__ import annotations

import asyncio
import re

import pytest

from knarr.api.core.v1 import core_pb2 as core
from tests.apiserver.rest.kubectl import Kubectl
from tests.apiserver.rest.live import LiveServer
from tests.support.clients import KUBECTL, Program

pytestmark = pytest.mark.etcd

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  replicas: 2
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec: {containers: [{name: c, image: "i:1", env: [{name: A, value: "1"}]}]}
"""
DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.older.example.com}
spec:
  group: older.example.com
  names: {plural: crontabs, kind: CronTab}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {cron: {type: string, description: When.}}}}
"""
CRON_TAB = """
apiVersion: older.example.com/v1
kind: CronTab
metadata: {name: c}
spec: {cron: "%s"}
"""


@pytest.fixture(params=KUBECTL, ids=str)
async def kubectl(request: pytest.FixtureRequest, live: LiveServer, kubectl: Kubectl) -> Kubectl:
    """In a namespace of the test's own."""
    program: Program = request.param
    return Kubectl(live, kubectl.namespace, program.path)


async def test_explain(kubectl: Kubectl) -> None:
    found = (await kubectl("explain", "pod.spec.containers")).out
    assert re.search(r"(RESOURCE: containers <\[\]Object>|FIELD: containers <\[\]Container>)", found)
    assert "  command\t<[]string>" in found
    recursive = (await kubectl("explain", "deployment", "--recursive")).out
    assert re.search(r"maxSurge\t<(string|IntOrString)>", recursive) and "matchLabels\t<map[string]string>" in recursive


async def test_apply_merges_by_the_keys_of_the_schema(kubectl: Kubectl) -> None:
    assert (await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)).out == "deployment.apps/d created\n"
    assert (await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)).out == "deployment.apps/d unchanged\n"
    patch = '{"spec":{"template":{"spec":{"containers":[{"name":"c","env":[{"name":"B","value":"2"}]}]}}}}'
    await kubectl("patch", "deployment", "d", "-p", patch)
    assert (await kubectl("apply", "-f", "-", stdin=DEPLOYMENT.replace("i:1", "i:2"))).out == "deployment.apps/d configured\n"
    container = "{.spec.template.spec.containers[0]"
    assert (await kubectl("get", "deployment", "d", "-o", f"jsonpath={container}.env[*].name}} {container}.image}}")).out == "B A i:2"


async def test_dry_runs_and_diff_keep_nothing(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    changed = DEPLOYMENT.replace("replicas: 2", "replicas: 5")
    assert (await kubectl("apply", "--dry-run=server", "-f", "-", stdin=changed)).out == "deployment.apps/d configured (server dry run)\n"
    diff = await kubectl.try_("diff", "-f", "-", stdin=changed)
    assert diff.code == 1 and "-  replicas: 2" in diff.out and "+  replicas: 5" in diff.out, diff.err
    await kubectl("create", "--dry-run=server", "configmap", "x", "--from-literal=a=b")
    await kubectl("patch", "deployment", "d", "--dry-run=server", "-p", '{"spec":{"replicas":7}}')
    assert (await kubectl("get", "deployment,configmap", "-o", "jsonpath={.items[*].metadata.name} {.items[0].spec.replicas}")).out == "d 2"


async def test_unknown_fields_are_refused(kubectl: Kubectl) -> None:
    refused = await kubectl.refused("create", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndat: {a: b}\n")
    assert 'unknown field "dat"' in refused


async def test_a_definition_is_published(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=DEFINITION)
    await kubectl("wait", "--for=condition=established", "crd/crontabs.older.example.com", "--timeout=10s")
    assert "  cron\t<string>" in (await kubectl("explain", "crontab.spec")).out
    await kubectl("apply", "-f", "-", stdin=CRON_TAB % "1")
    assert (await kubectl("apply", "--dry-run=server", "-f", "-", stdin=CRON_TAB % "2")).out.endswith("configured (server dry run)\n")
    assert (await kubectl("get", "crontab", "c", "-o", "jsonpath={.spec.cron}")).out == "1"


async def test_what_is_shown_of_objects(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    assert "CONTAINERS" in (await kubectl("get", "deployment", "-o", "wide")).out
    assert "Replicas:" in (await kubectl("describe", "deployment", "d")).out
    assert "deployments" in (await kubectl("api-resources", "--api-group=apps")).out
    assert "apps/v1" in (await kubectl("api-versions")).out.splitlines()
    assert "Server Version" in (await kubectl("version")).out
    assert (await kubectl("auth", "can-i", "create", "pods")).out == "yes\n"
    assert "is running at" in (await kubectl("cluster-info")).out


async def test_objects_are_changed(kubectl: Kubectl) -> None:
    await kubectl("create", "deployment", "d", "--image=i:1")
    await kubectl("scale", "deployment", "d", "--replicas=3", "--current-replicas=1")
    await kubectl("set", "image", "deployment/d", "*=i:3")
    await kubectl("set", "env", "deployment/d", "A=b")
    await kubectl("set", "resources", "deployment/d", "--limits=cpu=1")
    await kubectl("label", "deployment", "d", "x=y")
    await kubectl("annotate", "deployment", "d", "x=y")
    await kubectl("rollout", "pause", "deployment", "d")
    await kubectl("rollout", "resume", "deployment", "d")
    await kubectl("rollout", "restart", "deployment", "d")
    await kubectl("expose", "deployment", "d", "--port=80")
    await kubectl("autoscale", "deployment", "d", "--max=3")
    await kubectl("edit", "deployment", "d", KUBE_EDITOR="sed -i s/i:3/i:4/")
    jsonpath = "jsonpath={.spec.replicas} {.metadata.labels.x} {.metadata.annotations.x} {.spec.template.spec.containers[0].image}"
    assert (await kubectl("get", "deployment", "d", "-o", jsonpath)).out == "3 y y i:4"
    found = (await kubectl("get", "deployment", "d", "-o", "json")).out
    replaced = await kubectl("replace", "-f", "-", stdin=found.replace("i:4", "i:5"))
    assert replaced.out == "deployment.apps/d replaced\n"
    assert (await kubectl("get", "service,hpa", "-o", "name")).lines == ["service/d", "horizontalpodautoscaler.autoscaling/d"]
    assert (await kubectl("delete", "deployment", "d")).out.startswith('deployment.apps "d" deleted')
    await kubectl("delete", "hpa,service", "--all")


async def test_pods_are_run_and_users_named(kubectl: Kubectl) -> None:
    assert (await kubectl("run", "r", "--image=i:1")).out == "pod/r created\n"
    assert "serviceAccountName: default" in (await kubectl("get", "pod", "r", "-o", "yaml")).out
    await kubectl("delete", "pod", "r", "--now")
    if kubectl.version >= (1, 28):
        assert "admin" in (await kubectl("auth", "whoami")).out


async def test_two_managers_apply_on_the_server(kubectl: Kubectl) -> None:
    await kubectl("apply", "--server-side", "-f", "-", stdin=DEPLOYMENT)
    other = DEPLOYMENT.replace("replicas: 2", "replicas: 3")
    refused = await kubectl.refused("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=other)
    assert 'conflict with "kubectl"' in refused and ".spec.replicas" in refused
    await kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=other", "-f", "-", stdin=other)
    assert (await kubectl("get", "deployment", "d", "-o", "jsonpath={.spec.replicas}")).out == "3"


async def test_nodes_are_cordoned_and_tainted(kubectl: Kubectl) -> None:
    name = f"node-{kubectl.namespace}"
    await kubectl("create", "-f", "-", stdin=f"apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n")
    await kubectl("cordon", name)
    assert "SchedulingDisabled" in (await kubectl("get", "node", name)).out
    await kubectl("uncordon", name)
    await kubectl("taint", "node", name, "a=b:NoSchedule")
    await kubectl("drain", name)
    assert (await kubectl("get", "node", name, "-o", "jsonpath={.spec}")).out.count("effect") == 2
    await kubectl("delete", "node", name)


@pytest.fixture
async def pod(kubectl: Kubectl) -> None:
    """A pod named p on a scripted node."""
    await kubectl.try_("create", "-f", "-", stdin="apiVersion: v1\nkind: Node\nmetadata: {name: node-1}\n")  # perhaps there already
    spec = "{nodeName: node-1, containers: [{name: c, image: i, stdin: true}]}"
    pod = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {spec}\n"
    await kubectl("create", "-f", "-", stdin=pod)
    found = kubectl.server.call(kubectl.server.client.get(core.Pod, "p", kubectl.namespace))
    found.status.phase = "Running"
    kubectl.server.call(kubectl.server.client.update(found, subresource="status"))


async def test_streams(kubectl: Kubectl, pod: None) -> None:
    assert (await kubectl("logs", "p", "--tail=2")).out == "p/c line 0\np/c line 1\n"
    assert (await kubectl("exec", "p", "--", "echo", "hello")).out == "echo hello\n"
    assert (await kubectl("exec", "-i", "p", "--", "cat", stdin="from stdin")).out == "from stdin"
    assert (await kubectl.try_("exec", "p", "--", "exit", "3")).code == 3
    assert (await kubectl("attach", "-i", "p", stdin="from stdin")).out == "attached\nfrom stdin"
    process = await kubectl.start("port-forward", "p", ":80")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            line = (await process.stdout.readline()).decode()
            reader, writer = await asyncio.open_connection("127.0.0.1", int(line.split(" -> ")[0].rpartition(":")[2]))
            writer.write(b"one")
            assert await reader.readexactly(8) == b"echo one"
            writer.close()
            await writer.wait_closed()
    finally:
        process.kill()
        await process.communicate()


async def test_changes_are_watched(kubectl: Kubectl) -> None:
    process = await kubectl.start("get", "configmaps", "--watch", "--output-watch-events", "--no-headers")
    assert process.stdout is not None
    try:
        await kubectl("create", "configmap", "seen", "--from-literal=a=b")
        async with asyncio.timeout(20):
            assert (await process.stdout.readline()).split()[:2] == [b"ADDED", b"seen"]
            await kubectl("delete", "configmap", "seen")
            assert (await process.stdout.readline()).split()[:2] == [b"DELETED", b"seen"]
    finally:
        process.kill()
        await process.communicate()
