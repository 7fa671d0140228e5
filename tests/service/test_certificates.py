"""Certificates name their user, serve their hosts and are kept for the next start."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from knarr.service import certificates
from knarr.service.certificates import CertificateAuthority, belong_together, covers
from knarr.service.errors import CommandError
from knarr.service.keypair import KeyPair


def test_a_certificate_names_user_and_groups() -> None:
    pair = CertificateAuthority.create().issue("alice", organizations=["system:masters"])
    subject = x509.load_pem_x509_certificate(pair.certificate).subject.rfc4514_string()
    assert subject == "CN=alice,O=system:masters"


def test_the_authority_signs_what_it_issues() -> None:
    authority = CertificateAuthority.create()
    issued = x509.load_pem_x509_certificate(authority.issue("x", hosts=["localhost"]).certificate)
    issued.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.pair.certificate))


def test_the_authority_is_kept_and_its_key_is_private(tmp_path: Path) -> None:
    first = CertificateAuthority.load_or_create(tmp_path)
    assert CertificateAuthority.load_or_create(tmp_path).pair == first.pair
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600


def test_covers_asks_for_every_host_and_enough_time() -> None:
    certificate = CertificateAuthority.create().issue("x", hosts=["127.0.0.1", "localhost"]).certificate
    assert covers(certificate, ["127.0.0.1", "localhost"])
    assert not covers(certificate, ["127.0.0.1", "10.96.0.1"])
    assert not covers(certificate, ["127.0.0.1"], at_least=timedelta(days=4000))


@pytest.mark.parametrize("harm", ["empty certificate", "empty key", "no key", "another's key", "another authority", "other hosts"])
def test_a_kept_pair_that_is_no_good_is_made_anew(harm: str, tmp_path: Path) -> None:
    authority = CertificateAuthority.load_or_create(tmp_path)
    kept = authority.kept_pair(tmp_path, "server", "x", hosts=["localhost"])
    assert authority.kept_pair(tmp_path, "server", "x", hosts=["localhost"]) == kept
    match harm:
        case "empty certificate":
            (tmp_path / "server.crt").write_bytes(b"")
        case "empty key":
            (tmp_path / "server.key").write_bytes(b"")
        case "no key":
            (tmp_path / "server.key").unlink()
        case "another's key":
            (tmp_path / "server.key").write_bytes(authority.issue("y").key)
        case "another authority":
            authority = CertificateAuthority.create()
    hosts = ["localhost", "10.0.0.1"] if harm == "other hosts" else ["localhost"]
    fresh = authority.kept_pair(tmp_path, "server", "x", hosts=hosts)
    assert fresh == KeyPair.load(tmp_path, "server")
    assert belong_together(fresh)
    assert covers(fresh.certificate, hosts)
    issuer = x509.load_pem_x509_certificate(authority.pair.certificate)
    x509.load_pem_x509_certificate(fresh.certificate).verify_directly_issued_by(issuer)


@pytest.mark.parametrize(("name", "content"), [("ca.crt", b""), ("ca.key", b""), ("ca.key", None), ("ca.crt", None), ("ca.key", b"other")])
def test_a_damaged_authority_is_not_replaced_but_named(name: str, content: bytes | None, tmp_path: Path) -> None:
    CertificateAuthority.load_or_create(tmp_path).kept_pair(tmp_path, "server", "x")
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content and CertificateAuthority.create().pair.key)
    with pytest.raises(CommandError, match=r"ca\.crt and ca\.key are not a certificate and its key .*or remove") as caught:
        CertificateAuthority.load_or_create(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_an_authority_that_was_only_begun_is_made_anew(tmp_path: Path) -> None:
    CertificateAuthority.load_or_create(tmp_path)
    (tmp_path / "ca.key").unlink()
    authority = CertificateAuthority.load_or_create(tmp_path)
    assert authority.pair == KeyPair.load(tmp_path, "ca")
    assert belong_together(authority.pair)


class Clock(datetime):
    """The time of ``certificates`` while a test sets it."""

    ahead = timedelta()

    @classmethod
    def now(cls, tz: object = None) -> Any:
        return datetime.now(UTC) + cls.ahead


@pytest.mark.parametrize("days", [400, -364 * 10 + 20])
def test_what_a_wrong_clock_made_is_made_anew_and_the_authority_keeps_its_key(
    days: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made while the clock was ahead, or long ago: an authority in force has signed it, by the key that it always had."""
    monkeypatch.setattr(certificates, "datetime", Clock)
    monkeypatch.setattr(Clock, "ahead", timedelta(days=days))
    early = CertificateAuthority.load_or_create(tmp_path)
    pair = early.kept_pair(tmp_path, "server", "x", hosts=["localhost"])
    monkeypatch.setattr(Clock, "ahead", timedelta())
    now = datetime.now(UTC)
    authority = CertificateAuthority.load_or_create(tmp_path)
    assert authority.pair.key == early.pair.key and authority.pair == KeyPair.load(tmp_path, "ca")
    fresh = authority.kept_pair(tmp_path, "server", "x", hosts=["localhost"])
    assert fresh != pair
    issuer, leaf = (x509.load_pem_x509_certificate(found.certificate) for found in (authority.pair, fresh))
    for certificate in (issuer, leaf):
        assert certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    assert leaf.not_valid_after_utc <= issuer.not_valid_after_utc
    leaf.verify_directly_issued_by(issuer)
    # Who was given one by it is known still.
    x509.load_pem_x509_certificate(pair.certificate).verify_directly_issued_by(issuer)
    assert CertificateAuthority.load_or_create(tmp_path).pair == authority.pair
