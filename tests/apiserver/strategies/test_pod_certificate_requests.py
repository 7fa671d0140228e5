"""Requests for pods' certificates: the key that is shown, and the one answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.times import to_time
from knarr.objects import pem
from knarr.objects.copies import copy_of
from knarr.service.certificates import CertificateAuthority
from services.apiserver.strategies.podcertificaterequest import MAX_CHAIN, MAX_REQUEST, PodCertificateRequestStrategy
from services.kubelet.pod.certificate_keys import key_and_request
from tests.support.virtual_time import START

STRATEGY = PodCertificateRequestStrategy()
AUTHORITY = CertificateAuthority.create()
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
KEY, REQUEST = key_and_request("ECDSAP256")
NOBODY = x509.Name([])


def asked(request: bytes = REQUEST, signer: str = "example.com/mesh", **spec: Any) -> certificates.PodCertificateRequest:
    made = certificates.PodCertificateRequest(metadata=meta.ObjectMeta(name="req", namespace="shop"))
    uids = {"pod_uid": "1", "service_account_uid": "2", "node_uid": "3"}
    names = {"pod_name": "web", "service_account_name": "default", "node_name": "node-1"}
    given = {"signer_name": signer, "stub_pkcs10_request": request, "max_expiration_seconds": 86400, **uids, **names, **spec}
    made.spec.MergeFrom(certificates.PodCertificateRequestSpec(**given))
    return made


def signed(request: bytes = REQUEST, life: timedelta = 2 * HOUR, names: list[x509.GeneralName] | None = None) -> str:
    key: Any = x509.load_der_x509_csr(request).public_key()
    san = x509.SubjectAlternativeName(names) if names else None
    return AUTHORITY.sign(NOBODY, key, usages=["client auth"], names=san, begins=START, ends=START + life).decode()


def issued(chain: str = "", life: timedelta = 2 * HOUR, refresh: timedelta = HOUR) -> certificates.PodCertificateRequest:
    made = asked()
    status = made.status
    status.conditions.add(type="Issued", status="True", reason="Fine", last_transition_time=to_time(START))
    status.certificate_chain = chain or signed(life=life)
    for field, at in (("not_before", START), ("not_after", START + life), ("begin_refresh_at", START + refresh)):
        getattr(status, field).CopyFrom(to_time(at))
    return made


def refused(kind: str = "Denied") -> certificates.PodCertificateRequest:
    made = asked()
    made.status.conditions.add(type=kind, status="True", reason="UnsupportedKeyType", last_transition_time=to_time(START))
    return made


def told(causes: list[Any]) -> list[tuple[str, str]]:
    return [(cause.field, cause.message.rpartition(": ")[2]) for cause in causes]


@pytest.mark.parametrize("key_type", ["ED25519", "ECDSAP256", "ECDSAP384", "ECDSAP521", "RSA3072"])
def test_a_key_of_any_type_that_kubelets_make(key_type: str) -> None:
    _, request = key_and_request(key_type)
    assert not STRATEGY.validate_create(asked(request))


def _request_of(key: Any) -> bytes:
    return x509.CertificateSigningRequestBuilder().subject_name(NOBODY).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def forged() -> bytes:
    """With another's signature."""
    other = x509.load_der_x509_csr(key_and_request("ED25519")[1]), x509.load_der_x509_csr(key_and_request("ED25519")[1])
    one, two = (request.public_bytes(Encoding.DER) for request in other)
    return one[:-64] + two[-64:]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (lambda: b"", "must be a valid PKCS#10 certificate request, DER-encoded"),
        (lambda: b"x" * 10, "must be a valid PKCS#10 certificate request, DER-encoded"),
        (lambda: x509.load_der_x509_csr(REQUEST).public_bytes(Encoding.PEM), "must be a valid PKCS#10 certificate request, DER-encoded"),
        (forged, "could not verify proof-of-possession signature"),
        (lambda: _request_of(ec.generate_private_key(ec.SECP256K1())), "elliptic public keys must use curve P256, P384 or P521"),
        (lambda: _request_of(rsa.generate_private_key(65537, 2048)), "RSA keys must have modulus size 3072 or 4096"),
        (lambda: b"x" * (MAX_REQUEST + 1), f"may not be more than {MAX_REQUEST} bytes"),
    ],
    ids=["nothing", "noise", "pem", "forged", "curve", "short-rsa", "too-long"],
)
def test_a_key_that_is_not_proved_or_of_no_good_type(request_: Callable[[], bytes], words: str) -> None:
    assert told(STRATEGY.validate_create(asked(request_()))) == [("spec.stubPKCS10Request", words)]


