"""What a policy is told of its expressions, given the types of the kinds that it is about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from knarr.api.admissionregistration.v1 import admissionregistration_pb2 as admission
from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.cel import admission as expressions
from knarr.machinery.cel.errors import InvalidExpression
from knarr.machinery.cel.messages import type_of_message
from knarr.machinery.schema import descriptor_of
from services.apiserver.bootstrap import USER
from services.apiserver.policy_types import PolicyTypes
from tests.apiserver.admission.governed import Governed, Json, governed
from tests.apiserver.admission.reviewed import ref

DEPLOYMENTS = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["*"]}


@asynccontextmanager
async def telling() -> AsyncIterator[Governed]:
    async with governed() as world:
        server = world.api.server
        task = asyncio.create_task(PolicyTypes(server.client(USER), server.backend, server.registry).run())
        try:
            yield world
        finally:
            task.cancel()
            await asyncio.wait({task})


async def told(world: Governed, spec: Json) -> Any:
    """The status of a policy, once it is about the policy as it is."""
    plain = {"matchConstraints": {"resourceRules": [DEPLOYMENTS]}, "validations": [{"expression": "true"}]}
    made = await world.make("ValidatingAdmissionPolicy", "p", {**plain, **spec})
    client, revision = world.api.server.client(USER), made.metadata.resource_version
    async for batch in client.watch(admission.ValidatingAdmissionPolicy, resource_version=revision):
        for event in batch:
            if event.object.status.observed_generation == made.metadata.generation:
                return event.object.status
    raise AssertionError("unreachable")


async def test_what_is_right_is_told_so() -> None:
    async with telling() as world:
        status = await told(world, {"validations": [{"expression": "object.spec.replicas <= 5 && has(object.spec.template.spec.hostIPC)"}]})
        assert status.HasField("type_checking") and not status.type_checking.expression_warnings


async def test_what_no_such_object_has_is_told_with_its_place() -> None:
    both = {**DEPLOYMENTS, "resources": ["statefulsets", "deployments", "*/scale"]}
    spec = {
        "matchConstraints": {"resourceRules": [both]},
        "variables": [{"name": "wanted", "expression": "object.spec.replicas"}],
        "validations": [
            {"expression": "object.spec.replica > 1", "messageExpression": "string(object.spec.paused)"},
            {"expression": "variables.wanted == 'one'"},
        ],
    }
    async with telling() as world:
        status = await told(world, spec)
        found = {one.field_ref: one.warning for one in status.type_checking.expression_warnings}
        assert sorted(found) == [
            "spec.validations[0].expression", "spec.validations[0].messageExpression", "spec.validations[1].expression",
        ]  # fmt: skip
        place = "ERROR: <input>:1:12: undefined field 'replica'\n | object.spec.replica > 1\n | ...........^\n"
        assert found["spec.validations[0].expression"] == f"apps/v1, Kind=Deployment: {place}\napps/v1, Kind=StatefulSet: {place}"
        # Only one of the two kinds has it.
        assert found["spec.validations[0].messageExpression"].startswith("apps/v1, Kind=StatefulSet: ")
        assert "found no matching overload for '_==_' applied to '(int, string)'" in found["spec.validations[1].expression"]


async def test_stars_and_kinds_that_are_not_there_are_not_looked_at() -> None:
    rules = [{**DEPLOYMENTS, "apiGroups": ["*"]}, {**DEPLOYMENTS, "resources": ["nothing", "*/scale"]}]
    async with telling() as world:
        spec = {"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": "object.nothing == 1"}]}
        assert not (await told(world, spec)).type_checking.expression_warnings


async def test_parameters_have_types_too() -> None:
    spec = {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "validations": [{"expression": "params.datum == 'x'"}]}
    async with telling() as world:
        (found,) = (await told(world, spec)).type_checking.expression_warnings
        assert "undefined field 'datum'" in found.warning


async def test_a_change_is_looked_at_anew_and_nothing_is_written_twice() -> None:
    async with telling() as world:
        await told(world, {"validations": [{"expression": "object.spec.replica > 1"}]})
        where = ref(admission.ValidatingAdmissionPolicy, "p")
        client = world.api.server.client(USER)
        patch = b'[{"op":"replace","path":"/spec/validations/0/expression","value":"object.spec.replicas > 1"}]'
        changed: Any = (await world.caller.patch(where, "json", patch, meta.PatchOptions())).message
        revisions: list[str] = []
        async with asyncio.timeout(30):
            async for batch in client.watch(admission.ValidatingAdmissionPolicy, resource_version=changed.metadata.resource_version):
                revisions += [event.object.metadata.resource_version for event in batch]
                if any(event.object.status.observed_generation == 2 for event in batch):
                    break
        await world.create(core.ConfigMap(metadata=meta.ObjectMeta(name="later")))
        stored: Any = (await world.caller.get(where)).message
        assert len(revisions) == 1 and stored.metadata.resource_version == revisions[0]
        assert not stored.status.type_checking.expression_warnings


@pytest.mark.parametrize(
    "expression, found",
    [
        ("object.spec.template.spec.containers.all(c, c.image.startsWith('x'))", "bool"),
        ("object.metadata.creationTimestamp", "google.protobuf.Timestamp"),
        ("object.spec.template.spec.containers[0].resources.limits['cpu']", "string"),
        ("object.spec.strategy.rollingUpdate.maxSurge", "dyn"),
        ("object.metadata.labels", "map(string, string)"),
        ("object.spec.template.spec.containers[0].ports[0].containerPort", "int"),
    ],
)
def test_types_of_messages(expression: str, found: str) -> None:
    types = expressions.environment(of=type_of_message(descriptor_of(apps.Deployment)))
    assert str(expressions.compiled(expression, types).type) == found


def test_a_message_that_holds_itself() -> None:
    types = expressions.environment(of=type_of_message(descriptor_of(apiextensions.CustomResourceDefinition)))
    with pytest.raises(InvalidExpression, match="undefined field 'nothing'"):
        expressions.compiled("object.spec.versions[0].schema.openAPIV3Schema.properties['a'].properties['b'].nothing", types)
