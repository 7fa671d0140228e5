"""Each component of a cluster of several machines gets what it needs, once, and no more."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from knarr.service.authentication import TokenTable, bound_token, hash_token
from knarr.service.certificates import belong_together, covers
from knarr.service.keypair import KeyPair
from knarr.service.signing_key import FURTHER_KEYS, SIGNING_KEY
from services.apiserver.shown import ETCD_FILES, FRONT_PROXY_FILES, KUBELET_CLIENT_FILES
from services.apiserver.tokens.keys import SigningKeys
from services.compose.trust import main
from services.standalone.certificates import renew

URL = "https://127.0.0.1:6443"
COMPONENTS = (
    *("apiserver", "scheduler", "controller", "cloud", "dns", "web"),
    *("node-1/kubelet", "node-1/proxy", "node-2/kubelet", "node-2/proxy"),
)


def run(monkeypatch: pytest.MonkeyPatch, root: Path, *more: str) -> int:
    nodes = ("--node=node-1=192.0.2.11", "--node=node-2=192.0.2.12")
    monkeypatch.setattr(
        "sys.argv",
        ["trust", str(root), "--apiserver=192.0.2.10", "--controller=192.0.2.30", "--dns=192.0.2.41", f"--server={URL}", *nodes, *more],
    )
    return main()


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_each_component_has_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, tmp_path) == 0
    for name in COMPONENTS:
        folder = tmp_path / name
        shown = {*FRONT_PROXY_FILES.values(), *KUBELET_CLIENT_FILES.values(), SIGNING_KEY, "tokens.csv"} if name == "apiserver" else set()
        shown |= {"signing.crt", "signing.key"} if name == "controller" else set()
        assert {path.name for path in folder.iterdir()} == {"ca.crt", "server.crt", "server.key"} | shown
        assert (folder / "server.key").stat().st_mode & 0o077 == 0
    assert covers((tmp_path / "node-2/kubelet/server.crt").read_bytes(), ["192.0.2.12", "node-2", "127.0.0.1"])
    assert covers((tmp_path / "controller/server.crt").read_bytes(), ["192.0.2.30"])
    assert covers((tmp_path / "dns/server.crt").read_bytes(), ["192.0.2.41"])
    subject = x509.load_pem_x509_certificate((tmp_path / "node-1/kubelet/server.crt").read_bytes()).subject
    assert subject.rfc4514_string() == "CN=system:node:node-1,O=system:nodes"
    subject = x509.load_pem_x509_certificate((tmp_path / "apiserver/kubelet-client.crt").read_bytes()).subject
    assert subject.rfc4514_string() == "CN=kube-apiserver-kubelet-client"


def test_a_gateway_has_a_folder_on_the_nodes_that_are_to_run_one_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, tmp_path, "--gateway=node-2", "--gateway=node-2") == 0
    assert not (tmp_path / "node-1/gateway").exists(), "whoever has it may read all Secrets"
    folder = tmp_path / "node-2/gateway"
    assert {path.name for path in folder.iterdir()} == {"ca.crt", "server.crt", "server.key"}
    assert covers((folder / "server.crt").read_bytes(), ["192.0.2.12", "node-2", "127.0.0.1"])
    assert x509.load_pem_x509_certificate((folder / "server.crt").read_bytes()).subject.rfc4514_string() == "CN=system:knarr-gateway"


def test_a_gateway_on_a_node_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, "--gateway=node-9")
    assert "--gateway node-9: there is no --node node-9=IP" in capsys.readouterr().err
    assert not (tmp_path / "authority").exists()


def test_the_administrator_alone_has_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*token*"))] == [
        "admin/token",
        "apiserver/tokens.csv",
        "authority/admin.token",
    ]
    token = (tmp_path / "admin/token").read_text().strip()
    (line,) = (tmp_path / "apiserver/tokens.csv").read_text().splitlines()
    assert line.split(",")[:2] == [hash_token(token), "knarr-admin"]
    pair = KeyPair.load(tmp_path / "admin", "admin")
    assert belong_together(pair) and (tmp_path / "admin/admin.key").stat().st_mode & 0o077 == 0


def earlier(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of a version that gave each component a token."""
    (root / "authority").mkdir()
    for name in COMPONENTS:
        (root / "authority" / f"{name.replace('/', '-')}.token").write_text(f"{'t' * 32}-{name.replace('/', '-')}\n")
    run(monkeypatch, root)


