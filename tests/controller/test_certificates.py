"""Requests for certificates: who is approved, what is signed and for how long, and when a request goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Forbidden
from knarr.service.authentication import User
from knarr.service.certificates import CertificateAuthority
from services.apiserver.rbac.defaults import defaults
from services.controller.controllers.csrapproving.controller import CertificateApprovingController
from services.controller.controllers.csrapproving.decide import OTHER, SELF, rights, serves_itself
from services.controller.controllers.csrcleaner.decide import seconds_left
from services.controller.controllers.csrsigning.controller import CertificateSigningController
from services.controller.controllers.csrsigning.decide import CLIENT, LEGACY, Refused, check, is_due, signed
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import node
from tests.support.signing import CLIENT_SIGNER, SERVING_SIGNER, certificate_request, signing, signing_request
from tests.support.virtual_time import virtual_time

NODE = "system:node:node-1"
Request = certificates.CertificateSigningRequest
BOTH = (CertificateApprovingController, CertificateSigningController)
YEAR = timedelta(days=365)


def request(signer: str = CLIENT_SIGNER, user: str = NODE, groups: tuple[str, ...] = ("system:nodes",), **options: Any) -> Request:
    made = certificate_request("r", signer, user, **options)
    made.spec.username = user
    made.spec.groups.extend(groups)
    return made


def asked(made: Request) -> x509.CertificateSigningRequest:
    return x509.load_pem_x509_csr(made.spec.request)


def test_a_node_is_approved_for_itself_by_one_right_and_for_others_by_another() -> None:
    assert rights(request()) == [SELF, OTHER]
    assert rights(request(user="system:bootstrap:abcdef", subject=NODE)) == [OTHER]
    assert rights(request(usages=("digital signature", "key encipherment", "client auth"))) == [SELF, OTHER]


@pytest.mark.parametrize(
    "made",
    [
        request(SERVING_SIGNER, addresses=("10.0.0.9",)),
        request(subject="carol"),
        request(subject="system:node:"),
        request(addresses=("10.0.0.9",)),
        request(usages=("client auth",)),
        request(usages=("digital signature", "client auth", "server auth")),
    ],
    ids=["serving", "somebody", "nobody", "address", "usage", "usages"],
)
def test_what_is_no_client_of_a_node_is_not_approved(made: Request) -> None:
    assert rights(made) == []


def test_a_node_serves_by_its_own_name() -> None:
    own = ("node-1",)
    assert serves_itself(request(SERVING_SIGNER, names=own))
    for made in (
        request(SERVING_SIGNER),
        request(SERVING_SIGNER, names=("node-2",)),
        request(SERVING_SIGNER, names=("node-1", "node-2")),
        request(SERVING_SIGNER, subject="system:node:node-2", names=own),
        request(SERVING_SIGNER, names=own, groups=()),
        request(SERVING_SIGNER, user="carol", subject=NODE, names=own),
        request(SERVING_SIGNER, names=own, usages=("digital signature", "server auth", "client auth")),
        request(CLIENT_SIGNER, names=own),
    ):
        assert not serves_itself(made)


@pytest.mark.parametrize(
    "name",
    ["kubernetes", "kubernetes.default.svc", "localhost", "127.0.0.1", "10.96.0.1", "hooks.shop.svc", "hooks.shop.svc.cluster.local"],
)
def test_a_node_is_not_taken_for_an_api_server(name: str) -> None:
    user = f"system:node:{name}"
    assert not serves_itself(request(SERVING_SIGNER, user=user, names=(name,)))
    assert not serves_itself(request(SERVING_SIGNER, names=("node-1",)), ["node-1"])


def test_addresses_that_a_node_says_of_itself_are_for_a_person() -> None:
    assert not serves_itself(request(SERVING_SIGNER, addresses=("10.0.0.9",)))
    assert not serves_itself(request(SERVING_SIGNER, names=("node-1",), addresses=("10.0.0.9",)))
    assert not serves_itself(request(SERVING_SIGNER, user="system:node:10.0.0.9", addresses=("10.0.0.9",)))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (request(CLIENT, usages=("client auth", "server auth")), "usages did not match"),
        (request(CLIENT, usages=("digital signature",)), "usages did not match"),
        (request(subject="carol"), "common name does not begin with system:node:"),
        (request(addresses=("10.0.0.9",)), "IP subjectAltNames are not allowed"),
        (request(usages=("client auth",)), "usages did not match"),
        (request(SERVING_SIGNER), "DNS or IP subjectAltName is required"),
        (request(SERVING_SIGNER, addresses=("10.0.0.9",), usages=("digital signature", "client auth")), "usages did not match"),
    ],
    ids=lambda value: value[:20].replace(" ", "-") if isinstance(value, str) else "",
)
def test_a_signer_takes_what_it_is_for(made: Request, words: str) -> None:
    with pytest.raises(Refused, match=words):
        check(made, asked(made))


def test_names_that_cannot_be_read_are_refused() -> None:
    # An X.400 address, which cryptography does not know.
    strange = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex("3004a3023000"))
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"), x509.NameAttribute(NameOID.COMMON_NAME, NODE)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(strange, critical=False)
    pem = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    client, serving = request(), request(SERVING_SIGNER)
    client.spec.request = serving.spec.request = pem
    assert rights(client) == [] and not serves_itself(serving)
    for made in (client, serving):
        with pytest.raises(Refused, match="its subjectAltName cannot be read"):
            check(made, asked(made))


@pytest.mark.parametrize("organizations", [(), ("system:nodes", "system:masters"), ("system:masters",)])
def test_a_node_is_in_no_other_group(organizations: tuple[str, ...]) -> None:
    made = request()
    made.spec.request = signing_request(NODE, organizations)
    with pytest.raises(Refused, match="organization is not system:nodes"):
        check(made, asked(made))


NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "good_for"),
    [(0, YEAR), (3600, timedelta(hours=1)), (60, timedelta(minutes=10)), (10**9, YEAR)],
)
def test_a_certificate_is_good_for_what_was_asked(seconds: int, good_for: timedelta) -> None:
    authority = CertificateAuthority.create()
    made = request(SERVING_SIGNER, addresses=("10.0.0.9",), seconds=seconds)
    found = x509.load_pem_x509_certificate(signed(made, asked(made), authority, YEAR, NOW))
    assert (found.not_valid_before_utc, found.not_valid_after_utc) == (NOW - timedelta(minutes=5), NOW + good_for)
    assert found.subject.rfc4514_string() == f"CN={NODE},O=system:nodes"
    assert list(found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert [str(name.value) for name in found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value] == ["10.0.0.9"]
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    found.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.pair.certificate))


def test_nothing_outlives_its_authority() -> None:
    authority = CertificateAuthority.create()
    made = request()
    late = authority.ends - timedelta(hours=1)
    assert x509.load_pem_x509_certificate(signed(made, asked(made), authority, YEAR, late)).not_valid_after_utc == authority.ends
    with pytest.raises(Refused, match="the signer has expired"):
        signed(made, asked(made), authority, YEAR, authority.ends + timedelta(seconds=1))


@pytest.mark.parametrize("usage", ["cert sign", "crl sign", "microsoft sgc"])
def test_nobody_becomes_an_authority(usage: str) -> None:
    made = request(LEGACY, usages=("digital signature", usage))
    with pytest.raises(ValueError, match=usage):
        signed(made, asked(made), CertificateAuthority.create(), YEAR, NOW)


def with_conditions(*kinds: str, minutes_ago: int = 0, certificate: bytes = b"") -> Request:
    made = request()
    made.metadata.creation_timestamp.seconds = int(NOW.timestamp())
    for kind in kinds:
        condition = made.status.conditions.add(type=kind, status="True")
        condition.last_update_time.seconds = int(NOW.timestamp()) - minutes_ago * 60
    made.status.certificate = certificate
    return made


def test_what_is_due() -> None:
    for kinds, due in (((), False), (("Denied",), False), (("Approved",), True), (("Approved", "Failed"), False)):
        assert is_due(with_conditions(*kinds)) is due
    assert not is_due(with_conditions("Approved", certificate=b"x"))


def test_a_request_goes_in_its_time() -> None:
    authority = CertificateAuthority.create()
    short = signed(request(seconds=600), asked(request()), authority, YEAR, NOW)
    hour = 3600
    for made, left in (
        (with_conditions(), 24 * hour),
        (with_conditions("Approved"), 24 * hour),
        (with_conditions("Denied"), hour),
        (with_conditions("Denied", minutes_ago=90), 0),
        (with_conditions("Approved", "Failed"), hour),
        (with_conditions("Approved", certificate=short), 600),
        (with_conditions("Approved", certificate=b"nonsense"), hour),
    ):
        assert seconds_left(made, NOW) == left


def stored(c: Cluster) -> dict[str, Request]:
    return {found.metadata.name: found for found in c.api.all(Request)}


def kinds(c: Cluster, name: str) -> list[str]:
    return [condition.type for condition in stored(c)[name].status.conditions]


@virtual_time
async def test_a_machine_becomes_a_node_and_renews_itself() -> None:
    async with cluster(kubelet=False, controllers=BOTH, signing=signing()) as c:
        has = node()
        has.status.addresses.add(type="InternalIP", address="10.0.0.10")
        c.api.seed(has, *defaults())
        machine = c.api.client(User("system:bootstrap:abcdef", groups=("system:bootstrappers", "system:authenticated")))
        own = c.api.client(User(NODE, groups=("system:nodes", "system:authenticated")))
        await machine.create(certificate_request("first", CLIENT_SIGNER, NODE))
        await own.create(certificate_request("next", CLIENT_SIGNER, NODE))
        await own.create(certificate_request("serving", SERVING_SIGNER, NODE, names=("node-1",)))
        await own.create(certificate_request("stolen", SERVING_SIGNER, NODE, addresses=("10.0.0.10",)))
        with pytest.raises(Forbidden, match="can only create a node CSR with CN=system:node:node-1"):
            await own.create(certificate_request("another", CLIENT_SIGNER, NODE, subject="system:node:node-2"))
        await c.until(lambda: all(stored(c)[name].status.certificate for name in ("first", "next", "serving")))
        assert kinds(c, "stolen") == []


@virtual_time
async def test_a_person_decides_about_people_who_may() -> None:
    async with cluster(kubelet=False, controllers=BOTH, signing=signing()) as c:
        c.api.seed(*defaults())
        carol = c.api.client(User("carol", groups=("system:authenticated",)))
        with pytest.raises(Forbidden):
            await carol.create(certificate_request("r", CLIENT, "carol"))
        made = Request(metadata=meta.ObjectMeta(name="r"))
        made.spec.request, made.spec.signer_name = signing_request("carol", ["dev"]), CLIENT
        made.spec.usages.extend(["client auth"])
        await c.client.create(made)
        masters = Request(metadata=meta.ObjectMeta(name="m"))
        masters.spec.CopyFrom(made.spec)
        masters.spec.request = signing_request("carol", ["system:masters"])
        with pytest.raises(Forbidden, match="with system:masters group is not allowed"):
            await c.client.create(masters)

        def approve(found: Request) -> None:
            found.status.conditions.add(type="Approved", status="True", reason="ByHand")

        await c.edit(Request, "r", approve, namespace="", subresource="approval")
        await c.until(lambda: stored(c)["r"].status.certificate)
        found = x509.load_pem_x509_certificate(stored(c)["r"].status.certificate)
        assert found.subject.rfc4514_string() == "CN=carol,O=dev"


@virtual_time
async def test_without_an_authority_nothing_is_signed() -> None:
    async with cluster(kubelet=False, controllers=BOTH) as c:
        c.api.seed(*defaults(), core.Node(metadata=meta.ObjectMeta(name="node-1")))
        own = c.api.client(User(NODE, groups=("system:nodes", "system:authenticated")))
        await own.create(certificate_request("r", CLIENT_SIGNER, NODE))
        await c.until(lambda: kinds(c, "r") == ["Approved"])
        assert not stored(c)["r"].status.certificate
