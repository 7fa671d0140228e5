"""Policies that change what is written."""

from __future__ import annotations

import re

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Invalid, StatusError
from tests.apiserver.admission.governed import CONFIG_MAPS, Governed, governed
from tests.apiserver.admission.reviewed import answering, config_map, patched, ref, reviewed

LABEL = "Object{metadata: Object.metadata{labels: {'by': 'policy'}}}"


def pod(name: str = "p") -> core.Pod:
    made = core.Pod(metadata=meta.ObjectMeta(name=name))
    made.spec.containers.add(name="c", image="busybox")
    return made


PODS = {"resourceRules": [{**CONFIG_MAPS, "resources": ["pods"]}]}


async def test_a_part_is_applied() -> None:
    async with governed() as world:
        await world.mutate(LABEL, "Object{data: {'size': string(object.data.size())}}")
        made = await world.create(config_map(labels={"a": "b"}, x="y"))
        # The second one sees what the first has made.
        assert dict(made.metadata.labels) == {"a": "b", "by": "policy"} and dict(made.data) == {"x": "y", "size": "1"}


async def test_a_container_is_merged_by_its_name_and_completed() -> None:
    injected = (
        "Object{spec: Object.spec{containers: ["
        "Object.spec.containers{name: 'side', image: 'busybox', ?command: optional.none()},"
        "Object.spec.containers{name: 'c', env: [Object.spec.containers.env{name: 'A', value: 'b'}]}]}}"
    )
    async with governed() as world:
        await world.mutate(injected, matchConstraints=PODS)
        made = await world.create(pod())
        found = {one.name: one for one in made.spec.containers}
        assert set(found) == {"c", "side"} and found["side"].termination_message_path == "/dev/termination-log"
        assert found["c"].image == "busybox" and [(one.name, one.value) for one in found["c"].env] == [("A", "b")]


async def test_a_json_patch() -> None:
    patch = (
        "['a/b', 'c.d'].map(key, JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey(key), value: 'x'})"
        " + (object.data.size() > 5 ? [JSONPatch{op: 'remove', path: '/data'}] : [])"
    )
    async with governed() as world:
        await world.mutate(f"[JSONPatch{{op: 'add', path: '/metadata/annotations', value: {{}}}}] + {patch}")
        made = await world.create(config_map(a="b"))
        assert dict(made.metadata.annotations) == {"a/b": "x", "c.d": "x"} and dict(made.data) == {"a": "b"}


async def test_a_test_that_fails_leaves_all_as_it_is() -> None:
    async with governed() as world:
        await world.mutate("[JSONPatch{op: 'test', path: '/data/a', value: 'x'}, JSONPatch{op: 'remove', path: '/data/a'}]")
        made = await world.create(config_map(a="b"))
        assert dict(made.data) == {"a": "b"}


async def test_parameters_and_variables() -> None:
    async with governed() as world:
        await world.create(config_map("team", color="red"))
        kind = {"apiVersion": "v1", "kind": "ConfigMap"}
        reference = {"name": "team", "parameterNotFoundAction": "Deny"}
        variables = [{"name": "labels", "expression": "{'team': params.data.color}"}]
        await world.mutate(
            "Object{metadata: Object.metadata{labels: variables.labels}}",
            paramKind=kind, variables=variables, binding={"paramRef": reference}, matchConstraints=PODS,
        )  # fmt: skip
        made = await world.create(pod())
        assert made.metadata.labels["team"] == "red"


async def test_conditions_choose() -> None:
    async with governed() as world:
        conditions = [{"name": "unlabelled", "expression": "!has(object.metadata.labels) || !('by' in object.metadata.labels)"}]
        await world.mutate(LABEL, matchConditions=conditions)
        made = await world.create(config_map(labels={"by": "me"}))
        assert dict(made.metadata.labels) == {"by": "me"}


@pytest.mark.parametrize(
    "mutation, words",
    [
        (
            "Object{spec: Object.spec{replicas: 1}}",
            r"failed to convert patch object to typed object: .*\.spec: field not declared in schema",
        ),
        ("Object{data: {'a': object.none}}", r"resulted in error: no such key: none"),
        (
            "Object{metadata: Object.wrong{labels: {'a': 'b'}}}",
            'type mismatch: unexpected type name "Object.wrong", expected "Object.metadata"',
        ),
        ("[JSONPatch{op: 'remove', path: '/nothing'}]", "JSONPath: remove operation does not apply"),
    ],
)
async def test_what_cannot_be_made_refuses_unless_the_policy_ignores_it(mutation: str, words: str) -> None:
    async with governed() as world:
        await world.mutate(mutation, failurePolicy="Ignore", name="a")
        made = await world.create(config_map("ignored", a="b"))
        assert dict(made.data) == {"a": "b"}
        await world.mutate(mutation)
        with pytest.raises(Invalid) as refused:
            await world.create(config_map(a="b"))
        assert re.fullmatch(f"policy 'p' with binding 'p-b' denied request: .*{words}.*", refused.value.status.message)
        assert refused.value.code == 403


