"""Certificates name their user, serve their hosts and are kept for the next start."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from knarr.service.certificates import CertificateAuthority, covers


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