@pytest.mark.parametrize(
    ("signer", "seconds", "good"),
    [
        ("example.com/mesh", 3600, True),
        ("example.com/mesh", 3599, False),
        ("example.com/mesh", 91 * 86400, True),
        ("example.com/mesh", 91 * 86400 + 1, False),
        ("kubernetes.io/kube-apiserver-client-pod", 86400, True),
        ("kubernetes.io/kube-apiserver-client-pod", 86401, False),
        ("sub.kubernetes.io/x", 86401, False),
        ("notkubernetes.io/x", 86401, True),
    ],
)
def test_how_long_it_may_live(signer: str, seconds: int, good: bool) -> None:
    causes = STRATEGY.validate_create(asked(signer=signer, max_expiration_seconds=seconds))
    assert [cause.field for cause in causes] == ([] if good else ["spec.maxExpirationSeconds"])


def test_a_day_where_nothing_is_said() -> None:
    made = asked()
    made.spec.ClearField("max_expiration_seconds")
    STRATEGY.default(made)
    assert made.spec.max_expiration_seconds == 86400


def test_what_is_asked_for_stays() -> None:
    changed = asked(pod_name="other")
    assert told(STRATEGY.validate_update(changed, asked())) == [("spec", "field is immutable")]
    labelled = asked()
    labelled.metadata.labels["a"] = "b"
    assert not STRATEGY.validate_update(labelled, asked())


@pytest.mark.parametrize("answer", [issued(), refused("Denied"), refused("Failed")], ids=["issued", "denied", "failed"])
def test_there_is_one_answer(answer: certificates.PodCertificateRequest) -> None:
    assert not STRATEGY.validate_status_update(answer, asked())
    assert not STRATEGY.validate_status_update(answer, answer)
    other = copy_of(answer)
    other.status.conditions[0].message = "on second thoughts"
    assert told(STRATEGY.validate_status_update(other, answer)) == [
        ("status", "immutable after PodCertificateRequest is issued, denied, or failed")
    ]
    assert STRATEGY.validate_status_update(asked(), answer)


def _without(field: str) -> certificates.PodCertificateRequest:
    made = issued()
    made.status.ClearField(field)
    return made


def _condition(**changed: Any) -> certificates.PodCertificateRequest:
    made = refused()
    for name, value in changed.items():
        if value is None:
            made.status.conditions[0].ClearField(name)
        else:
            setattr(made.status.conditions[0], name, value)
    return made


def _second() -> certificates.PodCertificateRequest:
    made = refused()
    made.status.conditions.add(type="Failed", status="True", reason="Both", last_transition_time=to_time(START))
    return made


def _more(**status: Any) -> certificates.PodCertificateRequest:
    made = refused()
    made.status.MergeFrom(certificates.PodCertificateRequestStatus(**status))
    return made


def _silent() -> certificates.PodCertificateRequest:
    made = asked()
    made.status.certificate_chain = signed()
    return made


