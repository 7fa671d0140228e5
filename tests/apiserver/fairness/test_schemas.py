"""Which flow a request belongs to."""

from __future__ import annotations

import asyncio

import pytest

from knarr.api.flowcontrol.v1 import flowcontrol_pb2 as flowcontrol
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Invalid, NotFound
from knarr.service.authentication import User
from services.apiserver.fairness.fairness import Fairness
from services.apiserver.fairness.schemas import Asked, Schema, in_order, shape_of
from services.apiserver.fairness.suggested import levels, mandatory_levels, schemas, suggested_levels, suggested_schemas
from services.apiserver.fairness.upkeep import keep_fairness
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.strategies import strategy_for

KNOWN = "system:authenticated"
MASTER = User("root", groups=("system:masters", KNOWN))
JANE = User("jane", groups=(KNOWN,))
NODE = User("system:node:n", groups=("system:nodes", KNOWN))
MANAGER = User("system:kube-controller-manager", groups=(KNOWN,))
ACCOUNT = User("system:serviceaccount:default:app", groups=("system:serviceaccounts", "system:serviceaccounts:default", KNOWN))
SYSTEM = User("system:serviceaccount:kube-system:dns", groups=("system:serviceaccounts", KNOWN))


@pytest.mark.parametrize(
    ("asked", "schema", "distinguisher"),
    [
        (Asked(MASTER, "get", resource="pods", namespace="a"), "exempt", ""),
        (Asked(JANE, "get", path="/healthz"), "probes", ""),
        (Asked(JANE, "get", path="/metrics"), "global-default", "jane"),
        (Asked(JANE, "list", resource="pods", namespace="a"), "global-default", "jane"),
        (Asked(MANAGER, "update", "coordination.k8s.io", "leases", "kube-system"), "system-leader-election", MANAGER.name),
        (Asked(MANAGER, "list", "coordination.k8s.io", "leases", "kube-system"), "kube-controller-manager", "kube-system"),
        (Asked(MANAGER, "update", resource="endpoints", namespace="a"), "endpoint-controller", MANAGER.name),
        (Asked(MANAGER, "create", resource="pods", namespace="a"), "kube-controller-manager", "a"),
        (Asked(NODE, "patch", resource="nodes/status"), "system-node-high", NODE.name),
        (Asked(NODE, "get", resource="pods", namespace="a"), "system-nodes", NODE.name),
        (Asked(SYSTEM, "get", resource="pods", namespace="a"), "kube-system-service-accounts", "a"),
        (Asked(ACCOUNT, "get", resource="pods", namespace="a"), "service-accounts", ACCOUNT.name),
        (Asked(User("ghost"), "get", resource="pods"), None, ""),
    ],
)
def test_the_schemas_that_every_cluster_has(asked: Asked, schema: str | None, distinguisher: str) -> None:
    found = next((one for one in in_order(map(Schema.of, schemas())) if one.covers(asked)), None)
    assert (found.name if found else None) == schema
    if found:
        assert found.distinguisher(asked) == distinguisher


def test_what_every_cluster_has_is_what_the_server_takes() -> None:
    for obj in (*levels(), *schemas()):
        strategy = strategy_for(version_of(type(obj)))
        before = obj.SerializeToString(deterministic=True)
        strategy.default(obj)
        assert not strategy.validate(obj)
        assert obj.SerializeToString(deterministic=True) == before
    names = {level.metadata.name for level in levels()}
    assert {schema.spec.priority_level_configuration.name for schema in schemas()} <= names


def test_a_level_has_the_shape_that_its_object_says() -> None:
    shapes = {obj.metadata.name: shape_of(obj) for obj in levels()}
    assert shapes["exempt"].is_exempt
    assert (shapes["catch-all"].queues, shapes["catch-all"].shares) == (0, 5)
    low = shapes["workload-low"]
    assert (low.shares, low.lendable_percent, low.borrowing_percent, low.queues, low.hand_size, low.queue_length) == (
        100,
        90,
        None,
        128,
        6,
        50,
    )


