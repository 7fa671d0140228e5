"""`knarr certs`: what it shows, and what it makes anew."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from pathlib import Path

import pytest

from knarr.service import certificates
from knarr.service.certificates import CertificateAuthority
from knarr.service.keypair import KeptPair
from services.command import main as cli
from services.standalone.credentials import load_or_create, write_kubeconfig
from services.standalone.files import Files


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["knarr", "certs", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    found = Files(tmp_path)
    write_kubeconfig(found.kubeconfig, load_or_create(found, ["127.0.0.1", "localhost"]), "https://127.0.0.1:6443")
    return found


def test_each_is_shown(files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "list", "--data-dir", str(files.root)) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["NAME", "FOR", "GROUPS", "BY", "EXPIRES", "STATE"]
    assert [(line[0], line[1], line[2], line[3], line[-1]) for line in lines[1:]] == [
        ("admin", "knarr-admin", "system:masters", "knarr-ca", "good"),
        ("ca", "knarr-ca", "-", "itself", "good"),
        ("front-proxy/ca", "knarr-front-proxy-ca", "-", "itself", "good"),
        ("front-proxy/client", "front-proxy-client", "-", "knarr-front-proxy-ca", "good"),
        ("server", "knarr-server", "-", "knarr-ca", "good"),
    ]


def test_what_is_not_good_is_told(files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    authority = CertificateAuthority.load_or_create(files.pki)
    for name, skew, life in (("old", 60, -30), ("near", 60, 60 * 24), ("early", -60, 600)):
        with monkeypatch.context() as patch:
            patch.setattr(certificates, "CLOCK_SKEW", timedelta(minutes=skew))
            patch.setattr(certificates, "LEAF_LIFETIME", timedelta(minutes=life))
            authority.issue(name).save(files.pki, name)
    (files.pki / "broken.crt").write_text("nothing")
    assert run(monkeypatch, "list", "--data-dir", str(files.root), "-o", "json") == 1
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert {name: found[name]["state"] for name in ("old", "near", "early", "server")} == {
        "old": "expired",
        "near": "expiring",
        "early": "not yet",
        "server": "good",
    }
    assert found["server"]["hosts"] == ["127.0.0.1", "localhost"] and "broken" not in found


def test_they_are_made_anew_and_shown_without_a_restart(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = KeptPair(files.pki / "server.crt", files.pki / "server.key")
    before = {path.name: path.read_bytes() for path in files.pki.glob("*.*")}
    assert run(monkeypatch, "renew", "--data-dir", str(files.root)) == 0
    changed = {name for name, data in before.items() if (files.pki / name).read_bytes() != data}
    assert changed == {"server.crt", "server.key", "admin.crt", "admin.key"}
    assert shown.latest().certificate == (files.pki / "server.crt").read_bytes()
    user = json.loads(files.kubeconfig.read_bytes())["users"][0]["user"]
    assert base64.b64decode(user["client-certificate-data"]) == (files.pki / "admin.crt").read_bytes()
    assert files.kubeconfig.stat().st_mode & 0o777 == 0o600
    # What was made anew is what a start would have kept.
    made = (files.pki / "server.crt").read_bytes()
    assert load_or_create(files, ["127.0.0.1", "localhost"]).server.certificate == made


def test_one_alone(files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    server = (files.pki / "server.crt").read_bytes()
    assert run(monkeypatch, "renew", "--data-dir", str(files.root), "front-proxy/client") == 0
    assert (files.pki / "server.crt").read_bytes() == server
    assert run(monkeypatch, "renew", "--data-dir", str(files.root), "server", "nobody") == 1
    assert "nobody is not there" in capsys.readouterr().err
    assert (files.pki / "server.crt").read_bytes() == server
    assert run(monkeypatch, "renew", "--data-dir", str(files.root), "ca") == 1


def test_where_no_authority_is_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "list", "--folder", str(tmp_path)) == 1
    assert "there are no certificates" in capsys.readouterr().err
    authority = CertificateAuthority.create()
    authority.issue("system:kube-scheduler").save(tmp_path / "scheduler", "server")
    (tmp_path / "scheduler" / "ca.crt").write_bytes(authority.pair.certificate)
    assert run(monkeypatch, "list", "--folder", str(tmp_path)) == 0
    assert run(monkeypatch, "renew", "--folder", str(tmp_path)) == 1
    assert "run it where the certificates are made" in capsys.readouterr().err