def test_tokens_of_a_version_before_stay_good_until_they_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier(tmp_path, monkeypatch)

    def name_at(component: str, caller: str) -> str:
        token = (tmp_path / caller / "token").read_text().strip()
        return TokenTable.load(tmp_path / component / "tokens.csv").authenticate(f"Bearer {token}").name

    assert name_at("apiserver", "node-2/kubelet") == "system:node:node-2"
    kept = (tmp_path / "apiserver" / "token").read_text().strip()
    for node in ("node-1", "node-2"):
        table = TokenTable.load(tmp_path / node / "kubelet" / "tokens.csv")
        assert table.authenticate(f"Bearer {bound_token(kept, node)}").name == "system:kube-apiserver"
    with pytest.raises(Exception, match="Unauthorized"):
        table.authenticate(f"Bearer {bound_token(kept, 'node-1')}")
    with pytest.raises(Exception, match="Unauthorized"):
        name_at("node-1/kubelet", "apiserver")
    assert name_at("node-1/proxy", "admin") == "knarr-admin"
    with pytest.raises(Exception, match="Unauthorized"):
        name_at("node-1/kubelet", "node-2/kubelet")
    old = (tmp_path / "node-2/kubelet/token").read_text().strip()
    run(monkeypatch, tmp_path, "--end-tokens")
    with pytest.raises(Exception, match="Unauthorized"):
        TokenTable.load(tmp_path / "apiserver/tokens.csv").authenticate(f"Bearer {old}")
    after = contents(tmp_path)
    fresh = tmp_path / "fresh"
    run(monkeypatch, fresh)
    assert after.keys() == contents(fresh).keys()


def test_a_second_run_changes_nothing_but_adds_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, tmp_path)
    before = contents(tmp_path)
    run(monkeypatch, tmp_path)
    assert contents(tmp_path) == before
    run(monkeypatch, tmp_path, "--node=node-3=192.0.2.13")
    after = contents(tmp_path)
    assert {name for name in after if name not in before} >= {"node-3/kubelet/server.key", "node-3/proxy/server.crt"}
    assert not {name for name in before if after[name] != before[name]}


def test_simulated_nodes_serve_by_one_certificate_and_are_known_by_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, tmp_path, "--hollow-nodes=2", "--hollow=192.0.2.8")
    folder = tmp_path / "hollow"
    assert covers((folder / "server.crt").read_bytes(), ["*.hollow.internal", "192.0.2.8", "127.0.0.1"])
    for number in (1, 2):
        pair = KeyPair.load(folder / "nodes", f"node-{number}.hollow.internal")
        subject = x509.load_pem_x509_certificate(pair.certificate).subject
        assert belong_together(pair) and subject.rfc4514_string() == f"CN=system:node:node-{number}.hollow.internal,O=system:nodes"
    before = contents(folder)
    run(monkeypatch, tmp_path, "--hollow-nodes=3", "--hollow=192.0.2.8")
    after = contents(folder)
    assert before.items() <= after.items()
    assert after.keys() - before.keys() == {f"nodes/node-3.hollow.internal.{ending}" for ending in ("crt", "key")}


def test_extension_api_servers_know_an_api_server_by_an_authority_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, tmp_path)
    shown = x509.load_pem_x509_certificate((tmp_path / "apiserver/front-proxy.crt").read_bytes())
    authority = x509.load_pem_x509_certificate((tmp_path / "apiserver/front-proxy-ca.crt").read_bytes())
    shown.verify_directly_issued_by(authority)
    assert shown.subject.rfc4514_string() == "CN=front-proxy-client"
    assert (tmp_path / "apiserver/front-proxy-ca.crt").read_bytes() != (tmp_path / "apiserver/ca.crt").read_bytes()
    assert (
        (tmp_path / "apiserver/front-proxy.key").stat().st_mode & 0o077 == 0 == (tmp_path / "authority/front-proxy").stat().st_mode & 0o077
    )


