"""``knarr audit``: well on a fresh cluster, and each check finds what it is about."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest

from knarr.service.certificates import CertificateAuthority
from knarr.service.errors import CommandError
from knarr.service.keypair import KeyPair
from services.apiserver.encryption.reloading import INFO
from services.apiserver.metrics import STORE_TRANSPORT
from services.apiserver.settings import ApiServerSettings
from services.command import main as cli
from services.command.api import ApiClient, Refused
from services.command.audit import CHECKS, audit
from services.command.checks import connections, control_plane, files
from services.command.checks.check import NotHere, Result, Weight
from services.command.checks.facts import RBAC, Facts
from services.command.findings import as_json, as_text, has_failed
from tests.apiserver.rest.live import LiveServer, running_server

# What only a server that keeps a log says.
LOGGED = 'apiserver_audit_level_total{level="Metadata"} 1.0\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    # Other tests of this process spoke to etcd.
    STORE_TRANSPORT.clear()
    with running_server(tmp_path_factory.mktemp("server"), in_memory=True, settings=ApiServerSettings()) as running:
        yield running


def results(server: LiveServer, folder: Path | None = None) -> dict[str, Result]:
    with ApiClient(server.kubeconfig) as api:
        return {result.check.id: result for result in audit(api, folder)}


def post(server: LiveServer, path: str, obj: Any) -> None:
    with ApiClient(server.kubeconfig) as api:
        api.text("POST", path, orjson.dumps(obj))


def pod(name: str, spec: Any, container: Any) -> Any:
    return {"metadata": {"name": name}, "spec": {**spec, "containers": [{"name": "c", "image": "example/app:1", **container}]}}


def test_checks_have_names_of_their_own_and_say_everything() -> None:
    assert len({check.id for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.what
        assert check.why.endswith(".")
        assert check.mend.endswith(".") or "(" in check.mend


def test_a_fresh_cluster_is_well(server: LiveServer) -> None:
    found = results(server)
    # The server of the tests keeps no log.
    failed = {name for name, result in found.items() if result.state == "fail"} - {"api-audit-log"}
    assert not failed, as_text(list(found.values()))
    # Nor has it etcd.
    assert {name for name, result in found.items() if result.state == "skipped"} == {
        "store-certificates",
        *(check.id for check in files.CHECKS),
    }


BAD_PODS = {
    "pods-privileged": pod("privileged", {}, {"securityContext": {"privileged": True}}),
    "pods-host-namespaces": pod("host-network", {"hostNetwork": True}, {}),
    "pods-host-path": pod("host-path", {"volumes": [{"name": "v", "hostPath": {"path": "/etc"}}]}, {}),
    "pods-capabilities": pod("capabilities", {}, {"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}),
    "pods-escalation": pod("escalation", {}, {}),
    "pods-root": pod("root", {}, {"securityContext": {"runAsUser": 0}}),
    "pods-secret-variables": pod("variables", {}, {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
    "pods-images": pod("image", {}, {"image": "registry:5000/app"}),
    "pods-limits": pod("limits", {}, {}),
}
RULES: dict[str, Any] = {
    "rbac-wildcards": {"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]},
    "rbac-secrets": {"verbs": ["list"], "apiGroups": [""], "resources": ["secrets"]},
    "rbac-powers": {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"]},
}
BOUND: dict[str, tuple[str, dict[str, Any]]] = {
    "rbac-cluster-admin": ("cluster-admin", {"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}),
    "rbac-default-accounts": ("view", {"kind": "ServiceAccount", "name": "default", "namespace": "default"}),
    "rbac-strangers": ("view", {"kind": "Group", "name": "system:unauthenticated", "apiGroup": "rbac.authorization.k8s.io"}),
}


def test_each_check_finds_what_it_is_about(server: LiveServer) -> None:
    good = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "runAsUser": 1000}
    limits = {"limits": {"memory": "1Mi"}}
    post(server, "/api/v1/namespaces", {"metadata": {"name": "team"}})
    post(server, "/api/v1/namespaces/team/serviceaccounts", {"metadata": {"name": "default"}})
    post(server, "/api/v1/namespaces/team/pods", pod("good", {}, {"securityContext": good, "resources": limits}))
    for bad in BAD_PODS.values():
        post(server, "/api/v1/namespaces/team/pods", bad)
    for name, rule in RULES.items():
        post(server, f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": [rule]})
    for name, (role, subject) in BOUND.items():
        reference = {"kind": "ClusterRole", "name": role, "apiGroup": "rbac.authorization.k8s.io"}
        post(server, f"{RBAC}/clusterrolebindings", {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]})
    found = results(server)
    for name, bad in BAD_PODS.items():
        assert any(bad["metadata"]["name"] in finding for finding in found[name].findings), name
        assert not any("team/good" in finding for finding in found[name].findings), name
    for name in (*RULES, *BOUND):
        assert any(name in finding for finding in found[name].findings), name
    for name in ("namespaces-pod-security", "namespaces-network-policy"):
        assert [finding.split()[0] for finding in found[name].findings] == ["team"]
    assert has_failed(list(found.values()))
    text = as_text(list(found.values()))
    assert "FAIL  pods-privileged" in text
    assert "mend: " in text


def transport(way: str) -> str:
    """What an API server says of its way to etcd."""
    return f'knarr_apiserver_etcd_transport_info{{transport="{way}"}} 1.0\n'


class Answers(ApiClient):
    """What a cluster says that is not well."""

    def __init__(self, metrics: str = "", codes: int = 401, allowed: bool = False) -> None:
        self.metrics, self.codes, self.allowed = metrics, codes, allowed

    def text(self, method: str, path: str, body: bytes | None = None, *, known: bool = True, content_type: str = "") -> bytes:
        if not known:
            if self.codes >= 400:
                raise Refused(self.codes, "no")
            return b""
        if method == "POST":
            return orjson.dumps({"status": {"allowed": self.allowed}})
        return self.metrics.encode()


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("api-anonymous", Answers(codes=200), Answers(codes=403)),
        ("api-authorization", Answers(allowed=True), Answers()),
        ("api-node-authorizer", Answers(allowed=True), Answers()),
        ("api-audit-log", Answers(), Answers(LOGGED)),
        ("api-audit-log", Answers(LOGGED + 'apiserver_audit_error_total{plugin="log"} 3.0\n'), Answers(LOGGED)),
        ("api-encryption", Answers(), Answers(f'{INFO}{{hash="x"}} 1.0')),
        ("api-fairness", Answers(), Answers('apiserver_flowcontrol_nominal_limit_seats{priority_level="exempt"} 0.0\n')),
        ("api-profiling", Answers(codes=200), Answers(codes=404)),
        ("store-certificates", Answers(transport("plain")), Answers(transport("mutual-tls"))),
        ("store-certificates", Answers(transport("tls")), Answers(transport("unix"))),
    ],
)
def test_the_control_plane_is_judged_by_what_it_answers(name: str, bad: Answers, good: Answers) -> None:
    check = next(check for check in (*control_plane.CHECKS, *connections.CHECKS) if check.id == name)
    assert check.look(Facts(bad, None))
    assert not check.look(Facts(good, None))


class OpenKubelet(grpc.GenericRpcHandler):
    """Asks nobody who he is, or takes whatever token it is shown."""

    def __init__(self, *, wants_token: bool) -> None:
        self._wants_token = wants_token

    def service(self, details: Any) -> Any:
        shown = any(key == "authorization" for key, _ in details.invocation_metadata)
        if self._wants_token and not shown:
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")


@pytest.mark.parametrize(("wants_token", "words"), [(True, ["any token"]), (False, ["who shows nothing", "any token"])])
def test_a_kubelet_that_answers_strangers_is_found(server: LiveServer, wants_token: bool, words: list[str]) -> None:
    authority = CertificateAuthority(KeyPair.load(server.folder, "ca"))
    pair = authority.issue("system:node:open", hosts=["open"])
    kubelet = grpc.server(ThreadPoolExecutor(2), handlers=[OpenKubelet(wants_token=wants_token)])
    port = kubelet.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pair.key, pair.certificate)]))
    kubelet.start()
    try:
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }
        node = {"metadata": {"name": "open"}, "status": status}
        assert [finding.partition(" tells its pods to ")[2] for finding in kubelets(server, node)] == words
    finally:
        kubelet.stop(0).wait()
    with pytest.raises(NotHere, match="no kubelet can be reached"):
        kubelets(server, node)


def kubelets(server: LiveServer, *nodes: Any) -> list[str]:
    check = next(check for check in connections.CHECKS if check.id == "node-strangers")
    with ApiClient(server.kubeconfig) as api:
        facts = Facts(api, None)
        facts.nodes = [*nodes]
        return list(check.look(facts))


def test_files_that_others_may_use_are_found(tmp_path: Path) -> None:
    root = tmp_path / "cluster"
    (root / "pki").mkdir(parents=True)
    root.chmod(0o700)
    for name in ("token", "kubeconfig", "pki/ca.key", "pki/tokens.csv", "pki/ca.crt", "audit.log"):
        (root / name).write_text("")
        (root / name).chmod(0o644 if name.endswith(".crt") else 0o600)
    facts = Facts(Answers(), root)
    assert not [finding for check in files.CHECKS for finding in check.look(facts)]
    for name in ("token", "pki/ca.key", "audit.log"):
        (root / name).chmod(0o644)
    root.chmod(0o755)
    found = [finding for check in files.CHECKS for finding in check.look(facts)]
    assert [finding.split()[0] for finding in found] == [str(root), str(root / "token"), str(root / "pki/ca.key"), str(root / "audit.log")]


def test_json_has_everything() -> None:
    check = dataclasses.replace(CHECKS[0], look=lambda _: ["one", "two"])
    found = json.loads(as_json([Result(check, "fail", ("one", "two"))], with_cis=True))
    assert found["failed"] is True
    assert found["checks"][0]["findings"] == ["one", "two"]
    assert found["checks"][0].keys() == {"id", "state", "what", "why", "mend", "cis", "findings"}


def test_advice_does_not_fail_and_long_findings_are_cut() -> None:
    check = dataclasses.replace(CHECKS[0], weight=Weight.ADVICE)
    result = Result(check, "advice", tuple(map(str, range(50))))
    assert not has_failed([result])
    assert "… and 40 more (-o json)" in as_text([result])


def test_the_command_exits_with_what_it_found(
    server: LiveServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["knarr", "audit", "--kubeconfig", str(server.kubeconfig), "-o", "json"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    found = json.loads(capsys.readouterr().out)
    assert caught.value.code == int(found["failed"])
    monkeypatch.setattr("sys.argv", ["knarr", "audit", "--data-dir", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert "start the cluster first" in capsys.readouterr().err


def test_who_is_no_administrator_is_told(server: LiveServer) -> None:
    with ApiClient(server.kubeconfig) as api:
        api._known.headers["Authorization"] = "Bearer wrong"
        with pytest.raises(CommandError, match="ask as its administrator"):
            audit(api, None)


def test_a_broken_kubeconfig_and_a_dead_server_are_one_line(tmp_path: Path, server: LiveServer) -> None:
    broken = tmp_path / "kubeconfig"
    broken.write_text("[]")
    with pytest.raises(CommandError, match="is no kubeconfig of a cluster"):
        ApiClient(broken)
    with ApiClient(server.kubeconfig, "https://127.0.0.1:1") as api, pytest.raises(CommandError, match="does not answer"):
        api.get("/version")
    with pytest.raises(CommandError, match="is no https:// URL"):
        ApiClient(server.kubeconfig, "http://127.0.0.1:1")
