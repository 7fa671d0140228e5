"""The API server, by what it answers."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence

from knarr.service.authentication import AUTHENTICATED, NODE_PREFIX, NODES
from services.apiserver.encryption.reloading import INFO
from services.command.checks.check import Check, Weight
from services.command.checks.facts import Facts

READ_ONLY_PORT, CONNECT_SECONDS = 10255, 1.0
NOBODY = "knarr-audit-nobody"
_LOST = re.compile(r'^apiserver_audit_error_total\{plugin="[^"]*"\} ([0-9.]+)', re.MULTILINE)


def _strangers(facts: Facts) -> Sequence[str]:
    paths = ("/api", "/api/v1/namespaces", "/api/v1/secrets", "/metrics")
    return [f"{path} is answered to who names nobody" for path in paths if facts.stranger_code(path) not in (401, 403)]


def _anybody(facts: Facts) -> Sequence[str]:
    wishes = (("list", "secrets"), ("create", "pods"), ("delete", "namespaces"))
    return [
        f"whoever is known may {verb} {resource}"
        for verb, resource in wishes
        if facts.may(NOBODY, [AUTHENTICATED], verb=verb, resource=resource)
    ]


def _nodes(facts: Facts) -> Sequence[str]:
    groups = [NODES, AUTHENTICATED]
    wishes = ({"verb": "list", "resource": "secrets"}, {"verb": "get", "resource": "secrets", "namespace": "default", "name": NOBODY})
    return [
        f"a node without pods may {wish['verb']} {wish['resource']}"
        for wish in wishes
        if facts.may(f"{NODE_PREFIX}{NOBODY}", groups, **wish)
    ]


def _audit(facts: Facts) -> Sequence[str]:
    if "apiserver_audit_level_total{" not in facts.metrics:
        return ["no audit log is kept"]
    lost = sum(float(number) for number in _LOST.findall(facts.metrics))
    return [f"{lost:.0f} events of the audit log were lost since the API server started"] if lost else []


def _encryption(facts: Facts) -> Sequence[str]:
    return [] if f"{INFO}{{" in facts.metrics else ["Secrets lie in the store as they are"]


def _fairness(facts: Facts) -> Sequence[str]:
    found = "apiserver_flowcontrol_nominal_limit_seats{" in facts.metrics
    return [] if found else ["whoever comes first is served first, however much he asks for"]


def _profiling(facts: Facts) -> Sequence[str]:
    return [path for path in ("/debug/pprof/", "/debug/flags/v") if facts.stranger_code(path) not in (401, 403, 404)]


def _read_only(facts: Facts) -> Sequence[str]:
    found = []
    for node in facts.nodes:
        addresses = [address["address"] for address in node.get("status", {}).get("addresses", ()) if address["type"] == "InternalIP"]
        for address in addresses:
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as connection:
                connection.settimeout(CONNECT_SECONDS)
                if connection.connect_ex((address, READ_ONLY_PORT)) == 0:
                    found.append(f"{node['metadata']['name']} answers at {address}:{READ_ONLY_PORT}")
    return found


CHECKS = (
    Check(
        "api-anonymous",
        "who names nobody is answered nothing but health and version",
        "A stranger on the network could read what runs here, or more.",
        "Give the API server no authenticator for strangers (`anonymous` of an AuthenticationConfiguration), nor them a role.",
        _strangers,
        cis=("1.2.1",),
    ),
    Check(
        "api-authorization",
        "who is known may do nothing until a role is bound to him",
        "Without authorization every account that leaks is an administrator's.",
        "Run the API server with RBAC, and bind no role to system:authenticated but Kubernetes' own.",
        _anybody,
        cis=("1.2.6", "1.2.8"),
    ),
    Check(
        "api-node-authorizer",
        "a node may read the Secrets of its own pods alone",
        "Who takes over one machine would else have the Secrets of all.",
        "Run the API server with the Node authorizer before RBAC, and bind no role to system:nodes.",
        _nodes,
        cis=("1.2.7",),
    ),
    Check(
        "api-audit-log",
        "an audit log is kept, and nothing of it was lost",
        "What happened cannot be told afterwards without one.",
        "`knarr up` keeps one unless it was told --audit-log-path none; elsewhere give --audit-policy-file and --audit-log-path. "
        "Where events were lost, see the API server's log: the disk is full, or the policy keeps too much.",
        _audit,
        cis=("1.2.16", "3.2.1"),
    ),
    Check(
        "api-encryption",
        "Secrets lie encrypted in the store",
        "Who gets hold of a disk or a backup reads them otherwise.",
        "Give --encryption-provider-config (docs/security.md), keep its file apart from backups, then `knarr secrets rotate`.",
        _encryption,
        Weight.ADVICE,
        cis=("1.2.27", "1.2.28"),
    ),
    Check(
        "api-fairness",
        "one client that asks in a loop does not keep others from being answered",
        "A mistake in one program would be everybody's outage.",
        "Do not run the API server with --requests-at-once 0.",
        _fairness,
    ),
    Check(
        "api-profiling",
        "nothing is served that is for developers of the server alone",
        "Profiles and flags tell a stranger much about the machine.",
        "Take away what stands before the API server and serves /debug.",
        _profiling,
        cis=("1.2.15", "1.3.2", "1.4.1"),
    ),
    Check(
        "node-read-only-port",
        "no kubelet has a port that asks nobody who he is",
        "Pods and their settings could be read from there.",
        "Knarr's kubelet has none: end what listens there.",
        _read_only,
        cis=("4.2.4",),
    ),
)