BOTH = [x509.DNSName("a..b"), x509.DNSName(".a"), x509.RFC822Name("nobody")]
STATUS: dict[str, tuple[Callable[[], certificates.PodCertificateRequest], list[tuple[str, str]]]] = {
    "no-answer": (_silent, [("status", 'status is immutable unless transitioning to "Issued", "Denied", or "Failed"')]),
    "unknown-type": (lambda: _condition(type="Approved"), [("status.conditions[0].type", '"Denied", "Failed", "Issued"')]),
    "not-true": (lambda: _condition(status="False"), [("status.conditions[0].status", '"True"')]),
    "no-reason": (lambda: _condition(reason=None), [("status.conditions[0].reason", "Required value")]),
    "no-time": (lambda: _condition(last_transition_time=None), [("status.conditions[0].lastTransitionTime", "Required value")]),
    "long-message": (lambda: _condition(message="x" * 32769), [("status.conditions[0].message", "may not be more than 32768 bytes")]),
    "two": (
        _second,
        [("status.conditions[1].type", 'There may be at most one condition with type "Issued", "Denied", or "Failed"')],
    ),
    "denied-with-a-certificate": (
        lambda: _more(certificate_chain="x"),
        [("status", "non-condition status fields must be empty when denying or failing the PodCertificateRequest")],
    ),
    "no-chain": (
        lambda: _without("certificate_chain"),
        [("status.certificateChain", "issued certificate chain must contain at least one certificate")],
    ),
    "another-block": (
        lambda: issued(signed() + pem.encoded("PRIVATE KEY", b"x")),
        [("status.certificateChain", "issued certificate chain must consist entirely of CERTIFICATE PEM blocks")],
    ),
    "noise": (
        lambda: issued(pem.encoded("CERTIFICATE", b"x")),
        [("status.certificateChain", "leaf certificate does not parse as valid X.509")],
    ),
    "noise-behind": (
        lambda: issued(signed() + pem.encoded("CERTIFICATE", b"x")),
        [("status.certificateChain", "intermediate certificate does not parse as valid X.509")],
    ),
    "too-long": (lambda: issued("x" * (MAX_CHAIN + 1)), [("status.certificateChain", f"may not be more than {MAX_CHAIN} bytes")]),
    "of-another-key": (
        lambda: issued(signed(key_and_request("ECDSAP256")[1])),
        [("status.certificateChain", "leaf certificate was not issued to the requested public key")],
    ),
    "bad-names": (
        lambda: issued(signed(names=BOTH)),
        [
            ("status.certificateChain", "leaf certificate's DNSName should not contain '..'"),
            ("status.certificateChain", "leaf certificate's DNSName should not start or end with '.'"),
            ("status.certificateChain", "leaf certificate should not contain invalid EmailAddress"),
        ],
    ),
    "no-times": (
        lambda: _without("not_before"),
        [("status.notBefore", "must be present and consistent with the issued certificate")],
    ),
    "other-end": (
        lambda: issued(signed(life=3 * HOUR)),
        [("status.notAfter", "must be set to the NotAfter time encoded in the leaf certificate")],
    ),
    "short-life": (
        lambda: issued(life=59 * MINUTE, refresh=30 * MINUTE),
        [("status.certificateChain", "leaf certificate lifetime must be >= 1 hour")],
    ),
    "long-life": (
        lambda: issued(life=25 * HOUR),
        [("status.certificateChain", "leaf certificate lifetime must be <= spec.maxExpirationSeconds (86400)")],
    ),
    "early-refresh": (
        lambda: issued(refresh=9 * MINUTE),
        [("status.beginRefreshAt", "must be at least 10 minutes after status.notBefore")],
    ),
    "late-refresh": (
        lambda: issued(refresh=2 * HOUR - 9 * MINUTE),
        [("status.beginRefreshAt", "must be at least 10 minutes before status.notAfter")],
    ),
}


@pytest.mark.parametrize("what", STATUS)
def test_an_answer_that_is_none(what: str) -> None:
    make, causes = STATUS[what]
    assert told(STRATEGY.validate_status_update(make(), asked())) == causes


def test_a_chain_may_be_longer_and_have_remarks() -> None:
    assert not STRATEGY.validate_status_update(
        issued("mine\n" + signed() + "\nits signer's\n" + AUTHORITY.pair.certificate.decode()), asked()
    )
