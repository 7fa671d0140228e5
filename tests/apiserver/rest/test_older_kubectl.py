"""A kubectl that asks OpenAPI v2 before it does anything: 1.20 and its likes up to 1.26, against a whole API server.

``KUBECTL_BEFORE`` names one; else that of ``KUBERNETES_BIN`` is taken.
"""

from __future__ import annotations

import os

import pytest

from tests.apiserver.rest.kubectl import Kubectl
from tests.apiserver.rest.live import LiveServer
from tests.peer.kube_apiserver import binary

pytestmark = [pytest.mark.etcd, pytest.mark.peer]

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


@pytest.fixture
async def older(live: LiveServer, kubectl: Kubectl) -> Kubectl:
    """In a namespace of the test's own."""
    return Kubectl(live, kubectl.namespace, os.environ.get("KUBECTL_BEFORE") or binary("kubectl"))


async def test_explain(older: Kubectl) -> None:
    found = (await older("explain", "pod.spec.containers")).out
    assert "RESOURCE: containers <[]Object>" in found
    assert "   command\t<[]string>" in found
    recursive = (await older("explain", "deployment", "--recursive")).out
    assert "maxSurge\t<string>" in recursive and "matchLabels\t<map[string]string>" in recursive


async def test_apply_merges_by_the_keys_of_the_schema(older: Kubectl) -> None:
    assert (await older("apply", "-f", "-", stdin=DEPLOYMENT)).out == "deployment.apps/d created\n"
    assert (await older("apply", "-f", "-", stdin=DEPLOYMENT)).out == "deployment.apps/d unchanged\n"
    patch = '{"spec":{"template":{"spec":{"containers":[{"name":"c","env":[{"name":"B","value":"2"}]}]}}}}'
    await older("patch", "deployment", "d", "-p", patch)
    assert (await older("apply", "-f", "-", stdin=DEPLOYMENT.replace("i:1", "i:2"))).out == "deployment.apps/d configured\n"
    container = "{.spec.template.spec.containers[0]"
    assert (await older("get", "deployment", "d", "-o", f"jsonpath={container}.env[*].name}} {container}.image}}")).out == "B A i:2"


async def test_dry_runs_and_diff_keep_nothing(older: Kubectl) -> None:
    await older("apply", "-f", "-", stdin=DEPLOYMENT)
    changed = DEPLOYMENT.replace("replicas: 2", "replicas: 5")
    assert (await older("apply", "--dry-run=server", "-f", "-", stdin=changed)).out == "deployment.apps/d configured (server dry run)\n"
    diff = await older.try_("diff", "-f", "-", stdin=changed)
    assert diff.code == 1 and "-  replicas: 2" in diff.out and "+  replicas: 5" in diff.out, diff.err
    await older("create", "--dry-run=server", "configmap", "x", "--from-literal=a=b")
    await older("patch", "deployment", "d", "--dry-run=server", "-p", '{"spec":{"replicas":7}}')
    assert (await older("get", "deployment,configmap", "-o", "jsonpath={.items[*].metadata.name} {.items[0].spec.replicas}")).out == "d 2"


async def test_unknown_fields_are_refused(older: Kubectl) -> None:
    refused = await older.refused("create", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndat: {a: b}\n")
    assert 'unknown field "dat"' in refused


async def test_a_definition_is_published_in_v2(older: Kubectl) -> None:
    await older("apply", "-f", "-", stdin=DEFINITION)
    await older("wait", "--for=condition=established", "crd/crontabs.older.example.com", "--timeout=10s")
    assert "   cron\t<string>" in (await older("explain", "crontab.spec")).out
    await older("apply", "-f", "-", stdin=CRON_TAB % "1")
    assert (await older("apply", "--dry-run=server", "-f", "-", stdin=CRON_TAB % "2")).out.endswith("configured (server dry run)\n")
    assert (await older("get", "crontab", "c", "-o", "jsonpath={.spec.cron}")).out == "1"


async def test_other_commands(older: Kubectl) -> None:
    await older("apply", "-f", "-", stdin=DEPLOYMENT)
    assert "CONTAINERS" in (await older("get", "deployment", "-o", "wide")).out
    assert "Replicas:" in (await older("describe", "deployment", "d")).out
    assert "deployments" in (await older("api-resources", "--api-group=apps")).out
    await older("scale", "deployment", "d", "--replicas=1")
    await older("set", "image", "deployment/d", "c=i:3")
    await older("label", "deployment", "d", "x=y")
    await older("rollout", "restart", "deployment", "d")
    assert (await older("delete", "deployment", "d")).out == 'deployment.apps "d" deleted\n'
