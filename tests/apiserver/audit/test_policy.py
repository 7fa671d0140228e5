"""Which rule of a policy covers which request, and what a broken policy is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.service.errors import CommandError
from services.apiserver.audit.default import DEFAULT_POLICY
from services.apiserver.audit.policy import COMPLETE, RECEIVED, REMEMBERED, Level, Policy, Resources, Rule, Subject
from services.apiserver.audit.reading import parse_policy, read_policy
from services.apiserver.results import Ref

PODS, DEPLOYMENTS, SECRETS, NODES = (version_of(kind) for kind in (core.Pod, apps.Deployment, core.Secret, core.Node))


def subject(
    ref: Ref | None = None, *, user: str = "jane", groups: tuple[str, ...] = ("dev",), verb: str = "get", path: str = ""
) -> Subject:
    return Subject(user, groups, verb, ref, path)


HEAD = b"apiVersion: audit.k8s.io/v1\nkind: Policy\n"


@pytest.mark.parametrize(
    ("rule", "asked", "covered"),
    [
        (Rule(Level.METADATA), subject(path="/version"), True),
        (Rule(Level.METADATA, users=("jane",)), subject(Ref(PODS, "a")), True),
        (Rule(Level.METADATA, users=("joe",)), subject(Ref(PODS, "a")), False),
        (Rule(Level.METADATA, groups=("ops", "dev")), subject(Ref(PODS, "a")), True),
        (Rule(Level.METADATA, verbs=("watch",)), subject(Ref(PODS, "a")), False),
        (Rule(Level.METADATA, namespaces=("a",)), subject(Ref(PODS, "a")), True),
        (Rule(Level.METADATA, namespaces=("a",)), subject(Ref(PODS, "b")), False),
        (Rule(Level.METADATA, namespaces=("",)), subject(Ref(NODES, "", "n")), True),
        (Rule(Level.METADATA, namespaces=("a",)), subject(path="/version"), False),
        (Rule(Level.METADATA, resources=(Resources(""),)), subject(Ref(PODS, "a")), True),
        (Rule(Level.METADATA, resources=(Resources(""),)), subject(Ref(DEPLOYMENTS, "a")), False),
        (Rule(Level.METADATA, resources=(Resources("", ("pods",)),)), subject(Ref(PODS, "a", "p", "log")), False),
        (Rule(Level.METADATA, resources=(Resources("", ("pods/log",)),)), subject(Ref(PODS, "a", "p", "log")), True),
        (Rule(Level.METADATA, resources=(Resources("", ("pods/*",)),)), subject(Ref(PODS, "a", "p", "log")), True),
        (Rule(Level.METADATA, resources=(Resources("", ("*/log",)),)), subject(Ref(PODS, "a", "p", "log")), True),
        (Rule(Level.METADATA, resources=(Resources("", ("*/log",)),)), subject(Ref(PODS, "a", "p")), False),
        (Rule(Level.METADATA, resources=(Resources("", ("*",)),)), subject(Ref(PODS, "a", "p", "log")), True),
        (Rule(Level.METADATA, resources=(Resources("", ("pods",), ("p",)),)), subject(Ref(PODS, "a", "p")), True),
        (Rule(Level.METADATA, resources=(Resources("", ("pods",), ("p",)),)), subject(Ref(PODS, "a", "q")), False),
        (Rule(Level.METADATA, paths=("/healthz*",)), subject(path="/healthz/etcd"), True),
        (Rule(Level.METADATA, paths=("/healthz",)), subject(path="/healthz/etcd"), False),
        (Rule(Level.METADATA, paths=("*",)), subject(path="/anything"), True),
        (Rule(Level.METADATA, paths=("*",)), subject(Ref(PODS, "a")), False),
    ],
)
def test_a_rule_covers(rule: Rule, asked: Subject, covered: bool) -> None:
    assert rule.covers(asked) is covered
    assert (Policy([rule]).decide(asked).level is Level.METADATA) is covered


def test_the_first_rule_decides_and_stages_are_added_up() -> None:
    policy = parse_policy(
        HEAD
        + b"omitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n"
        + b"- {level: None, users: [quiet]}\n"
        + b"- {level: Request, resources: [{group: '', resources: [secrets]}], omitStages: [ResponseComplete], omitManagedFields: false}\n"
        + b"- {level: RequestResponse}\n"
    )
    assert policy.decide(subject(Ref(SECRETS, "a"), user="quiet")).level is Level.NONE
    found = policy.decide(subject(Ref(SECRETS, "a")))
    assert (found.level, found.omitted_stages, found.omits_managed_fields) == (Level.REQUEST, frozenset((RECEIVED, COMPLETE)), False)
    found = policy.decide(subject(Ref(PODS, "a")))
    assert (found.level, found.omitted_stages, found.omits_managed_fields) == (Level.REQUEST_RESPONSE, frozenset((RECEIVED,)), True)


def test_what_no_rule_covers_is_not_kept() -> None:
    assert Policy([Rule(Level.METADATA, users=("joe",))]).decide(subject(Ref(PODS, "a"))).level is Level.NONE


def test_what_is_remembered_tells_names_apart_only_where_rules_do_and_is_bounded() -> None:
    policy = Policy([Rule(Level.METADATA, resources=(Resources("", ("pods",), ("p",)),))])
    assert [policy.of_resource("jane", (), "get", Ref(PODS, "a", name)).level for name in ("p", "q", "p")] == [
        Level.METADATA,
        Level.NONE,
        Level.METADATA,
    ]
    for number in range(2 * REMEMBERED):
        policy.of_resource("jane", (), "get", Ref(PODS, "a", str(number)))
    assert len(policy._known) <= REMEMBERED


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "it must be one Policy of audit.k8s.io/v1"),
        (b"apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]", "it must be one Policy"),
        (HEAD, "rules: there must be one at least"),
        (HEAD + b"rules: []", "rules: there must be one at least"),
        (HEAD + b"rules: [{level: metadata}]", "rules[0].level: must be one of None, Metadata, Request, RequestResponse"),
        (HEAD + b"rules: [{level: Metadata, user: [a]}]", "rules[0]: unknown field 'user'"),
        (HEAD + b"rules: [{level: Metadata, level: None}]", "rules[0]: field 'level' is there twice"),
        (HEAD + b"rules: [{level: Metadata, users: a}]", "rules[0].users: must be a list"),
        (HEAD + b"rules: [{level: Metadata, users: [1]}]", "rules[0].users[0]: must be text"),
        (HEAD + b"rules: [{level: Metadata, nonResourceURLs: [healthz]}]", "rules[0].nonResourceURLs[0]: must begin with a slash"),
        (HEAD + b"rules: [{level: Metadata, nonResourceURLs: [/a*b]}]", "rules[0].nonResourceURLs[0]: a wildcard must be the last letter"),
        (
            HEAD + b"rules: [{level: Metadata, nonResourceURLs: [/a], namespaces: [b]}]",
            "rules[0].nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs",
        ),
        (HEAD + b"rules: [{level: Metadata, resources: [{group: apps/v1}]}]", "rules[0].resources[0].group: must be the name of a group"),
        (
            HEAD + b"rules: [{level: Metadata, resources: [{group: '', resourceNames: [a]}]}]",
            "rules[0].resources[0].resourceNames: using resourceNames requires at least one resource",
        ),
        (HEAD + b"rules: [{level: Metadata, omitStages: [Now]}]", "rules[0].omitStages[0]: must be one of RequestReceived"),
        (HEAD + b"omitStages: [Now]\nrules: [{level: None}]", "omitStages[0]: must be one of"),
        (HEAD + b"omitManagedFields: maybe\nrules: [{level: None}]", "omitManagedFields: must be true or false"),
        (HEAD + b"rules:\n- {level: None\n", "line 5"),
        (HEAD + b"rules: [{level: None}]" + b"\n---\n" + HEAD, "it must be one Policy"),
    ],
)
def test_a_broken_policy_is_refused_by_its_field(text: bytes, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_bytes(text)
    with pytest.raises(CommandError) as refused:
        read_policy(file)
    assert str(file) in str(refused.value)
    assert complaint in str(refused.value)


def test_the_policy_of_knarr_up_keeps_changes_and_looks_at_secrets_of_people() -> None:
    levels = {
        "who changes": subject(Ref(PODS, "a"), verb="create"),
        "who reads a secret": subject(Ref(SECRETS, "a", "s")),
        "who reads a pod": subject(Ref(PODS, "a", "p")),
        "the scheduler's binding": subject(Ref(PODS, "a", "p", "binding"), verb="create", user="system:kube-scheduler"),
        "a controller's look at secrets": subject(Ref(SECRETS, "a"), verb="list", user="system:kube-controller-manager"),
        "a kubelet's status": subject(Ref(PODS, "a", "p", "status"), verb="patch", user="system:node:n", groups=("system:nodes",)),
        "a probe": subject(path="/readyz"),
    }
    kept = {what for what, asked in levels.items() if DEFAULT_POLICY.decide(asked).level is not Level.NONE}
    assert kept == {"who changes", "who reads a secret", "the scheduler's binding"}