async def test_a_cluster_gets_them_and_keeps_them() -> None:
    async with ApiInMemory() as api:
        client = api.client()
        await keep_fairness(client)
        assert len(api.all(flowcontrol.FlowSchema)) == len(schemas())
        assert len(api.all(flowcontrol.PriorityLevelConfiguration)) == len(levels())
        kept = api.store.revision
        await keep_fairness(client)
        assert api.store.revision == kept
        conditions = {schema.status.conditions[0].status for schema in api.all(flowcontrol.FlowSchema)}
        assert conditions == {"False"}

        await client.delete(flowcontrol.FlowSchema, "probes")
        for name, own in (("catch-all", False), ("workload-low", False), ("workload-high", True)):
            level = await client.get(flowcontrol.PriorityLevelConfiguration, name)
            level.spec.limited.nominal_concurrency_shares = 7
            if own:
                level.metadata.annotations["apf.kubernetes.io/autoupdate-spec"] = "false"
            if name == "catch-all":
                # Of another version: nobody may change it.
                with pytest.raises(Invalid):
                    await client.update(level)
                api.seed(level, checked=False)
            else:
                await client.update(level)
        exempt = await client.get(flowcontrol.PriorityLevelConfiguration, "exempt")
        exempt.spec.exempt.lendable_percent = 50
        await client.update(exempt)
        await keep_fairness(client)
        assert (await client.get(flowcontrol.PriorityLevelConfiguration, "exempt")).spec.exempt.lendable_percent == 50
        found = {obj.metadata.name: obj.spec.limited.nominal_concurrency_shares for obj in api.all(flowcontrol.PriorityLevelConfiguration)}
        assert (found["catch-all"], found["workload-low"], found["workload-high"]) == (5, 100, 7)
        assert await client.get(flowcontrol.FlowSchema, "probes")

        await client.delete(flowcontrol.PriorityLevelConfiguration, "workload-high")
        with pytest.raises(NotFound):
            await client.get(flowcontrol.PriorityLevelConfiguration, "workload-high")


async def test_a_schema_whose_level_is_missing_says_so_and_does_not_count() -> None:
    async with ApiInMemory() as api:
        await keep_fairness(api.client())
        made = suggested_schemas()[-1]
        made.metadata.name, made.spec.matching_precedence = "own", 50
        made.spec.priority_level_configuration.name = "missing"
        await api.client().create(made)
        await keep_fairness(api.client())
        schema = await api.client().get(flowcontrol.FlowSchema, "own")
        assert (schema.status.conditions[0].type, schema.status.conditions[0].status) == ("Dangling", "True")
        fairness = api.server.api.fairness
        assert isinstance(fairness, Fairness)
        flow = fairness.flows.of_resource(JANE, "get", "", "pods", "", "default")
        assert (flow.schema.name, flow.level.name) == ("global-default", "global-default")


async def test_a_change_holds_from_the_next_turn_on() -> None:
    async with ApiInMemory() as api:
        fairness = api.server.api.fairness
        assert isinstance(fairness, Fairness)
        assert fairness.flows.of_path(JANE, "get", "/version").schema.name == "global-default"
        assert fairness.flows.of_path(JANE, "get", "/version").marks == b""
        await keep_fairness(api.client())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        flow = fairness.flows.of_path(JANE, "get", "/version")
        schema = await api.client().get(flowcontrol.FlowSchema, "global-default")
        level = await api.client().get(flowcontrol.PriorityLevelConfiguration, "global-default")
        assert f"x-kubernetes-pf-flowschema-uid: {schema.metadata.uid}\r\n".encode() in flow.marks
        assert f"x-kubernetes-pf-prioritylevel-uid: {level.metadata.uid}\r\n".encode() in flow.marks


def test_the_mandatory_are_the_first_and_the_last() -> None:
    ordered = in_order(map(Schema.of, schemas()))
    assert (ordered[0].name, ordered[-1].name) == ("exempt", "catch-all")
    assert {level.metadata.name for level in mandatory_levels()} == {"exempt", "catch-all"}
    assert len(suggested_levels()) == 6
