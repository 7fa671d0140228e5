"""What `knarr auth why` asks and says."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from knarr.api.apiserver.v1 import authorization_service_pb2 as face
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.service.certificates import CertificateAuthority
from knarr.service.errors import CommandError
from services.command import auth
from services.command.auth import Question, told, why
from services.standalone.files import Files


@pytest.mark.parametrize(
    ("what", "group", "resource", "subresource"),
    [
        ("pods", "", "pods", ""),
        ("pods/log", "", "pods", "log"),
        ("deployments.apps", "apps", "deployments", ""),
        ("deployments.apps/scale", "apps", "deployments", "scale"),
        ("roles.rbac.authorization.k8s.io", "rbac.authorization.k8s.io", "roles", ""),
    ],
)
def test_resources(what: str, group: str, resource: str, subresource: str) -> None:
    about = Question("get", what, "web", "shop", "ann", ("dev",)).request.resource
    assert (about.verb, about.group, about.resource, about.subresource) == ("get", group, resource, subresource)
    assert (about.name, about.namespace) == ("web", "shop")


def test_a_path() -> None:
    asked = Question("get", "/metrics", user="ann", groups=("dev",)).request
    assert (asked.path.verb, asked.path.path, asked.user, list(asked.groups)) == ("get", "/metrics", "ann", ["dev"])


def test_who_may_hears_by_what() -> None:
    answer = face.ExplainResponse(allowed=True, namespace="shop")
    answer.decisions.add(authorizer="Node", decision="no opinion")
    answer.decisions.add(authorizer="RBAC", decision="allow")
    answer.grants.add(
        binding_kind="RoleBinding",
        binding_namespace="shop",
        binding_name="readers",
        subject_kind="Group",
        subject_name="dev",
        role_kind="ClusterRole",
        role_name="view",
        rule=rbac.PolicyRule(verbs=["get", "list"], api_groups=["", "apps"], resources=["pods"], resource_names=["web"]),
    )
    assert list(told(Question("get", "pods", "web", "shop", "ann"), answer)) == [
        "yes: ann: get pods web in shop",
        "  RBAC: allow",
        "  RoleBinding shop/readers gives Group dev the ClusterRole view: get, list pods of core, apps called web",
    ]


def test_who_may_not_hears_what_is_missing() -> None:
    answer = face.ExplainResponse(
        needed=rbac.PolicyRule(verbs=["delete"], api_groups=["apps"], resources=["deployments"]), namespace="shop"
    )
    answer.decisions.add(authorizer="RBAC", decision="no opinion", reason="no role")
    answer.broken.add(binding_kind="ClusterRoleBinding", binding_name="old", role_kind="ClusterRole", role_name="gone")
    answer.candidates.extend(["admin", "cluster-admin", "edit"])
    assert list(told(Question("delete", "deployments.apps", namespace="shop", user="system:serviceaccount:shop:robot"), answer)) == [
        "no: system:serviceaccount:shop:robot: delete deployments.apps in shop",
        "  RBAC: no opinion (no role)",
        "  ClusterRoleBinding old names the ClusterRole gone, which is not there",
        "needed: delete deployments of apps",
        "ClusterRoles that say so: admin, cluster-admin, edit",
        "  kubectl create rolebinding NAME --clusterrole=edit --serviceaccount=shop:robot -n shop",
    ]


@pytest.mark.parametrize(
    ("question", "subject"),
    [
        (Question("get", "/metrics", user="ann"), "--user=ann"),
        (
            Question("get", "/metrics", groups=("a b",)),
            "'--group=a b'",
        ),
    ],
)
def test_the_command_that_would_give_it(question: Question, subject: str) -> None:
    answer = face.ExplainResponse(needed=rbac.PolicyRule(verbs=["get"], non_resource_urls=["/metrics"]), candidates=["system:monitoring"])
    command = f"  kubectl create clusterrolebinding NAME --clusterrole=system:monitoring {subject}"
    assert list(told(question, answer))[-3:] == ["needed: get /metrics", "ClusterRoles that say so: system:monitoring", command]


@pytest.mark.parametrize(
    ("question", "candidates", "commands"),
    [
        # A role of a namespace says nothing about a path, whatever namespace was named.
        (
            Question("get", "/metrics", namespace="default", user="ann"),
            ["cluster-admin", "system:monitoring"],
            ["kubectl create clusterrolebinding NAME --clusterrole=system:monitoring --user=ann"],
        ),
        # Nor about what has no namespace; and nobody should be a component, or an administrator, for the sake of one rule.
        (
            Question("list", "nodes", namespace="default", user="ann"),
            ["cluster-admin", "system:controller:node-controller", "system:node"],
            [
                "kubectl create clusterrole NAME --verb=list --resource=nodes",
                "kubectl create clusterrolebinding NAME --clusterrole=NAME --user=ann",
            ],
        ),
        (
            Question("*", "/x", user="ann"),
            [],
            [
                "kubectl create clusterrole NAME '--verb=*' --non-resource-url=/x",
                "kubectl create clusterrolebinding NAME --clusterrole=NAME --user=ann",
            ],
        ),
    ],
)
def test_the_least_that_would_give_it(question: Question, candidates: list[str], commands: list[str]) -> None:
    lines = list(told(question, face.ExplainResponse(candidates=candidates)))
    assert [line.strip() for line in lines if line.startswith("  kubectl")] == commands
    assert question.what.startswith("/") or "in the whole cluster" in lines[0]


def test_a_server_that_does_not_answer_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "ANSWER_SECONDS", 0.3)
    files = Files(tmp_path)
    files.prepare()
    files.pki.mkdir(exist_ok=True)
    (files.pki / "ca.crt").write_bytes(CertificateAuthority.create().pair.certificate)
    files.admin_token.write_text("t")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        files.state.write_text(json.dumps({"components": {"apiserver": f"127.0.0.1:{mute.getsockname()[1]}"}}))
        with pytest.raises(CommandError, match=r"^the API server at 127\.0\.0\.1:\d+ did not answer within 0\.3 s; `knarr status`"):
            why(files, Question("get", "pods"), as_json=False)


def test_without_a_cluster(tmp_path: object) -> None:
    files = Files(tmp_path)  # type: ignore[arg-type]
    with pytest.raises(CommandError, match="start it first"):
        why(files, Question("get", "pods"), as_json=False)
    files.state.write_text("{")
    with pytest.raises(CommandError, match="damaged"):
        why(files, Question("get", "pods"), as_json=False)
