"""What a kubectl user does and sees: the real kubectl against a whole API server over TLS."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import yaml

from knarr.machinery.version import GIT_VERSION
from tests.apiserver.rest.kubectl import DEPLOYMENT, Kubectl

pytestmark = pytest.mark.etcd

POD = """
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: web, tier: front}}
spec: {containers: [{name: c, image: busybox}]}
"""
CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: web}}
data: {color: red}
"""


async def field(kubectl: Kubectl, what: str, path: str) -> str:
    return (await kubectl("get", *what.split(), "-o", f"jsonpath={{{path}}}")).out


class TestReading:
    async def test_version(self, kubectl: Kubectl) -> None:
        answer = await kubectl("version", "-o", "json")
        assert json.loads(answer.out)["serverVersion"]["gitVersion"] == GIT_VERSION
        assert "WARNING" not in answer.err

    async def test_api_resources_and_versions(self, kubectl: Kubectl) -> None:
        lines = (await kubectl("api-resources")).lines
        assert any(line.split()[:5] == ["deployments", "deploy", "apps/v1", "true", "Deployment"] for line in lines)
        assert any(line.split()[:5] == ["nodes", "no", "v1", "false", "Node"] for line in lines)
        assert "apps/v1" in (await kubectl("api-versions")).lines

    async def test_get_in_every_form(self, kubectl: Kubectl) -> None:
        await kubectl("create", "-f", "-", stdin=POD)
        table = (await kubectl("get", "pods")).lines
        assert (table[0].split(), table[1].split()[:4]) == (["NAME", "READY", "STATUS", "RESTARTS", "AGE"], ["p", "0/1", "Pending", "0"])
        assert "NODE" in (await kubectl("get", "pods", "-o", "wide")).lines[0].split()
        assert (await kubectl("get", "pods", "-o", "name")).out == "pod/p\n"
        assert yaml.safe_load((await kubectl("get", "pod", "p", "-o", "yaml")).out)["spec"]["containers"][0]["image"] == "busybox"
        assert json.loads((await kubectl("get", "pod", "p", "-o", "json")).out)["metadata"]["namespace"] == kubectl.namespace
        assert [line.split()[-1] for line in (await kubectl("get", "po", "--show-labels")).lines] == ["LABELS", "app=web,tier=front"]
        assert (await kubectl("get", "pods", "--sort-by=.metadata.name")).lines[1].startswith("p ")
        assert any(line.split()[:2] == [kubectl.namespace, "p"] for line in (await kubectl("get", "pods", "-A")).lines)
        assert "pod/p" in (await kubectl("get", "all")).out

    async def test_selectors(self, kubectl: Kubectl) -> None:
        await kubectl("create", "-f", "-", stdin=POD)
        await kubectl("create", "-f", "-", stdin=POD.replace("name: p,", "name: q,").replace("front", "back"))
        for arguments, names in (
            (["-l", "tier=front"], ["pod/p"]),
            (["-l", "tier in (front,back)"], ["pod/p", "pod/q"]),
            (["-l", "tier!=front,app"], ["pod/q"]),
            (["-l", "nope"], []),
            (["--field-selector", "metadata.name=q"], ["pod/q"]),
            (["--field-selector", "status.phase=Pending,spec.nodeName="], ["pod/p", "pod/q"]),
        ):
            assert (await kubectl("get", "pods", "-o", "name", *arguments)).lines == names
        assert "field label not supported: spec.nope" in await kubectl.refused("get", "pods", "--field-selector", "spec.nope=1")

    async def test_paging(self, kubectl: Kubectl) -> None:
        for number in range(5):
            await kubectl("create", "configmap", f"c{number}")
        assert len((await kubectl("get", "configmaps", "--chunk-size=2", "-o", "name")).lines) == 5

    async def test_what_is_not_there(self, kubectl: Kubectl) -> None:
        assert 'Error from server (NotFound): pods "none" not found' in await kubectl.refused("get", "pod", "none")
        assert 'the server doesn\'t have a resource type "nopes"' in await kubectl.refused("get", "nopes")
        assert "No resources found" in (await kubectl("get", "pods")).err

    async def test_a_resource_in_two_versions_and_in_two_groups(self, kubectl: Kubectl) -> None:
        await kubectl("create", "-f", "-", stdin=DEPLOYMENT)
        made = await kubectl("autoscale", "deployment", "web", "--min=2", "--max=5", "--cpu-percent=80")
        assert made.out == "horizontalpodautoscaler.autoscaling/web autoscaled\n"
        # Without the age, its last column, which is told in seconds.
        tables = [
            [line.split()[:-1] for line in (await kubectl("get", name, "web")).lines]
            for name in ("hpa", "horizontalpodautoscalers.v1.autoscaling", "horizontalpodautoscalers.v2.autoscaling")
        ]
        assert tables[0] == tables[1] == tables[2]
        assert tables[0][1][:3] == ["web", "Deployment/web", "cpu:"]
        assert await field(kubectl, "horizontalpodautoscalers.v1.autoscaling web", ".spec.targetCPUUtilizationPercentage") == "80"
        assert "Deployment/web" in (await kubectl("describe", "hpa", "web")).out
        about = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "namespace": kubectl.namespace}
        event = {
            "regarding": about,
            "type": "Normal",
            "reason": "Tried",
            "action": "Try",
        }
        event |= {"metadata": {"name": "tried"}, "note": "it was tried", "reportingController": "c", "reportingInstance": "c-1"}
        event |= {"apiVersion": "events.k8s.io/v1", "kind": "Event", "eventTime": "2026-01-01T00:00:00.000000Z"}
        await kubectl("create", "-f", "-", stdin=json.dumps(event))
        for name in ("events", "events.events.k8s.io"):
            assert "it was tried" in (await kubectl("get", name, "tried")).out
        assert "it was tried" in (await kubectl("events", "--for", "deployment/web")).out
        explained = (await kubectl("explain", "event.note", "--api-version=events.k8s.io/v1")).out
        assert "VERSION:" in explained and "events.k8s.io" in explained

    async def test_watch(self, kubectl: Kubectl) -> None:
        process = await kubectl.start("get", "configmaps", "-w", "-o", "name")
        assert process.stdout is not None
        try:
            await kubectl("create", "configmap", "one")
            async with asyncio.timeout(10):
                assert await process.stdout.readline() == b"configmap/one\n"
        finally:
            process.kill()
            await process.communicate()

    async def test_watch_as_a_table(self, kubectl: Kubectl) -> None:
        await kubectl("create", "configmap", "one", "--from-literal=a=b")
        process = await kubectl.start("get", "configmaps", "-w")
        assert process.stdout is not None
        try:
            async with asyncio.timeout(10):
                assert (await process.stdout.readline()).split() == [b"NAME", b"DATA", b"AGE"]
                assert (await process.stdout.readline()).split()[:2] == [b"one", b"1"]
                await kubectl("patch", "configmap", "one", "--type=merge", "-p", '{"data":{"c":"d"}}')
                assert (await process.stdout.readline()).split()[:2] == [b"one", b"2"]
        finally:
            process.kill()
            await process.communicate()

    @pytest.mark.parametrize("kind", ["pod", "deployment", "configmap", "service", "namespace"])
    async def test_describe(self, kubectl: Kubectl, kind: str) -> None:
        await kubectl("create", "-f", "-", stdin=f"{POD}---{DEPLOYMENT}---{CONFIG_MAP}")
        await kubectl("create", "service", "clusterip", "web", "--tcp=80")
        name = {"pod": "p", "configmap": "settings", "namespace": kubectl.namespace}.get(kind, "web")
        out = (await kubectl("describe", kind, name)).out
        assert out.startswith("Name:") and name in out.splitlines()[0]

    @pytest.mark.parametrize("path", ["pods", "pod.spec.containers.image", "deployments.spec.strategy", "configmap.data", "node.status"])
    async def test_explain(self, kubectl: Kubectl, path: str) -> None:
        out = (await kubectl("explain", path)).out
        assert "KIND:" in out and "DESCRIPTION:" in out


