"""Policies that refuse: what they see, and what becomes of what they say."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec
from knarr.machinery.errors import Forbidden, Invalid, StatusError, Unauthorized
from services.apiserver.admission import expressions
from services.apiserver.admission.policies import params as limits
from services.apiserver.results import Ref
from tests.apiserver.admission.governed import CONFIG_MAPS, MESSAGES, governed
from tests.apiserver.admission.reviewed import Json, Log, config_map, ref

DENIED = r'configmaps "c" is forbidden: ValidatingAdmissionPolicy \'p\' with binding \'p-b\' denied request: '


async def test_a_refusal_is_told_as_kubernetes_tells_it() -> None:
    async with governed() as world:
        await world.validate("object.data.size() > 1")
        await world.create(config_map(a="1", b="2"))
        with pytest.raises(Invalid) as refused:
            await world.create(config_map("d", a="1"))
        status = refused.value.status
        words = "ValidatingAdmissionPolicy 'p' with binding 'p-b' denied request: failed expression: object.data.size() > 1"
        assert (status.code, status.reason, status.message) == (422, "Invalid", f'configmaps "d" is forbidden: {words}')
        assert (status.details.name, status.details.kind) == ("d", "configmaps")
        assert [cause.message for cause in status.details.causes] == [words]


@pytest.mark.parametrize(
    "validation, error, code, words",
    [
        ({"message": " told "}, Invalid, 422, "told"),
        ({"reason": "Forbidden", "message": "no"}, Forbidden, 403, "no"),
        ({"reason": "Unauthorized", "message": "no"}, Unauthorized, 401, "no"),
        ({"reason": "RequestEntityTooLarge", "message": "no"}, StatusError, 413, "no"),
        ({"messageExpression": "'not ' + object.metadata.name", "message": "other"}, Invalid, 422, "not c"),
        ({"messageExpression": "object.none", "message": "other"}, Invalid, 422, "other"),
        ({"messageExpression": "'two\\nlines'", "message": "other"}, Invalid, 422, "other"),
        ({"messageExpression": "'  '", "message": "other"}, Invalid, 422, "other"),
    ],
)
async def test_words_and_reasons(validation: Json, error: type[StatusError], code: int, words: str) -> None:
    if validation.get("messageExpression") == "object.none":
        validation = {**validation, "messageExpression": "string(object.none)"}
    async with governed() as world:
        await world.validate({"expression": "false", **validation})
        with pytest.raises(error, match=DENIED + words) as refused:
            await world.create(config_map())
        assert refused.value.code == code


async def test_what_expressions_see() -> None:
    seen = [
        "object.kind == 'ConfigMap' && object.apiVersion == 'v1' && object.data.a == 'b'",
        "oldObject == null",
        "request.operation == 'CREATE' && request.userInfo.username == 'caller' && request.namespace == 'default'",
        "request.kind.kind == 'ConfigMap' && request.resource.resource == 'configmaps' && !request.dryRun",
        "namespaceObject.metadata.name == 'default' && namespaceObject.status.phase == 'Active'",
        "namespaceObject.metadata.creationTimestamp < timestamp('2999-01-01T00:00:00Z')",
        "authorizer.requestResource.check('create').allowed()",
        "variables.size == 1 && variables.double == 2",
    ]
    variables = [
        {"name": "size", "expression": "object.data.size()"},
        {"name": "double", "expression": "variables.size * 2"},
        {"name": "never", "expression": "object.none"},
    ]
    async with governed() as world:
        await world.validate(*seen, variables=variables)
        await world.create(config_map(a="b"))


async def test_a_variable_is_evaluated_at_most_once_and_its_failure_told() -> None:
    variables = [{"name": "broken", "expression": "object.data.none"}]
    async with governed() as world:
        await world.validate("variables.broken == 'x'", variables=variables)
        words = (
            "expression 'variables.broken == 'x'' resulted in error: composited variable \"broken\" fails to evaluate: no such key: none"
        )
        with pytest.raises(Invalid) as refused:
            await world.create(config_map(a="b"))
        assert words in refused.value.status.message


async def test_what_cannot_be_evaluated_refuses_unless_the_policy_ignores_it() -> None:
    async with governed() as world:
        await world.validate("object.data.none == 'x'", failurePolicy="Ignore")
        await world.create(config_map("ignored", a="b"))
        await world.validate("object.data.none == 'x'", name="q")
        words = r"expression 'object\.data\.none == 'x'' resulted in error: no such key: none"
        with pytest.raises(Invalid, match=words):
            await world.create(config_map(a="b"))


async def test_a_policy_may_cost_so_much() -> None:
    async with governed() as world:
        hungry = "object.data.all(a, object.data.all(b, object.data.all(c, a + b + c != 'x')))"
        await world.validate(hungry)
        with pytest.raises(Invalid, match="operation cancelled: actual cost limit exceeded"):
            await world.create(config_map("c", None, **{f"k{number}": "v" for number in range(100)}))


async def test_warnings_and_the_audit_log_instead_of_a_refusal() -> None:
    async with governed() as world:
        await world.validate({"expression": "false", "message": "no"}, binding={"validationActions": ["Warn", "Audit"]})
        request, log = world.caller.request("create", ref(core.ConfigMap), meta.CreateOptions()), Log()
        request.audit = log
        written = await world.caller.api.create(request, config_map())
        assert list(written.warnings) == ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p-b': no"]
        assert log.said == {
            "validation.policy.admission.k8s.io/validation_failure": (
                '[{"message":"no","policy":"p","binding":"p-b","expressionIndex":0,"validationActions":["Warn","Audit"]}]'
            )
        }


async def test_audit_annotations() -> None:
    async with governed() as world:
        annotations = [
            {"key": "name", "valueExpression": "' is ' + object.metadata.name"},
            {"key": "nothing", "valueExpression": "null"},
            {"key": "empty", "valueExpression": "''"},
        ]
        await world.validate(auditAnnotations=annotations)
        request, log = world.caller.request("create", ref(core.ConfigMap), meta.CreateOptions()), Log()
        request.audit = log
        await world.caller.api.create(request, config_map())
        assert log.said == {"p/name": "is c"}
        broken = [{"key": "broken", "valueExpression": "string(object.none)"}]
        await world.validate(auditAnnotations=broken, name="q", binding={"validationActions": ["Audit"]})
        with pytest.raises(Invalid, match=r"'q' with binding 'q-b' denied request: expression 'string\(object\.none\)' resulted in error"):
            await world.create(config_map("d"))


async def test_conditions_and_bindings_choose() -> None:
    async with governed() as world:
        await world.create(core.Namespace(metadata=meta.ObjectMeta(name="other", labels={"strict": "no"})))
        conditions = [{"name": "small", "expression": "object.data.size() < 3"}]
        strict = {"matchResources": {"namespaceSelector": {"matchExpressions": [{"key": "strict", "operator": "DoesNotExist"}]}}}
        await world.validate("false", matchConditions=conditions, binding=strict)
        await world.create(config_map("large", a="1", b="2", c="3"))
        await world.create(config_map("elsewhere", a="1"), namespace="other")
        with pytest.raises(Invalid):
            await world.create(config_map(a="1"))


async def test_rules_name_objects_and_except_others() -> None:
    async with governed() as world:
        named = {**CONFIG_MAPS, "resourceNames": ["c", "d"]}
        match = {"resourceRules": [named], "excludeResourceRules": [{**CONFIG_MAPS, "resourceNames": ["d"]}]}
        await world.validate("false", matchConstraints=match)
        await world.create(config_map("b"))
        await world.create(config_map("d"))
        await world.create(core.ConfigMap(metadata=meta.ObjectMeta(generate_name="c")))
        with pytest.raises(Invalid):
            await world.create(config_map("c"))


async def test_without_a_binding_a_policy_says_nothing() -> None:
    async with governed() as world:
        await world.validate("false")
        await world.caller.delete(ref(MESSAGES["ValidatingAdmissionPolicyBinding"], "p-b"), meta.DeleteOptions())
        await world.create(config_map())


PARAM_KIND = {"apiVersion": "v1", "kind": "ConfigMap"}
AT_LEAST = "object.data.size() >= int(params.data.least)"


async def test_a_parameter_by_its_name() -> None:
    async with governed() as world:
        await world.create(config_map("least-2", least="2"))
        reference = {"name": "least-2", "parameterNotFoundAction": "Deny"}
        secrets = {"resourceRules": [{**CONFIG_MAPS, "resources": ["secrets"]}]}
        await world.validate(AT_LEAST, paramKind=PARAM_KIND, binding={"paramRef": reference}, matchConstraints=secrets)
        await world.create(core.Secret(metadata=meta.ObjectMeta(name="a"), data={"a": b"1", "b": b"2"}))
        with pytest.raises(Invalid, match=r"failed expression: object\.data\.size"):
            await world.create(core.Secret(metadata=meta.ObjectMeta(name="b"), data={"a": b"1"}))
        await world.caller.delete(ref(core.ConfigMap, "least-2"), meta.DeleteOptions())
        words = r"failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
        with pytest.raises(Invalid, match=words):
            await world.create(core.Secret(metadata=meta.ObjectMeta(name="b"), data={"a": b"1"}))


async def test_parameters_by_labels_from_the_objects_own_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    async with governed() as world:
        await world.create(core.Namespace(metadata=meta.ObjectMeta(name="other")))
        reference = {"selector": {"matchLabels": {"limit": "yes"}}, "parameterNotFoundAction": "Allow"}
        secrets = {"resourceRules": [{**CONFIG_MAPS, "resources": ["secrets"]}]}
        await world.validate(AT_LEAST, paramKind=PARAM_KIND, binding={"paramRef": reference}, matchConstraints=secrets)
        secret = core.Secret(metadata=meta.ObjectMeta(name="s"), data={"a": b"1"})
        for name, least in (("one", "1"), ("two", "2")):
            await world.create(config_map(name, {"limit": "yes"}, least=least))
        await world.create(secret, namespace="other")
        with pytest.raises(Invalid, match="failed expression"):
            await world.create(core.Secret(metadata=meta.ObjectMeta(name="s"), data={"a": b"1"}))
        monkeypatch.setattr(limits, "MAX_PARAMS", 1)
        with pytest.raises(Invalid, match="a policy may have 1 params for one request at most, and has 2"):
            await world.create(core.Secret(metadata=meta.ObjectMeta(name="t"), data={"a": b"1", "b": b"2"}))


@pytest.mark.parametrize(
    "kind, reference, words",
    [
        ({"apiVersion": "v1", "kind": "Nothing"}, {"name": "x"}, "failed to find resource referenced by paramKind: 'v1, Kind=Nothing'"),
        (
            {"apiVersion": "v1", "kind": "Node"},
            {"name": "x", "namespace": "y"},
            "paramRef.namespace must not be provided for a",
        ),
    ],
)
async def test_parameters_that_make_no_sense(kind: Json, reference: Json, words: str) -> None:
    async with governed() as world:
        await world.validate("true", paramKind=kind, binding={"paramRef": {**reference, "parameterNotFoundAction": "Allow"}})
        with pytest.raises(Invalid, match=f"failed to configure binding: {words}"):
            await world.create(config_map())


async def test_a_namespaced_parameter_of_what_lies_in_no_namespace() -> None:
    async with governed() as world:
        nodes = {"resourceRules": [{**CONFIG_MAPS, "resources": ["nodes"]}]}
        reference = {"name": "x", "parameterNotFoundAction": "Allow"}
        await world.validate("true", paramKind=PARAM_KIND, binding={"paramRef": reference}, matchConstraints=nodes)
        with pytest.raises(Invalid, match="cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"):
            await world.create(core.Node(metadata=meta.ObjectMeta(name="n")))


async def test_a_custom_resource_as_parameter_and_as_object() -> None:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"most": {"type": "integer"}}}}}
    definition = {
        "metadata": {"name": "limits.example.org"},
        "spec": {
            "group": "example.org", "scope": "Namespaced", "names": {"plural": "limits", "kind": "Limit"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }  # fmt: skip
    async with governed() as world:
        registry, served = world.api.server.registry, asyncio.Event()
        registry.subscribe(lambda old, new: served.set())
        await world.create(codec.from_json(apiextensions.CustomResourceDefinition, definition).message)
        await served.wait()
        version = registry.named("example.org", "v1", "Limit")
        assert version is not None

        def limit(name: str, most: int) -> Any:
            value = {"apiVersion": "example.org/v1", "kind": "Limit", "metadata": {"name": name}, "spec": {"most": most}}
            return version.form.from_json(value).message

        async def make(name: str, most: int) -> None:
            await world.caller.create(Ref(version, "default"), limit(name, most), meta.CreateOptions())

        await make("l", 1)
        reference = {"name": "l", "parameterNotFoundAction": "Deny"}
        kind = {"apiVersion": "example.org/v1", "kind": "Limit"}
        await world.validate("object.data.size() <= params.spec.most", paramKind=kind, binding={"paramRef": reference})
        await world.create(config_map("d", a="1"))
        with pytest.raises(Invalid):
            await world.create(config_map(a="1", b="2"))
        limits_rule = {"resourceRules": [{"apiGroups": ["example.org"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"]}]}
        await world.validate("object.spec.most < 10", matchConstraints=limits_rule, name="q")
        await make("m", 9)
        with pytest.raises(Invalid):
            await make("n", 10)


async def test_the_parameters_of_a_namespace_lie_in_it() -> None:
    async with governed() as world:
        await world.create(config_map("limits", most="2"))
        constraints = {"resourceRules": [{**CONFIG_MAPS, "resources": ["namespaces"]}]}
        reference = {"name": "limits", "parameterNotFoundAction": "Deny"}
        await world.validate(
            "object.metadata.labels.size() <= int(params.data.most)",
            paramKind={"apiVersion": "v1", "kind": "ConfigMap"}, matchConstraints=constraints, binding={"paramRef": reference},
        )  # fmt: skip
        for labels, does in ((b'{"a":"b"}', True), (b'{"c":"d","e":"f"}', False)):
            change = world.caller.patch(
                ref(core.Namespace, "default"), "merge", b'{"metadata":{"labels":%s}}' % labels, meta.PatchOptions()
            )
            if does:
                await change
                continue
            with pytest.raises(Invalid, match="failed expression"):
                await change


async def test_a_scale_and_an_older_version() -> None:
    async with governed() as world:
        scales = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/scale"], "operations": ["UPDATE"]}
        constraints = {"resourceRules": [scales]}
        await world.validate("object.spec.replicas <= 5 && request.subResource == 'scale'", matchConstraints=constraints)
        made = apps.Deployment(metadata=meta.ObjectMeta(name="d"))
        made.spec.selector.match_labels["a"] = made.spec.template.metadata.labels["a"] = "b"
        made.spec.template.spec.containers.add(name="c", image="nginx:1")
        await world.create(made)
        target = ref(apps.Deployment, "d", "scale")
        await world.caller.patch(target, "merge", b'{"spec":{"replicas":5}}', meta.PatchOptions())
        with pytest.raises(Invalid):
            await world.caller.patch(target, "merge", b'{"spec":{"replicas":6}}', meta.PatchOptions())


async def test_policies_are_never_asked_about_policies() -> None:
    async with governed() as world:
        everything = {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"]}
        await world.validate("false", matchConstraints={"resourceRules": [everything]})
        for kind, name in (("ValidatingAdmissionPolicyBinding", "p-b"), ("ValidatingAdmissionPolicy", "p")):
            await world.caller.delete(ref(MESSAGES[kind], name), meta.DeleteOptions())
        await world.create(config_map())


async def test_an_authorizer_that_must_ask_elsewhere_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """And whoever waits for it is not slow himself."""
    aside: list[str] = []

    async def beside(work: Any, *args: Any) -> Any:
        aside.append(work.__name__)
        return work(*args)

    class Clock:
        now = 0.0

        def perf_counter(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(expressions, "in_turn", beside)
    monkeypatch.setattr(expressions, "time", clock)

    class Elsewhere:
        asked = 0

        def authorize(self, request: Any) -> Any:
            return self._ask(request) if request.verb == "breakglass" else None

        async def _ask(self, request: Any) -> None:
            Elsewhere.asked += 1
            clock.now += 1.0
            raise Forbidden(meta.Status(message="because", reason="Forbidden", code=403))

    expression = "!authorizer.group('').resource('x').check('breakglass').allowed() && "
    expression += "authorizer.group('').resource('x').check('breakglass').reason() == 'because'"
    async with governed(Elsewhere()) as world:
        await world.validate(expression)
        for number in range(2):
            await world.create(config_map(f"c{number}"))
        assert (Elsewhere.asked, aside) == (2, [])


@pytest.mark.parametrize(
    "spec, field, words",
    [
        ({"validations": [{"expression": "object.x"}]}, "spec.validations[0].expression", "must evaluate to bool but got dyn"),
        ({"validations": [{"expression": "nothing"}]}, "spec.validations[0].expression", "undeclared reference to 'nothing'"),
        ({"validations": [{"expression": "params.x == 1"}]}, "spec.validations[0].expression", "undeclared reference to 'params'"),
        (
            {"validations": [{"expression": "true", "messageExpression": "1"}]},
            "spec.validations[0].messageExpression",
            "must evaluate to string but got int",
        ),
        (
            {"validations": [{"expression": "true", "messageExpression": "authorizer.path('/').check('get').reason()"}]},
            "spec.validations[0].messageExpression",
            "undeclared reference to 'authorizer'",
        ),
        ({"validations": [{"expression": "true", "reason": "NotFound"}]}, "spec.validations[0].reason", "Unsupported value"),
        ({"validations": [{"expression": "true\n", "message": "a\nb"}]}, "spec.validations[0].message", "must not contain line breaks"),
        (
            {"validations": [{"expression": "true ||\ntrue"}]},
            "spec.validations[0].message",
            "message must be specified",
        ),
        ({"variables": [{"name": "a", "expression": "variables.b"}]}, "spec.variables[0].expression", "undefined field 'b'"),
        (
            {"matchConditions": [{"name": "a", "expression": "1"}]},
            "spec.matchConditions[0].expression",
            "must evaluate to bool but got int",
        ),
        (
            {"auditAnnotations": [{"key": "a b", "valueExpression": "''"}]},
            "spec.auditAnnotations[0].key",
            "name part must consist of alphanumeric characters",
        ),
        (
            {"auditAnnotations": [{"key": "a", "valueExpression": "1"}]},
            "spec.auditAnnotations[0].valueExpression",
            "must evaluate to one of",
        ),
    ],
)
async def test_what_is_no_policy(spec: Json, field: str, words: str) -> None:
    async with governed() as world:
        plain = {"matchConstraints": {"resourceRules": [CONFIG_MAPS]}, "validations": [{"expression": "true"}]}
        with pytest.raises(Invalid) as refused:
            await world.make("ValidatingAdmissionPolicy", "p", {**plain, **spec})
        causes = [cause for cause in refused.value.status.details.causes if cause.field == field]
        assert len(causes) == 1 and words in causes[0].message


async def test_what_has_shown_to_be_slow_is_carried_out_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    aside: list[object] = []

    async def beside(work: Any, *args: Any) -> Any:
        aside.append(work)
        return work(*args)

    monkeypatch.setattr(expressions, "in_turn", beside)
    async with governed() as world:
        await world.validate("object.data.size() > 0")
        await world.create(config_map("quick", a="b"))
        assert aside == []
        monkeypatch.setattr(expressions, "SLOW_SECONDS", 0.0)
        await world.create(config_map("slow", a="b"))
        assert aside == []
        await world.create(config_map("later", a="b"))
        assert len(aside) == 1


async def test_what_was_compiled_of_a_policy_goes_with_it() -> None:
    """Whoever changes one policy has all of them compiled anew."""
    from services.apiserver.admission.mutating_admission_policy.patches import Mutation
    from services.apiserver.admission.validating_admission_policy.evaluation import Validations

    async with governed() as world:
        for number in range(4):
            await world.validate("variables.size < 5", name=f"v{number}", variables=[{"name": "size", "expression": "object.data.size()"}])
            await world.mutate("Object{metadata: Object.metadata{labels: {'by': 'policy'}}}", name=f"m{number}")
            await world.create(config_map(f"c{number}", a="b"))
        gc.collect()
        found = [type(one) for one in gc.get_objects() if type(one) in (Validations, Mutation)]
        assert (found.count(Validations), found.count(Mutation)) == (4, 4)


async def test_a_policy_that_stays_as_it_was_is_not_compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    from services.apiserver.admission.validating_admission_policy.evaluation import Validations

    compiled: list[str] = []
    make = Validations.of

    def counted(policy: Any) -> Validations:
        compiled.append(policy.name)
        return make(policy)

    monkeypatch.setattr(Validations, "of", counted)
    async with governed() as world:
        for name in ("a", "b"):
            await world.validate("object.data.size() < 5", name=name)
        await world.create(config_map("c1", a="b"))
        message = MESSAGES["ValidatingAdmissionPolicy"]
        told = b'{"status":{"conditions":[]},"metadata":{"labels":{"a":"b"}}}'
        await world.caller.patch(ref(message, "a"), "merge", told, meta.PatchOptions())
        await world.create(config_map("c2", a="b"))
        assert compiled == ["a", "b"]
        stricter = b'{"spec":{"validations":[{"expression":"object.data.size() < 1"}]}}'
        await world.caller.patch(ref(message, "b"), "merge", stricter, meta.PatchOptions())
        with pytest.raises(Invalid, match="Policy 'b' with binding"):
            await world.create(config_map("c3", a="b"))
        warned = b'{"spec":{"validationActions":["Warn"]}}'
        await world.caller.patch(ref(MESSAGES["ValidatingAdmissionPolicyBinding"], "b-b"), "merge", warned, meta.PatchOptions())
        assert (await world.written(config_map("c3", a="b"))).warnings
        assert compiled == ["a", "b", "b", "b"]
