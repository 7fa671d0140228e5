"""The FlowSchemas and PriorityLevelConfigurations that every cluster has; some must be as they are, others are suggested."""

from __future__ import annotations

from typing import Any

from knarr.api.flowcontrol.v1 import flowcontrol_pb2 as flowcontrol
from services.apiserver.fairness.schemas import Schema

ALL = "*"
AUTO_UPDATE = "apf.kubernetes.io/autoupdate-spec"
MASTERS, NODES, KNOWN, UNKNOWN = "system:masters", "system:nodes", "system:authenticated", "system:unauthenticated"
ACCOUNTS, CONTROLLER, SCHEDULER = "system:serviceaccounts", "system:kube-controller-manager", "system:kube-scheduler"
SYSTEM = "kube-system"
# What belongs to no schema, while they are not known, is everybody's.
EVERYBODY = Schema("catch-all", "", "catch-all", 10_000, "ByUser", ())
WRITES_LEASES = (["get", "create", "update"], ["coordination.k8s.io"], ["leases"])

Level, FlowSchema = flowcontrol.PriorityLevelConfiguration, flowcontrol.FlowSchema


def mandatory_levels() -> list[Any]:
    exempt = _level("exempt")
    exempt.spec.type = "Exempt"
    exempt.spec.exempt.nominal_concurrency_shares = exempt.spec.exempt.lendable_percent = 0
    return [exempt, _limited("catch-all", 5, 0)]


def suggested_levels() -> list[Any]:
    return [
        _limited("system", 30, 33, 64, 6),
        _limited("node-high", 40, 25, 64, 6),
        _limited("leader-election", 10, 0, 16, 4),
        _limited("workload-high", 40, 50, 128, 6),
        _limited("workload-low", 100, 90, 128, 6),
        _limited("global-default", 20, 50, 128, 6),
    ]


def levels() -> list[Any]:
    return mandatory_levels() + suggested_levels()


def mandatory_schemas() -> list[Any]:
    exempt = _schema("exempt", "exempt", 1, "")
    _everything(exempt, groups=[MASTERS])
    rest = _schema("catch-all", "catch-all", 10_000, "ByUser")
    _everything(rest, groups=[UNKNOWN, KNOWN])
    return [exempt, rest]


def suggested_schemas() -> list[Any]:
    return [
        _probes(),
        *_leader_elections(),
        *_nodes(),
        _whole("kube-controller-manager", "workload-high", 800, "ByNamespace", users=[CONTROLLER]),
        _whole("kube-scheduler", "workload-high", 800, "ByNamespace", users=[SCHEDULER]),
        _whole("kube-system-service-accounts", "workload-high", 900, "ByNamespace", accounts=[ALL]),
        _whole("service-accounts", "workload-low", 9000, "ByUser", groups=[ACCOUNTS]),
        _whole("global-default", "global-default", 9900, "ByUser", groups=[UNKNOWN, KNOWN]),
    ]


def schemas() -> list[Any]:
    return mandatory_schemas() + suggested_schemas()


def _probes() -> Any:
    made = _schema("probes", "exempt", 2, "")
    rule = _rule(made, groups=[UNKNOWN, KNOWN])
    rule.non_resource_rules.add(verbs=["get"], non_resource_urls=["/healthz", "/readyz", "/livez"])
    return made


def _leader_elections() -> list[Any]:
    system = _schema("system-leader-election", "leader-election", 100, "ByUser")
    rule = _rule(system, users=[CONTROLLER, SCHEDULER], accounts=[ALL])
    _resources(rule, *WRITES_LEASES)
    endpoints = _schema("endpoint-controller", "workload-high", 150, "ByUser")
    rule = _rule(endpoints, users=[CONTROLLER], accounts=["endpoint-controller", "endpointslicemirroring-controller"])
    _resources(rule, ["get", "create", "update"], [""], ["endpoints"])
    workload = _schema("workload-leader-election", "leader-election", 200, "ByUser")
    _resources(_rule(workload, accounts=[ALL]), *WRITES_LEASES)
    return [system, endpoints, workload]


def _nodes() -> list[Any]:
    high = _schema("system-node-high", "node-high", 400, "ByUser")
    rule = _rule(high, groups=[NODES])
    _resources(rule, [ALL], [""], ["nodes", "nodes/status"], clusterwide=True)
    _resources(rule, [ALL], ["coordination.k8s.io"], ["leases"])
    return [high, _whole("system-nodes", "system", 500, "ByUser", groups=[NODES])]


def _level(name: str) -> Any:
    made = Level()
    made.metadata.name = name
    made.metadata.annotations[AUTO_UPDATE] = "true"
    return made


def _limited(name: str, shares: int, lendable: int, queues: int = 0, hand_size: int = 0) -> Any:
    made = _level(name)
    made.spec.type = "Limited"
    limited = made.spec.limited
    limited.nominal_concurrency_shares, limited.lendable_percent = shares, lendable
    limited.limit_response.type = "Queue" if queues else "Reject"
    if queues:
        queuing = limited.limit_response.queuing
        queuing.queues, queuing.hand_size, queuing.queue_length_limit = queues, hand_size, 50
    return made


def _schema(name: str, level: str, precedence: int, method: str) -> Any:
    made = FlowSchema()
    made.metadata.name = name
    made.metadata.annotations[AUTO_UPDATE] = "true"
    made.spec.priority_level_configuration.name = level
    made.spec.matching_precedence = precedence
    if method:
        made.spec.distinguisher_method.type = method
    return made


def _rule(schema: Any, *, users: list[str] | None = None, groups: list[str] | None = None, accounts: list[str] | None = None) -> Any:
    """A rule about these; accounts are those of the system's namespace."""
    rule = schema.spec.rules.add()
    for name in users or ():
        rule.subjects.add(kind="User").user.name = name
    for name in groups or ():
        rule.subjects.add(kind="Group").group.name = name
    for name in accounts or ():
        account = rule.subjects.add(kind="ServiceAccount").service_account
        account.namespace, account.name = SYSTEM, name
    return rule


def _resources(rule: Any, verbs: list[str], groups: list[str], names: list[str], *, clusterwide: bool = False) -> None:
    rule.resource_rules.add(verbs=verbs, api_groups=groups, resources=names, namespaces=[ALL], cluster_scope=clusterwide)


def _everything(schema: Any, **subjects: Any) -> None:
    rule = _rule(schema, **subjects)
    _resources(rule, [ALL], [ALL], [ALL], clusterwide=True)
    rule.non_resource_rules.add(verbs=[ALL], non_resource_urls=[ALL])


def _whole(name: str, level: str, precedence: int, method: str, **subjects: Any) -> Any:
    made = _schema(name, level, precedence, method)
    _everything(made, **subjects)
    return made
