"""Plugins that ask what else a caller may do: for signers of certificates, and for owners."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.client import Client
from knarr.machinery.errors import Forbidden, Invalid
from services.apiserver.admission.catalog import ALL
from services.apiserver.authorization import refusal
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.request import Request
from tests.support.set_clock import SetClock

KEY = ec.generate_private_key(ec.SECP256R1())
SIGNER = "example.com/signer"


class Some:
    """Allows everything but what is said of signers, finalizers and pods, unless it is listed: verb, resource, name."""

    def __init__(self) -> None:
        self.allowed: set[tuple[str, str, str]] = set()

    def authorize(self, request: Request) -> None:
        part = request.subresource or request.resource.plural
        wish = request.verb, part, request.name
        asked_for = part in ("signers", "finalizers") or wish[:2] == ("delete", "configmaps")
        if asked_for and wish not in self.allowed:
            raise refusal(request)


def subject(organization: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization), x509.NameAttribute(NameOID.COMMON_NAME, "me")])


def csr(organization: str = "team", signer: str = SIGNER) -> certificates.CertificateSigningRequest:
    asked = x509.CertificateSigningRequestBuilder().subject_name(subject(organization)).sign(KEY, hashes.SHA256())
    made = certificates.CertificateSigningRequest(metadata=meta.ObjectMeta(name="r"))
    made.spec.request, made.spec.signer_name = asked.public_bytes(serialization.Encoding.PEM), signer
    made.spec.usages.append("client auth")
    return made


def certificate() -> str:
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject("ca"))
        .issuer_name(subject("ca"))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(KEY, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


async def update(client: Client, obj: Any, subresource: str = "") -> str:
    """The refusal, if it is one."""
    try:
        await client.update(obj, subresource=subresource)
    except Forbidden as error:
        return str(error)
    return ""


async def test_who_approves_and_signs_may_do_so_for_the_signer() -> None:
    some = Some()
    async with ApiInMemory(plugins=ALL, authorizer=some) as api:
        client = api.client()
        found = await client.create(csr())
        found.status.conditions.add(type="Approved", status="True", reason="Tested")
        where = 'certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to '
        assert await update(client, found, "approval") == where + f'approve requests with signerName "{SIGNER}"'
        some.allowed = {("approve", "signers", "example.com/*")}
        assert await update(client, found, "approval") == ""
        found = await client.get(certificates.CertificateSigningRequest, "r")
        # What is not about the certificate is anybody's who may write the status.
        assert await update(client, found, "status") == ""
        found.status.certificate = certificate().encode()
        assert await update(client, found, "status") == where + f'sign requests with signerName "{SIGNER}"'
        some.allowed = {("sign", "signers", SIGNER)}
        assert await update(client, found, "status") == ""


async def test_who_signs_does_not_approve() -> None:
    some = Some()
    some.allowed = {("sign", "signers", SIGNER), ("approve", "signers", SIGNER)}
    async with ApiInMemory(plugins=ALL, authorizer=some) as api:
        client = api.client()
        found = await client.create(csr())
        for kind in ("Approved", "Denied"):
            del found.status.conditions[:]
            found.status.conditions.add(type=kind, status="True", reason="Tested")
            with pytest.raises(Invalid, match=f'updates may not add a condition of type "{kind}"'):
                await client.update(found, subresource="status")
        found = await client.update(found, subresource="approval")
        found.status.conditions[0].reason = "Changed"
        found = await client.update(found, subresource="status")
        assert found.status.conditions[0].reason == "Tested"
        found.status.conditions[0].reason, found.status.certificate = "Changed", certificate().encode()
        found = await client.update(found, subresource="approval")
        assert (found.status.conditions[0].reason, found.status.certificate) == ("Changed", b"")


async def test_an_approval_without_times_gets_those_at_which_it_came() -> None:
    clock = SetClock()
    async with ApiInMemory(clock) as api:
        client = api.client()
        found = await client.create(csr())
        found.status.conditions.add(type="Approved", status="True", reason="Tested")
        assert await update(client, found, "approval") == ""
        (first,) = (await client.get(certificates.CertificateSigningRequest, "r")).status.conditions
        assert first.last_update_time.seconds == first.last_transition_time.seconds == int(clock.now().timestamp())
        clock.move(60)
        found = await client.get(certificates.CertificateSigningRequest, "r")
        found.status.conditions[0].ClearField("last_update_time")
        found.status.conditions[0].ClearField("last_transition_time")
        assert await update(client, found, "approval") == ""
        (second,) = (await client.get(certificates.CertificateSigningRequest, "r")).status.conditions
        assert second.last_transition_time == first.last_transition_time
        assert second.last_update_time.seconds == first.last_update_time.seconds + 60


async def test_nobody_asks_for_a_certificate_of_the_masters() -> None:
    async with ApiInMemory() as api:
        with pytest.raises(Forbidden, match=r"use of kubernetes\.io/kube-apiserver-client signer with system:masters group is not allowed"):
            await api.client().create(csr("system:masters", "kubernetes.io/kube-apiserver-client"))
        await api.client().create(csr("system:masters"))


async def test_who_attests_for_a_signer_may_do_so() -> None:
    some = Some()
    async with ApiInMemory(plugins=ALL, authorizer=some) as api:
        client = api.client()
        made = certificates.ClusterTrustBundle(metadata=meta.ObjectMeta(name="example.com:signer:one"))
        made.spec.signer_name, made.spec.trust_bundle = SIGNER, certificate()
        with pytest.raises(Forbidden, match=r'user not permitted to attest for signerName "example\.com/signer"'):
            await client.create(made)
        some.allowed = {("attest", "signers", SIGNER)}
        found = await client.create(made)
        some.allowed = set()
        found.metadata.finalizers.append("example.com/kept")
        assert await update(client, found) == ""
        found = await client.get(certificates.ClusterTrustBundle, made.metadata.name)
        found.metadata.labels["a"] = "b"
        assert "user not permitted to attest" in await update(client, found)


async def test_who_blocks_an_owner_may_set_its_finalizers() -> None:
    some = Some()
    async with ApiInMemory(plugins=ALL, authorizer=some) as api:
        client = api.client()
        owned = core.ConfigMap(metadata=meta.ObjectMeta(name="owned", namespace="default"))
        reference = owned.metadata.owner_references.add(api_version="v1", kind="Secret", name="owner", uid="1", block_owner_deletion=True)
        words = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on"
        with pytest.raises(Forbidden, match=words):
            await client.create(owned)
        some.allowed = {("update", "finalizers", "owner")}
        found = await client.create(owned)
        found.data["a"] = "b"
        assert await update(client, found) == ""
        found = await client.get(core.ConfigMap, "owned", "default")
        found.metadata.owner_references[0].block_owner_deletion = False
        assert "cannot set an ownerRef on a resource you can't delete" in await update(client, found)
        some.allowed = {("delete", "configmaps", "owned")}
        assert await update(client, found) == ""
        reference.kind, owned.metadata.name = "Nothing", "other"
        with pytest.raises(Forbidden, match='cannot find RESTMapping for APIVersion v1 Kind Nothing: no matches for kind "Nothing"'):
            await client.create(owned)
        reference.kind, reference.block_owner_deletion = "Secret", False
        await client.create(owned)


async def test_it_is_off_unless_it_is_turned_on() -> None:
    async with ApiInMemory(authorizer=Some()) as api:
        owned = core.ConfigMap(metadata=meta.ObjectMeta(name="owned", namespace="default"))
        owned.metadata.owner_references.add(api_version="v1", kind="Secret", name="owner", uid="1", block_owner_deletion=True)
        await api.client().create(owned)