@pytest.mark.parametrize(
    "part, place",
    [
        ("spec: Object.spec{containers: [Object.spec.containers{name: 'c', command: ['x']}]}", r"\.spec\.containers\[0\]\.command"),
        ("metadata: Object.metadata{ownerReferences: [Object.metadata.ownerReferences{uid: 'a'}]}", r"\.metadata\.ownerReferences\[0\]"),
    ],
)
async def test_what_is_one_whole_is_not_replaced(part: str, place: str) -> None:
    async with governed() as world:
        await world.mutate(f"Object{{{part}}}", matchConstraints=PODS)
        words = "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: "
        with pytest.raises(StatusError, match=words + place):
            await world.create(pod())


async def test_what_a_policy_makes_wrong_is_the_callers_refusal() -> None:
    async with governed() as world:
        await world.mutate("Object{metadata: Object.metadata{labels: {'bad label': 'x'}}}")
        with pytest.raises(Invalid, match="bad label"):
            await world.create(config_map())


async def test_who_wants_to_is_asked_again_once() -> None:
    count = "Object{data: {'n' + string(object.data.size()): 'x'}}"
    async with governed() as world:
        await world.mutate(count, name="a", reinvocationPolicy="IfNeeded")
        await world.mutate(count, name="b")
        await world.mutate(count, name="c", reinvocationPolicy="IfNeeded")
        made = await world.create(config_map(a="b"))
        # As with webhooks: the first once more, and the last since the first has changed the object again.
        assert len(made.data) == 6


async def test_a_webhook_behind_a_policy_has_it_asked_again() -> None:
    async with reviewed(answering(patched, {"op": "add", "path": "/data/hook", "value": "x"})) as world:
        policies = Governed(world.api, world.caller)
        await policies.mutate("Object{data: {'size' + string(object.data.size()): 'x'}}", reinvocationPolicy="IfNeeded")
        await world.configure("Mutating")
        made = await world.create(config_map(a="b"))
        assert dict(made.data) == {"a": "b", "size1": "x", "hook": "x", "size3": "x"}


async def test_a_delete_is_not_changed() -> None:
    async with governed() as world:
        await world.create(config_map())
        match = {"resourceRules": [{**CONFIG_MAPS, "operations": ["*"]}]}
        await world.mutate("Object{data: {'a': object.data.none}}", matchConstraints=match)
        await world.caller.delete(ref(core.ConfigMap, "c"), meta.DeleteOptions())


@pytest.mark.parametrize(
    "mutation, place, words",
    [
        ("1", "applyConfiguration", "must evaluate to Object but got int"),
        ("[1]", "jsonPatch", "must evaluate to one of [list(JSONPatch) list(dyn)] but got list(int)"),
        ("[JSONPatch{operation: 'add'}]", "jsonPatch", "undefined field 'operation'"),
        ("[JSONPatch{op: 1}]", "jsonPatch", "expected type of field 'op' is 'string' but provided type is 'int'"),
        ("Other{}", "applyConfiguration", "undeclared reference to 'Other'"),
    ],
)
async def test_what_is_no_mutation(mutation: str, place: str, words: str) -> None:
    async with governed() as world:
        with pytest.raises(Invalid) as refused:
            await world.mutate(mutation)
        (cause,) = refused.value.status.details.causes
        assert cause.field == f"spec.mutations[0].{place}.expression" and words in cause.message


async def test_objects_are_made_where_they_are_for_alone() -> None:
    async with governed() as world:
        with pytest.raises(Invalid, match="undeclared reference to 'Object'"):
            await world.validate("Object{} == Object{}")


@pytest.mark.parametrize("ignores", [True, False])
async def test_what_leaves_no_such_object_is_a_failure_of_the_policy(*, ignores: bool) -> None:
    async with governed() as world:
        await world.mutate("[JSONPatch{op: 'add', path: '/data', value: 'x'}]", failurePolicy="Ignore" if ignores else "Fail")
        if ignores:
            assert dict((await world.create(config_map(a="b"))).data) == {"a": "b"}
            return
        with pytest.raises(StatusError, match="policy 'p' with binding 'p-b' denied request: error applying patch") as refused:
            await world.create(config_map(a="b"))
        assert refused.value.status.reason == "Invalid"
