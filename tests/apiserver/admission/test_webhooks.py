"""What webhooks are asked, and what becomes of their answers."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.autoscaling.v1 import autoscaling_pb2 as scale
from knarr.api.autoscaling.v2 import autoscaling_pb2 as v2
from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec
from knarr.machinery.errors import BadRequest, Forbidden, InternalError, Invalid, StatusError
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.results import Ref
from tests.apiserver.admission.reviewed import (
    CONFIG_MAPS,
    Json,
    Log,
    allowed,
    answering,
    config_map,
    denied,
    patched,
    ref,
    reviewed,
)
from tests.support.signing import CLIENT_SIGNER, certificate_request, signing_keys

ADD_LABEL = {"op": "add", "path": "/metadata/labels", "value": {"by": "webhook"}}


@pytest.mark.parametrize("sort", ["Mutating", "Validating"])
@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_a_create_is_told_as_kubernetes_tells_it(sort: str, version: str) -> None:
    async with reviewed() as world:
        await world.configure(sort, {"admissionReviewVersions": ["v9", version]})
        await world.written(config_map(a="b"), meta.CreateOptions(field_manager="m"))
        (body,) = world.webhook.asked
        request = body.pop("request")
        assert body == {"kind": "AdmissionReview", "apiVersion": f"admission.k8s.io/{version}"}
        obj = request.pop("object")
        assert (obj["kind"], obj["apiVersion"], obj["data"], obj["metadata"]["name"]) == ("ConfigMap", "v1", {"a": "b"}, "c")
        assert obj["metadata"]["managedFields"][0]["manager"] == "m"
        kind, resource = {"group": "", "version": "v1", "kind": "ConfigMap"}, {"group": "", "version": "v1", "resource": "configmaps"}
        assert len(request.pop("uid")) == 36
        assert request == {
            "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
            "name": "c", "namespace": "default", "operation": "CREATE", "oldObject": None, "dryRun": False,
            "userInfo": {"username": "caller", "groups": ["system:masters", "system:authenticated"]},
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "m"},
        }  # fmt: skip


@pytest.mark.parametrize("sort", ["Mutating", "Validating"])
async def test_updates_and_deletes_bring_the_old_object(sort: str) -> None:
    async with reviewed() as world:
        await world.create(config_map(a="1"))
        await world.configure(sort)
        await world.caller.patch(ref(core.ConfigMap, "c"), "merge", b'{"data":{"a":"2"}}', meta.PatchOptions())
        await world.caller.delete(ref(core.ConfigMap, "c"), meta.DeleteOptions())
        update, delete = world.requests
        assert (update["operation"], update["object"]["data"], update["oldObject"]["data"]) == ("UPDATE", {"a": "2"}, {"a": "1"})
        assert update["options"]["kind"] == "UpdateOptions"
        assert (delete["operation"], delete["object"], delete["oldObject"]["data"]) == ("DELETE", None, {"a": "2"})
        assert (delete["name"], delete["options"]["kind"]) == ("c", "DeleteOptions")


async def test_each_object_of_a_collection_is_asked_about() -> None:
    async def spare(body: Json) -> Json:
        return denied(body, {"message": "stays"}) if body["request"]["name"] == "b" else allowed(body)

    async with reviewed(spare) as world:
        for name in "abc":
            await world.create(config_map(name))
        await world.configure("Validating")
        with pytest.raises(StatusError, match=r'admission webhook "w0.example.org" denied the request: stays'):
            await world.caller.delete_collection(ref(core.ConfigMap), meta.DeleteOptions(), meta.ListOptions())
        assert [request["name"] for request in world.requests] == ["a", "b"]


async def test_a_patch_changes_the_object_which_is_completed_and_validated() -> None:
    container = {"op": "add", "path": "/spec/containers/-", "value": {"name": "side", "image": "busybox", "unknown": 1}}
    pods = {**CONFIG_MAPS, "resources": ["pods"]}
    async with reviewed(answering(patched, container)) as world:
        await world.configure("Mutating", {"rules": [pods]})
        pod = core.Pod(metadata=meta.ObjectMeta(name="p"))
        pod.spec.containers.add(name="c", image="busybox")
        made = await world.create(pod)
        assert [(one.name, one.termination_message_path) for one in made.spec.containers] == [
            ("c", "/dev/termination-log"),
            ("side", "/dev/termination-log"),
        ]
        world.webhook.answer = answering(patched, {"op": "add", "path": "/metadata/labels", "value": {"bad label": "x"}})
        other = core.Pod(metadata=meta.ObjectMeta(name="q"))
        other.spec.containers.add(name="c", image="busybox")
        with pytest.raises(Invalid, match="bad label"):
            await world.create(other)


REFUSED = 'admission webhook "w0.example.org" denied the request'


@pytest.mark.parametrize(
    "status, code, reason, message",
    [
        (None, 400, "", f"{REFUSED} without explanation"),
        ({"reason": "NotHere"}, 400, "NotHere", f"{REFUSED}: NotHere"),
        ({"message": "no", "code": 403}, 403, "", f"{REFUSED}: no"),
        ({"message": "no", "code": 200, "status": "Success"}, 400, "", f"{REFUSED}: no"),
        (
            {"message": "no", "code": 9999, "reason": "Forbidden"},
            400,
            "Forbidden",
            f"{REFUSED}: no",
        ),
    ],
)
@pytest.mark.parametrize("sort", ["Mutating", "Validating"])
async def test_a_refusal_is_the_webhooks(sort: str, status: Json | None, code: int, reason: str, message: str) -> None:
    async with reviewed(answering(denied, status)) as world:
        await world.configure(sort, {"failurePolicy": "Ignore"})
        with pytest.raises(StatusError) as refused:
            await world.create(config_map())
        found = refused.value.status
        assert (found.status, found.code, found.reason, found.message) == ("Failure", code, reason, message)
        assert world.api.all(core.ConfigMap) == []


async def test_a_dry_request_is_asked_about_only_where_that_does_nothing() -> None:
    async with reviewed() as world:
        await world.configure("Mutating", {"sideEffects": "NoneOnDryRun"})
        await world.create(config_map(), dry=True)
        (request,) = world.requests
        assert request["dryRun"] is True and request["options"]["dryRun"] == ["All"]
        assert world.api.all(core.ConfigMap) == []
        # From before such values were refused.
        old = world.configuration("Mutating", "old", {"sideEffects": "Some"})
        world.api.seed(old, checked=False)
        await world.api.settle()
        with pytest.raises(BadRequest, match=r'admission webhook "w0.example.org" does not support dry run'):
            await world.create(config_map(), dry=True)


async def test_warnings_and_annotations_are_told_also_with_a_refusal() -> None:
    async with reviewed(answering(allowed, warnings=["careful"], auditAnnotations={"k": "v"})) as world:
        await world.configure("Validating")
        written = await world.written(config_map())
        assert list(written.warnings) == ["careful"]
        world.webhook.answer = answering(denied, {"message": "no"}, warnings=["careful"], auditAnnotations={"k": "w"})
        request, log = world.caller.request("create", ref(core.ConfigMap), meta.CreateOptions()), Log()
        request.audit = log
        with pytest.raises(StatusError) as refused:
            await world.caller.api.create(request, config_map("d"))
        assert list(refused.value.warnings) == ["careful"] and log.said == {"w0.example.org/k": "w"}


async def test_the_audit_log_is_told_what_was_mutated() -> None:
    log = Log()
    async with reviewed(answering(patched, ADD_LABEL)) as world:
        await world.configure("Mutating")
        request = world.caller.request("create", ref(core.ConfigMap), meta.CreateOptions())
        request.audit = log
        await world.caller.api.create(request, config_map())
        assert log.said == {
            "mutation.webhook.admission.k8s.io/round_0_index_0": '{"configuration":"hooks","webhook":"w0.example.org","mutated":true}',
            "patch.webhook.admission.k8s.io/round_0_index_0": (
                '{"configuration":"hooks","webhook":"w0.example.org","patch":'
                '[{"op":"add","path":"/metadata/labels","value":{"by":"webhook"}}],"patchType":"JSONPatch"}'
            ),
        }


async def test_what_says_who_is_asked_is_never_asked_about() -> None:
    everything = {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"]}
    async with reviewed(answering(denied)) as world:
        await world.configure("Validating", {"rules": [everything]})
        await world.configure("Mutating", {"rules": [everything]})
        for sort in ("Validating", "Mutating"):
            await world.caller.delete(ref(type(world.configuration(sort)), "hooks"), meta.DeleteOptions())
        await world.create(config_map())
        assert world.webhook.asked == []


async def test_a_scale_is_sent_as_such() -> None:
    scales = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/scale"], "operations": ["UPDATE"]}
    async with reviewed(answering(patched, {"op": "replace", "path": "/spec/replicas", "value": 5})) as world:
        made = apps.Deployment(metadata=meta.ObjectMeta(name="d"))
        made.spec.selector.match_labels["a"] = made.spec.template.metadata.labels["a"] = "b"
        made.spec.template.spec.containers.add(name="c", image="nginx:1")
        await world.create(made)
        await world.configure("Mutating", {"rules": [scales]})
        target = ref(apps.Deployment, "d", "scale")
        found: Any = (await world.caller.patch(target, "merge", b'{"spec":{"replicas":9}}', meta.PatchOptions())).message
        assert isinstance(found, scale.Scale) and found.spec.replicas == 5
        (request,) = world.requests
        assert request["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
        assert (request["resource"]["resource"], request["subResource"]) == ("deployments", "scale")
        assert (request["object"]["spec"]["replicas"], request["oldObject"]["spec"]["replicas"]) == (9, 1)


async def test_namespaces_and_labels_choose() -> None:
    async with reviewed() as world:
        for name, labels in (("watched", {"watch": "yes"}), ("other", {})):
            await world.create(core.Namespace(metadata=meta.ObjectMeta(name=name, labels=labels)))
        await world.configure(
            "Validating",
            {"namespaceSelector": {"matchLabels": {"watch": "yes"}}},
            {"objectSelector": {"matchLabels": {"watch": "me"}}},
        )
        await world.create(config_map("a"), namespace="other")
        await world.create(config_map("b"), namespace="watched")
        await world.create(config_map("c", {"watch": "me"}))
        # The old labels count as well as the new ones.
        await world.caller.patch(ref(core.ConfigMap, "c"), "merge", b'{"metadata":{"labels":null}}', meta.PatchOptions())
        await world.caller.patch(ref(core.ConfigMap, "c"), "merge", b'{"data":{"a":"b"}}', meta.PatchOptions())
        assert [(one["name"], one["operation"]) for one in world.requests] == [("b", "CREATE"), ("c", "CREATE"), ("c", "UPDATE")]


async def test_a_namespace_is_chosen_by_its_own_labels() -> None:
    namespaces = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["namespaces"], "operations": ["*"], "scope": "Cluster"}
    async with reviewed() as world:
        await world.configure("Validating", {"rules": [namespaces], "namespaceSelector": {"matchLabels": {"watch": "yes"}}})
        await world.create(core.Namespace(metadata=meta.ObjectMeta(name="plain")))
        await world.create(core.Namespace(metadata=meta.ObjectMeta(name="n", labels={"watch": "yes"})))
        (request,) = world.requests
        assert (request["name"], request["namespace"]) == ("n", "n")


@pytest.mark.parametrize("policy, asked", [("Exact", 0), ("Equivalent", 1)])
async def test_an_equivalent_version_is_what_the_rule_names(policy: str, asked: int) -> None:
    autoscalers = {"apiGroups": ["autoscaling"], "apiVersions": ["v1"], "resources": ["horizontalpodautoscalers"], "operations": ["*"]}
    spec_path = {"op": "replace", "path": "/spec/maxReplicas", "value": 7}
    async with reviewed(answering(patched, spec_path)) as world:
        await world.configure("Mutating", {"rules": [autoscalers], "matchPolicy": policy})
        obj = v2.HorizontalPodAutoscaler(metadata=meta.ObjectMeta(name="h"))
        obj.spec.scale_target_ref.kind, obj.spec.scale_target_ref.name = "Deployment", "d"
        obj.spec.scale_target_ref.api_version = "apps/v1"
        obj.spec.max_replicas = 3
        metric = obj.spec.metrics.add(type="Resource")
        metric.resource.name, metric.resource.target.type, metric.resource.target.average_utilization = "cpu", "Utilization", 50
        made = await world.create(obj)
        assert len(world.requests) == asked and made.spec.max_replicas == (7 if asked else 3)
        for request in world.requests:
            assert (request["kind"]["version"], request["requestKind"]["version"]) == ("v1", "v2")
            assert request["object"]["apiVersion"] == "autoscaling/v1"
            assert request["object"]["spec"]["targetCPUUtilizationPercentage"] == 50


async def test_webhooks_come_in_the_order_of_their_configurations_and_see_what_came_before() -> None:
    async def append(body: Json) -> Json:
        request = body["request"]
        return patched(body, {"op": "add", "path": f"/data/n{len(request['object']['data'])}", "value": "x"})

    async with reviewed(append) as world:
        await world.configure("Mutating", {}, {}, name="b")
        await world.configure("Mutating", name="a")
        made = await world.create(config_map(n="0"))
        assert sorted(made.data) == ["n", "n1", "n2", "n3"]
        assert [len(one["object"]["data"]) for one in world.requests] == [1, 2, 3]


async def test_who_wants_to_is_asked_again_once_when_another_changed_the_object() -> None:
    async def mark(body: Json) -> Json:
        # By the manager that a test's webhook is told apart by: its place in the object.
        data = body["request"]["object"]["data"]
        return patched(body, {"op": "add", "path": f"/data/x{len(data)}", "value": "x"})

    async with reviewed(mark) as world:
        await world.configure("Mutating", {"reinvocationPolicy": "IfNeeded"}, {}, {"reinvocationPolicy": "IfNeeded"})
        made = await world.create(config_map(a="b"))
        # The first one is asked once more, and so is the last, since the first has changed the object again.
        assert len(world.requests) == 5 and len(made.data) == 6


async def test_nobody_is_asked_again_where_nothing_changed() -> None:
    async with reviewed() as world:
        await world.configure("Mutating", {"reinvocationPolicy": "IfNeeded"}, {"reinvocationPolicy": "IfNeeded"})
        await world.create(config_map())
        assert len(world.requests) == 2


async def test_the_managers_of_an_object_stay_in_order() -> None:
    nonsense = {"op": "replace", "path": "/metadata/managedFields", "value": [{"manager": "x", "operation": "Nonsense"}]}
    async with reviewed(answering(patched, nonsense)) as world:
        await world.configure("Mutating")
        written = await world.written(config_map(a="b"), meta.CreateOptions(field_manager="m"))
        found: Any = written.message
        assert [one.manager for one in found.metadata.managed_fields] == ["m"]
        assert ".metadata.managedFields was in an invalid state after admission" in written.warnings[0]


async def test_what_a_webhook_adds_is_nobodys_and_no_conflict() -> None:
    async with reviewed(answering(patched, {"op": "add", "path": "/data/side", "value": "x"})) as world:
        await world.configure("Mutating")
        body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"%d"}}'
        for number in range(2):
            await world.caller.patch(ref(core.ConfigMap, "c"), "apply", body % number, meta.PatchOptions(field_manager="m"))
        found = await world.stored(core.ConfigMap)
        assert dict(found.data) == {"a": "1", "side": "x"}
        (managers,) = found.metadata.managed_fields
        assert b'"f:side"' not in managers.fields_v1.raw


@pytest.mark.parametrize(
    "operation, error, words",
    [
        ({"op": "replace", "path": "/metadata/namespace", "value": "kube-system"}, BadRequest, "does not match the namespace"),
        ({"op": "replace", "path": "/metadata/uid", "value": "other"}, Invalid, "metadata.uid"),
        ({"op": "replace", "path": "/metadata/name", "value": "other"}, Invalid, "metadata.name"),
    ],
)
async def test_a_webhook_moves_no_object(operation: Json, error: type[Exception], words: str) -> None:
    async with reviewed(answering(patched, operation)) as world:
        await world.create(config_map(a="1"))
        await world.configure("Mutating")
        with pytest.raises(error, match=words):
            await world.caller.patch(ref(core.ConfigMap, "c"), "merge", b'{"data":{"a":"2"}}', meta.PatchOptions())
        assert dict((await world.stored(core.ConfigMap)).data) == {"a": "1"}


async def test_a_webhook_sets_none_of_what_the_server_sets() -> None:
    times = [
        {"op": "replace", "path": "/metadata/creationTimestamp", "value": "2001-01-01T00:00:00Z"},
        {"op": "add", "path": "/metadata/deletionTimestamp", "value": "2001-01-01T00:00:00Z"},
        {"op": "add", "path": "/metadata/generation", "value": 99},
    ]
    async with reviewed(answering(patched, *times)) as world:
        first = await world.create(config_map("b"))
        await world.configure("Mutating")
        made = await world.create(config_map(a="1"))
        assert made.metadata.creation_timestamp.seconds >= first.metadata.creation_timestamp.seconds
        assert not made.metadata.HasField("deletion_timestamp") and made.metadata.generation == 0
        with pytest.raises(Invalid, match=r"metadata\.deletionTimestamp: .* field is immutable"):
            await world.caller.patch(ref(core.ConfigMap, "c"), "merge", b'{"data":{"a":"2"}}', meta.PatchOptions())


async def test_a_webhook_does_not_say_who_asked_for_a_certificate() -> None:
    forged = [
        {"op": "add", "path": "/spec/username", "value": "system:node:node-1"},
        {"op": "add", "path": "/spec/groups", "value": ["system:nodes"]},
    ]
    async with reviewed(answering(patched, *forged)) as world:
        rules = [{"apiGroups": ["certificates.k8s.io"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"]}]
        await world.configure("Mutating", {"rules": rules, "reinvocationPolicy": "IfNeeded"})
        made = certificate_request("r", CLIENT_SIGNER, "system:node:node-1")
        found: Any = (await world.caller.create(ref(certificates.CertificateSigningRequest), made, meta.CreateOptions())).message
        assert (found.spec.username, list(found.spec.groups)) == ("caller", ["system:masters", "system:authenticated"])


async def test_all_refusals_of_webhooks_that_validate_are_waited_for() -> None:
    together = asyncio.Barrier(3)

    async def refuse(body: Json) -> Json:
        await together.wait()
        return denied(body, {"message": "no"}, warnings=[body["request"]["uid"]])

    async with reviewed(refuse) as world:
        await world.configure("Validating", {}, {}, name="b")
        await world.configure("Validating", {"name": "first.example.org"}, name="a")
        with pytest.raises(StatusError, match=r'"first\.example\.org" denied') as refused:
            await world.create(config_map())
        assert len(refused.value.warnings) == 3


async def test_a_validating_webhook_sees_what_the_mutating_ones_made() -> None:
    async with reviewed(answering(patched, ADD_LABEL)) as world:
        await world.configure("Mutating")
        seen: list[Json] = []

        async def look(body: Json) -> Json:
            if len(world.webhook.asked) == 1:
                return patched(body, ADD_LABEL)
            seen.append(body["request"]["object"]["metadata"])
            return allowed(body)

        world.webhook.answer = look
        await world.configure("Validating")
        made = await world.create(core.ConfigMap(metadata=meta.ObjectMeta(generate_name="g-")))
        (found,) = seen
        assert (found["name"], found["uid"], found["labels"]) == (made.metadata.name, made.metadata.uid, {"by": "webhook"})


async def test_what_is_posted_and_connected_is_asked_about() -> None:
    everything = {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["pods/*"], "operations": ["*"]}
    async with reviewed(answering(denied, {"message": "no", "code": 403, "reason": "Forbidden"})) as world:
        pod = core.Pod(metadata=meta.ObjectMeta(name="p"))
        pod.spec.containers.add(name="c", image="busybox")
        await world.create(pod)
        await world.configure("Validating", {"rules": [everything]})
        start = face.ExecStart(namespace="default", pod="p", command=["ls"], stdout=True)
        with pytest.raises(Forbidden, match="denied the request: no"):
            await world.caller.exec(ref(core.Pod, "p", "exec"), start)
        with pytest.raises(Forbidden):
            await world.caller.attach(ref(core.Pod, "p", "attach"), face.ExecStart(namespace="default", pod="p", stdin=True))
        with pytest.raises(Forbidden):
            await world.caller.port_forward(ref(core.Pod, "p", "portforward"), core.PodPortForwardOptions(ports=[80]))
        with pytest.raises(Forbidden):
            await world.caller.proxy("get", ref(core.Pod, "p", "proxy"), core.PodProxyOptions(path="/x"))
        binding = core.Binding(metadata=meta.ObjectMeta(name="p"), target=core.ObjectReference(name="n"))
        with pytest.raises(Forbidden):
            await world.caller.create(ref(core.Pod, "p", "binding"), binding, meta.CreateOptions())
        exec_, attach, forward, proxy, bind = world.requests
        assert exec_["kind"] == {"group": "", "version": "v1", "kind": "PodExecOptions"}
        assert exec_["object"] == {
            "kind": "PodExecOptions", "apiVersion": "v1", "stdout": True, "command": ["ls"],
        }  # fmt: skip
        assert (exec_["operation"], exec_["name"], exec_["options"], exec_["subResource"]) == ("CONNECT", "p", None, "exec")
        assert [one["kind"]["kind"] for one in (attach, forward, proxy, bind)] == [
            "PodAttachOptions", "PodPortForwardOptions", "PodProxyOptions", "Binding",
        ]  # fmt: skip


async def test_a_mutating_webhook_may_not_change_what_is_not_there() -> None:
    async with reviewed(answering(patched, ADD_LABEL)) as world:
        await world.create(config_map())
        await world.configure("Mutating", {"failurePolicy": "Ignore"})
        with pytest.raises(InternalError, match="attempted to modify the object, which is not supported for this operation"):
            await world.caller.delete(ref(core.ConfigMap, "c"), meta.DeleteOptions())


async def test_configurations_are_followed_as_they_change() -> None:
    async with reviewed(answering(denied)) as world:
        await world.configure("Validating")
        where = ref(type(world.configuration("Validating")), "hooks")

        async def about(resource: str) -> None:
            change = {"op": "replace", "path": "/webhooks/0/rules/0/resources", "value": [resource]}
            await world.caller.patch(where, "json", orjson.dumps([change]), meta.PatchOptions())

        with pytest.raises(StatusError):
            await world.create(config_map("a"))
        await about("secrets")
        await world.create(config_map("b"))
        await about("*")
        with pytest.raises(StatusError):
            await world.create(config_map("c"))
        await world.caller.delete(where, meta.DeleteOptions())
        await world.create(config_map("d"))


async def test_nothing_passes_before_it_is_known_who_is_to_be_asked() -> None:
    async with reviewed(answering(denied)) as world:
        await world.configure("Validating")
        await world.configure("Mutating")
        again = ApiInMemory(store=world.api.store)
        caller = type(world.caller)(again.server.api)
        # What is worked out before the first load does not stay.
        assert not again.server.api.pipeline.admission.phases("DELETE", ref(core.ConfigMap))
        waiting = asyncio.create_task(caller.create(ref(core.ConfigMap), config_map(), meta.CreateOptions()))
        await asyncio.sleep(0)
        async with again:
            with pytest.raises(StatusError, match="denied the request"):
                await waiting


async def test_conditions_say_what_is_asked_about() -> None:
    class OnlyAlice:
        """Lets everybody do everything but break glass."""

        def authorize(self, request: Any) -> None:
            if request.verb == "breakglass":
                raise Forbidden(meta.Status(message="no", reason="Forbidden", code=403))

    conditions = [
        {"name": "labelled", "expression": "has(object.metadata.labels) && object.metadata.labels.watch == 'yes'"},
        {"name": "not-a-node", "expression": "!('system:nodes' in request.userInfo.groups)"},
        {"name": "new", "expression": "oldObject == null && request.operation == 'CREATE'"},
        {"name": "glass", "expression": "!authorizer.requestResource.check('breakglass').allowed()"},
        {"name": "account", "expression": "authorizer.serviceAccount('default', 'x').group('').resource('pods').check('get').allowed()"},
        {"name": "path", "expression": "authorizer.path('/healthz').check('get').allowed()"},
    ]
    async with reviewed(authorizer=OnlyAlice()) as world:
        await world.configure("Validating", {"matchConditions": conditions})
        await world.configure("Mutating", {"matchConditions": conditions})
        await world.create(config_map("a"))
        await world.create(config_map("b", {"watch": "no"}))
        await world.create(config_map("c", {"watch": "yes"}))
        assert [request["name"] for request in world.requests] == ["c", "c"]


@pytest.mark.parametrize("sort", ["Mutating", "Validating"])
async def test_a_condition_that_fails_refuses_unless_another_one_says_no(sort: str) -> None:
    failing = {"name": "failing", "expression": "object.data.none == 'x'"}
    async with reviewed() as world:
        await world.configure(sort, {"matchConditions": [failing, {"name": "no", "expression": "false"}]}, name="a")
        await world.create(config_map("a", a="b"))
        await world.configure(sort, {"matchConditions": [failing], "failurePolicy": "Ignore"}, name="b")
        await world.create(config_map("b", a="b"))
        await world.configure(sort, {"matchConditions": [failing]}, name="c")
        words = r"configmaps \"c\" is forbidden: expression 'object\.data\.none == 'x'' resulted in error: no such key: none"
        with pytest.raises(Forbidden, match=words):
            await world.create(config_map("c", a="b"))
        assert world.requests == []


async def test_the_servers_own_plugins_see_what_a_webhook_injects() -> None:
    """A container that was added late has its token like the others, and there is one volume for all."""
    container = {"op": "add", "path": "/spec/containers/-", "value": {"name": "side", "image": "busybox"}}
    pods = {**CONFIG_MAPS, "resources": ["pods"], "operations": ["CREATE"]}
    async with reviewed(answering(patched, container), keys=signing_keys()) as world:
        await world.configure("Mutating", {"rules": [pods]})
        pod = core.Pod(metadata=meta.ObjectMeta(name="p"))
        pod.spec.containers.add(name="c", image="busybox")
        made = await world.create(pod)
        assert len(made.spec.volumes) == 1
        assert [[mount.name for mount in one.volume_mounts] for one in made.spec.containers] == [[made.spec.volumes[0].name]] * 2


async def test_a_changed_command_is_what_is_run() -> None:
    async def rewrite(body: Json) -> Json:
        if body["request"]["object"]["command"] == ["ls"]:
            return patched(body, {"op": "replace", "path": "/command", "value": ["ls", "-l"]})
        return denied(body, {"message": "seen"})

    connects = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/exec"], "operations": ["CONNECT"]}
    async with reviewed(rewrite) as world:
        pod = core.Pod(metadata=meta.ObjectMeta(name="p"))
        pod.spec.containers.add(name="c", image="busybox")
        await world.create(pod)
        await world.configure("Mutating", {"rules": [connects]})
        await world.configure("Validating", {"rules": [connects]})
        start = face.ExecStart(namespace="default", pod="p", container="c", command=["ls"], stdout=True)
        with pytest.raises(StatusError, match="denied the request: seen"):
            await world.caller.exec(ref(core.Pod, "p", "exec"), start)
        first, second = world.requests
        assert (first["object"]["command"], second["object"]["command"]) == (["ls"], ["ls", "-l"])
        assert second["object"]["stdout"] is True and second["object"]["container"] == "c"


async def test_a_custom_resource_of_several_versions_is_shown_in_the_one_that_the_rule_names() -> None:
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer"}}}}}}
    versions = [{"name": name, "served": True, "storage": name == "v1", "schema": schema} for name in ("v1", "v2")]
    names = {"plural": "widgets", "kind": "Widget"}
    definition = {
        "metadata": {"name": "widgets.example.org"},
        "spec": {"group": "example.org", "scope": "Namespaced", "names": names, "versions": versions},
    }
    add = {"op": "replace", "path": "/spec/n", "value": 7}
    rule = {"apiGroups": ["example.org"], "apiVersions": ["v1"], "resources": ["widgets"], "operations": ["*"]}
    async with reviewed(answering(patched, add, {"op": "add", "path": "/spec/unknown", "value": 1})) as world:
        served = asyncio.Event()
        world.api.server.registry.subscribe(lambda old, new: served.set())
        await world.create(codec.from_json(apiextensions.CustomResourceDefinition, definition).message)
        await served.wait()
        version = world.api.server.registry.named("example.org", "v2", "Widget")
        assert version is not None
        await world.configure("Mutating", {"rules": [rule]})
        value = {"apiVersion": "example.org/v2", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"n": 1}}
        written = await world.caller.create(Ref(version, "default"), version.form.from_json(value).message, meta.CreateOptions())
        made: Any = written.message
        (request,) = world.requests
        assert (request["object"]["apiVersion"], request["requestKind"]["version"]) == ("example.org/v1", "v2")
        assert made.names == ("example.org/v2", "Widget") and made.content == {"spec": {"n": 7}}
