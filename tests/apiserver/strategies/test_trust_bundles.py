"""Bundles of certificates that are trusted: what the scenario files cannot say."""

from __future__ import annotations

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.service.certificates import CertificateAuthority
from services.apiserver.strategies.certificates import MAX_TRUST_BUNDLE_BYTES, ClusterTrustBundleStrategy

STRATEGY = ClusterTrustBundleStrategy()


def bundle(text: str, **labels: str) -> certificates.ClusterTrustBundle:
    made = certificates.ClusterTrustBundle(metadata=meta.ObjectMeta(name="x", labels=labels))
    made.spec.trust_bundle = text
    return made


def test_what_is_stored_stays_changeable_whatever_newer_rules_say_of_it() -> None:
    leaf = bundle(CertificateAuthority.create().issue("someone").certificate.decode())
    labelled = bundle(leaf.spec.trust_bundle, a="b")
    assert STRATEGY.validate_create(leaf)
    assert not STRATEGY.validate(labelled) + STRATEGY.validate_update(labelled, leaf)
    grown = bundle(leaf.spec.trust_bundle * 2)
    assert [cause.field for cause in STRATEGY.validate_update(grown, leaf)] == ["spec.trustBundle"] * 2


def test_nothing_of_a_bundle_that_is_too_large_is_parsed() -> None:
    (cause,) = STRATEGY.validate_create(bundle("€" * (MAX_TRUST_BUNDLE_BYTES // 3 + 1)))
    assert (cause.reason, cause.message) == ("FieldValueTooLong", "Too long: may not be more than 1048576 bytes")
    (cause,) = STRATEGY.validate_create(bundle("€" * (MAX_TRUST_BUNDLE_BYTES // 3)))
    assert cause.message.endswith("at least one trust anchor must be provided")