class TestWriting:
    @pytest.mark.parametrize(
        ("arguments", "what"),
        [
            (["configmap", "x", "--from-literal=a=b"], "configmap/x"),
            (["secret", "generic", "x", "--from-literal=a=b"], "secret/x"),
            (["deployment", "x", "--image=nginx", "--replicas=3"], "deployment.apps/x"),
            (["service", "nodeport", "x", "--tcp=80"], "service/x"),
            (["serviceaccount", "x"], "serviceaccount/x"),
        ],
    )
    async def test_create_with_protobuf_bodies(self, kubectl: Kubectl, arguments: list[str], what: str) -> None:
        assert (await kubectl("create", *arguments)).out == f"{what} created\n"
        assert (await kubectl("get", what, "-o", "name")).out == f"{what}\n"

    async def test_what_came_as_protobuf_can_be_changed_as_json(self, kubectl: Kubectl) -> None:
        await kubectl("create", "deployment", "x", "--image=nginx")
        await kubectl("label", "deployment", "x", "a=b")
        assert await field(kubectl, "deployment x", ".metadata.generation") == "1"
        await kubectl("scale", "deployment", "x", "--replicas=5")
        assert await field(kubectl, "deployment x", ".metadata.generation") == "2"

    async def test_apply(self, kubectl: Kubectl) -> None:
        assert (await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)).out == "deployment.apps/web created\n"
        assert (await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)).out == "deployment.apps/web unchanged\n"
        more = DEPLOYMENT.replace("replicas: 2", "replicas: 4")
        assert (await kubectl("apply", "-f", "-", stdin=more)).out == "deployment.apps/web configured\n"
        assert await field(kubectl, "deployment web", ".spec.replicas") == "4"
        without_ports = DEPLOYMENT.replace(", ports: [{containerPort: 80}]", "")
        await kubectl("apply", "-f", "-", stdin=without_ports)
        assert await field(kubectl, "deployment web", ".spec.template.spec.containers[0].ports") == ""

    async def test_a_list_is_created_and_applied_item_by_item(self, kubectl: Kubectl) -> None:
        items = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} for name in ("one", "two")]
        found = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        assert (await kubectl("create", "-f", "-", stdin=found)).lines == ["configmap/one created", "configmap/two created"]
        exported = (await kubectl("get", "configmaps", "one", "two", "-o", "yaml")).out
        assert "kind: List" in exported
        await kubectl("delete", "configmaps", "one", "two")
        assert (await kubectl("replace", "--force", "-f", "-", stdin=exported)).lines[-2:] == [
            "configmap/one replaced",
            "configmap/two replaced",
        ]

    @pytest.mark.parametrize(("api_version", "kind"), [("v1", "Nope"), ("example.com/v1", "Nope")])
    async def test_a_kind_that_is_not_served_is_named(self, kubectl: Kubectl, api_version: str, kind: str) -> None:
        stray = json.dumps({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}})
        for verb in ("create", "apply"):
            result = await kubectl.try_(verb, "-f", "-", stdin=stray)
            assert result.code == 1
            assert f'no matches for kind "{kind}" in version "{api_version}"' in result.err

    async def test_dry_run_and_diff(self, kubectl: Kubectl) -> None:
        assert "created (server dry run)" in (await kubectl("apply", "--dry-run=server", "-f", "-", stdin=CONFIG_MAP)).out
        assert (await kubectl.try_("get", "configmap", "settings")).code == 1
        await kubectl("apply", "-f", "-", stdin=CONFIG_MAP)
        found = await kubectl.try_("diff", "-f", "-", stdin=CONFIG_MAP.replace("red", "blue"))
        assert (found.code, "-  color: red" in found.out, "+  color: blue" in found.out) == (1, True, True)
        assert (await kubectl("diff", "-f", "-", stdin=CONFIG_MAP)).out == ""

    async def test_edit(self, kubectl: Kubectl) -> None:
        await kubectl("apply", "-f", "-", stdin=CONFIG_MAP)
        edited = await kubectl("edit", "configmap", "settings", KUBE_EDITOR="sed -i 's/color: red/color: green/'")
        assert edited.out == "configmap/settings edited\n"
        assert await field(kubectl, "configmap settings", ".data.color") == "green"

    async def test_patches(self, kubectl: Kubectl) -> None:
        await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
        strategic = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s"}]}}}}
        await kubectl("patch", "deployment", "web", "-p", json.dumps(strategic))
        assert await field(kubectl, "deployment web", ".spec.template.spec.containers[*].name") == "side c"
        await kubectl("patch", "deployment", "web", "--type=merge", "-p", '{"metadata":{"annotations":{"a":"b"}}}')
        test = {"op": "test", "path": "/metadata/annotations/a", "value": "b"}
        operations = [test, {"op": "replace", "path": "/spec/replicas", "value": 7}]
        await kubectl("patch", "deployment", "web", "--type=json", "-p", json.dumps(operations))
        assert await field(kubectl, "deployment web", ".spec.replicas") == "7"
        failing = json.dumps([{**test, "value": "c"}])
        assert "The request is invalid" in await kubectl.refused("patch", "deployment", "web", "--type=json", "-p", failing)

    async def test_label_annotate_and_replace(self, kubectl: Kubectl) -> None:
        await kubectl("create", "-f", "-", stdin=CONFIG_MAP)
        assert (await kubectl("label", "configmap", "settings", "app-", "tier=back")).out.startswith("configmap/settings")
        assert json.loads(await field(kubectl, "configmap settings", ".metadata.labels")) == {"tier": "back"}
        await kubectl("annotate", "configmap", "settings", "note=hello world")
        assert await field(kubectl, "configmap settings", ".metadata.annotations.note") == "hello world"
        assert "--overwrite is false" in await kubectl.refused("label", "configmap", "settings", "tier=front")
        assert (await kubectl("replace", "-f", "-", stdin=CONFIG_MAP.replace("red", "blue"))).out == "configmap/settings replaced\n"
        assert await field(kubectl, "configmap settings", ".data") == '{"color":"blue"}'

    async def test_scale_set_image_and_history(self, kubectl: Kubectl) -> None:
        await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
        assert (await kubectl("scale", "deployment/web", "--replicas=6")).out == "deployment.apps/web scaled\n"
        assert await field(kubectl, "deployment web", ".spec.replicas") == "6"
        assert "Expected replicas to be 1" in await kubectl.refused("scale", "deployment/web", "--replicas=6", "--current-replicas=1")
        assert (await kubectl("set", "image", "deployment/web", "c=nginx:2")).out == "deployment.apps/web image updated\n"
        assert await field(kubectl, "deployment web", ".spec.template.spec.containers[0].image") == "nginx:2"
        await kubectl("set", "env", "deployment/web", "A=1")
        await kubectl("set", "resources", "deployment/web", "--limits=cpu=200m")
        assert "restarted" in (await kubectl("rollout", "restart", "deployment/web")).out
        assert "paused" in (await kubectl("rollout", "pause", "deployment/web")).out
        assert "deployment.apps/web" in (await kubectl("rollout", "history", "deployment/web")).out

    async def test_wait_and_delete(self, kubectl: Kubectl) -> None:
        await kubectl("create", "-f", "-", stdin=f"{CONFIG_MAP}---{POD}")
        waiting = asyncio.create_task(kubectl("wait", "--for=delete", "configmap/settings", "--timeout=20s"))
        assert (await kubectl("delete", "configmap", "settings")).out.startswith('configmap "settings" deleted')
        await waiting
        patch = '{"status":{"conditions":[{"type":"Ready","status":"True"}]}}'
        waiting = asyncio.create_task(kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=20s"))
        await kubectl("patch", "pod", "p", "--subresource=status", "--type=merge", "-p", patch)
        assert (await waiting).out == "pod/p condition met\n"
        await kubectl("delete", "pod", "p", "--now")
        assert "NotFound" in await kubectl.refused("delete", "pod", "p")

    async def test_wait_with_watch_list(self, kubectl: Kubectl) -> None:
        await kubectl("create", "-f", "-", stdin=CONFIG_MAP)
        arguments = ("--for=jsonpath={.data.color}=red", "configmap/settings", "--timeout=10s")
        out = await kubectl("wait", *arguments, KUBE_FEATURE_WatchListClient="true")
        assert out.out == "configmap/settings condition met\n"

    async def test_delete_all_and_namespace(self, kubectl: Kubectl) -> None:
        for number in range(3):
            await kubectl("create", "configmap", f"c{number}")
        assert len((await kubectl("delete", "configmaps", "--all")).lines) == 3
        await kubectl("delete", "namespace", kubectl.namespace, "--wait=false")
        words = await kubectl.refused("create", "configmap", "late")
        assert f"unable to create new content in namespace {kubectl.namespace} because it is being terminated" in words


class TestRefusals:
    """The words that a user sees."""

    async def manifest(self, kubectl: Kubectl, text: str, verb: str = "create") -> str:
        return await kubectl.refused(verb, "-f", "-", stdin=text)

    async def test_a_wrong_type(self, kubectl: Kubectl) -> None:
        words = await self.manifest(kubectl, DEPLOYMENT.replace("replicas: 2", 'replicas: "two"'))
        assert 'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field' in words
        assert "spec.replicas of type int32" in words

    async def test_an_unknown_field(self, kubectl: Kubectl) -> None:
        words = await self.manifest(kubectl, DEPLOYMENT.replace("replicas:", "replica:"))
        assert 'strict decoding error: unknown field "spec.replica"' in words
        warned = await kubectl("create", "--validate=warn", "-f", "-", stdin=DEPLOYMENT.replace("replicas:", "replica:"))
        assert 'Warning: unknown field "spec.replica"' in warned.err
        await kubectl("delete", "deployment", "web")
        ignored = await kubectl("create", "--validate=ignore", "-f", "-", stdin=DEPLOYMENT.replace("replicas:", "replica:"))
        assert ignored.err == ""

    async def test_a_bad_quantity(self, kubectl: Kubectl) -> None:
        words = await self.manifest(kubectl, POD.replace("image: busybox", "image: busybox, resources: {limits: {cpu: lots}}"))
        assert "quantities must match the regular expression" in words

    async def test_an_invalid_object_names_every_field(self, kubectl: Kubectl) -> None:
        bad = DEPLOYMENT.replace("replicas: 2", "replicas: -1").replace("labels: {app: web}}\n    spec", "labels: {app: x}}\n    spec")
        words = await self.manifest(kubectl, bad)
        assert 'The Deployment "web" is invalid:' in words
        assert "* spec.replicas: Invalid value: -1: must be greater than or equal to 0" in words
        assert "`selector` does not match template `labels`" in words

    async def test_an_immutable_change(self, kubectl: Kubectl) -> None:
        await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
        changed = DEPLOYMENT.replace("{app: web}}\n  template", "{app: other}}\n  template")
        changed = changed.replace("labels: {app: web}}\n    spec", "labels: {app: other}}\n    spec")
        words = await self.manifest(kubectl, changed, "apply")
        assert 'The Deployment "web" is invalid: spec.selector: Invalid value' in words and "field is immutable" in words
        await kubectl("create", "-f", "-", stdin=POD)
        words = await self.manifest(kubectl, POD.replace("image: busybox", "image: busybox, command: [sh]"), "replace")
        assert "pod updates may not change fields other than" in words

    async def test_a_duplicate_name(self, kubectl: Kubectl) -> None:
        await kubectl("create", "configmap", "x")
        words = await kubectl.refused("create", "configmap", "x")
        assert words == 'error: failed to create configmap: configmaps "x" already exists\n'

    async def test_a_stale_resource_version(self, kubectl: Kubectl) -> None:
        await kubectl("create", "-f", "-", stdin=CONFIG_MAP)
        found = yaml.safe_load((await kubectl("get", "configmap", "settings", "-o", "yaml")).out)
        await kubectl("label", "configmap", "settings", "a=b")
        words = await self.manifest(kubectl, yaml.safe_dump(found), "replace")
        assert 'Operation cannot be fulfilled on configmaps "settings": the object has been modified' in words

    async def test_a_missing_namespace(self, kubectl: Kubectl) -> None:
        assert 'namespaces "nope" not found' in await kubectl.refused("create", "configmap", "x", "--namespace", "nope")

    async def test_without_credentials(self, kubectl: Kubectl) -> None:
        config = yaml.safe_load(kubectl.server.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": "wrong"}
        path = kubectl.server.folder / "kubeconfig-wrong"
        path.write_text(yaml.safe_dump(config))
        words = await kubectl.refused("get", "pods", "--kubeconfig", str(path))
        assert "You must be logged in to the server" in words


class TestNodes:
    """Logs and exec, with a scripted node behind the server."""

    @pytest.fixture
    async def pod(self, kubectl: Kubectl) -> Any:
        await kubectl.try_("create", "-f", "-", stdin="{apiVersion: v1, kind: Node, metadata: {name: node-1}}")  # perhaps there already
        await kubectl(
            "create", "-f", "-", stdin=POD.replace("spec: {", "spec: {nodeName: node-1, ").replace("name: c,", "name: c, stdin: true,")
        )
        await kubectl("patch", "pod", "p", "--subresource=status", "--type=merge", "-p", '{"status":{"phase":"Running"}}')

    async def test_logs(self, kubectl: Kubectl, pod: None) -> None:
        assert (await kubectl("logs", "p", "--tail=2")).out == "p/c line 0\np/c line 1\n"
        assert "container nope is not valid for pod p" in await kubectl.refused("logs", "p", "-c", "nope")

    @pytest.mark.parametrize("websockets", ["true", "false"])
    async def test_exec(self, kubectl: Kubectl, pod: None, websockets: str) -> None:
        over = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websockets}
        assert (await kubectl("exec", "p", "--", "echo", "hello", **over)).out == "echo hello\n"
        assert (await kubectl("exec", "-i", "p", "--", "cat", stdin="from stdin", **over)).out == "from stdin"
        found = await kubectl.try_("exec", "p", "--", "exit", "3", **over)
        assert (found.code, found.err.splitlines()[0]) == (3, "failing")

    @pytest.mark.parametrize("websockets", ["true", "false"])
    async def test_attach(self, kubectl: Kubectl, pod: None, websockets: str) -> None:
        over = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websockets}
        found = await kubectl("attach", "-i", "p", stdin="from stdin", **over)
        assert found.out == "attached\nfrom stdin"

    @pytest.mark.parametrize("websockets", ["true", "false"])
    async def test_port_forward(self, kubectl: Kubectl, pod: None, websockets: str) -> None:
        process = await kubectl.start("port-forward", "p", ":80", ":81", KUBECTL_PORT_FORWARD_WEBSOCKETS=websockets)
        assert process.stdout is not None and process.stderr is not None
        try:
            async with asyncio.timeout(20):
                ports: dict[str, int] = {}
                while len(ports) < 2:
                    line = (await process.stdout.readline()).decode()
                    if "127.0.0.1:" in line:
                        local, _, remote = line.rpartition("127.0.0.1:")[2].strip().partition(" -> ")
                        ports[remote] = int(local)
                for said in (b"one", b"two"):
                    reader, writer = await asyncio.open_connection("127.0.0.1", ports["80"])
                    writer.write(said)
                    assert await reader.readexactly(8) == b"echo " + said
                    writer.close()
                    await writer.wait_closed()
                _, writer = await asyncio.open_connection("127.0.0.1", ports["81"])
                assert b"failed to connect to localhost:81 inside the pod: connection refused" in await process.stderr.readline()
                writer.close()
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def test_exec_refused(self, kubectl: Kubectl, pod: None) -> None:
        assert "container nope is not valid for pod p" in await kubectl.refused("exec", "p", "-c", "nope", "--", "ls")
        assert 'pods "none" not found' in await kubectl.refused("exec", "none", "--", "ls")