def test_all_api_servers_sign_by_one_key_and_know_those_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, tmp_path)
    kept, folder = tmp_path / "authority", tmp_path / "apiserver"
    assert (kept / SIGNING_KEY).read_bytes() == (folder / SIGNING_KEY).read_bytes()
    assert (folder / SIGNING_KEY).stat().st_mode & 0o777 == 0o600
    before = SigningKeys.load(folder)
    assert before is not None
    signed = before.sign(b"{}")
    private = serialization.load_pem_private_key((kept / SIGNING_KEY).read_bytes(), None)
    public = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (kept / FURTHER_KEYS).write_bytes(public)
    (kept / SIGNING_KEY).unlink()
    run(monkeypatch, tmp_path)
    after = SigningKeys.load(folder)
    assert after is not None and len(after.public) == 2 and after.payload(signed) == b"{}"
    assert not before.knows(after.sign(b"{}"))


def test_etcd_trusts_its_own_authority_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, tmp_path, "--etcd=192.0.2.31", "--etcd=etcd-2")
    before = contents(tmp_path)
    assert {path.name for path in (tmp_path / "etcd").iterdir()} == {"ca.crt", "server.crt", "server.key"}
    assert covers((tmp_path / "etcd/server.crt").read_bytes(), ["192.0.2.31", "etcd-2", "127.0.0.1"])
    assert before["etcd/ca.crt"] == before["apiserver/etcd-ca.crt"] != before["apiserver/ca.crt"]
    assert (tmp_path / "apiserver/etcd.key").stat().st_mode & 0o077 == 0 == (tmp_path / "etcd/server.key").stat().st_mode & 0o077
    run(monkeypatch, tmp_path, "--etcd=192.0.2.31", "--etcd=etcd-2")
    assert contents(tmp_path) == before
    authority = (tmp_path / "etcd/ca.crt").read_bytes()
    for name, subject in (("etcd/server", "etcd"), ("apiserver/etcd", "kube-apiserver-etcd-client")):
        found = x509.load_pem_x509_certificate((tmp_path / f"{name}.crt").read_bytes())
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
        assert found.subject.rfc4514_string() == f"CN={subject}"
        assert found.issuer.rfc4514_string() == "CN=knarr-etcd-ca"
    assert {f"apiserver/{file}" for file in ETCD_FILES.values()} <= before.keys()


def test_each_member_of_etcd_has_a_certificate_of_its_own_that_its_group_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--etcd=etcd=192.0.2.31", "--etcd=etcd-2=192.0.2.32", "--etcd=etcd-2=store", f"--etcd-group={os.getgid()}")
    run(monkeypatch, tmp_path, *options)
    keys = {(tmp_path / name / "server.key").read_bytes() for name in ("etcd", "etcd-2")}
    assert len(keys) == 2
    assert covers((tmp_path / "etcd-2/server.crt").read_bytes(), ["192.0.2.32", "store", "127.0.0.1"])
    assert not covers((tmp_path / "etcd/server.crt").read_bytes(), ["192.0.2.32"])
    for _ in range(2):
        for name in ("etcd", "etcd-2"):
            assert (tmp_path / name / "server.key").stat().st_mode & 0o777 == 0o640
        # Made anew by another way, it is readable still.
        renew(tmp_path, ["etcd/server", "etcd-2/server"])
    assert not keys & {(tmp_path / name / "server.key").read_bytes() for name in ("etcd", "etcd-2")}


def test_the_kubeconfig_leads_to_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, tmp_path)
    config = json.loads((tmp_path / "admin/kubeconfig").read_text())
    assert config["clusters"][0]["cluster"]["server"] == URL


@pytest.mark.parametrize("option", ["apiserver=192.0.2.31", "admin=192.0.2.31", "../etcd=192.0.2.31", "etcd="])
def test_a_member_of_etcd_gets_no_folder_of_others(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, f"--etcd={option}")
    assert f"{option!r} is not [FOLDER=]HOST" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_wrong_node_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, "--node=node-3")
    assert "'node-3' is not NAME=IP, like node-1=192.0.2.11" in capsys.readouterr().err
