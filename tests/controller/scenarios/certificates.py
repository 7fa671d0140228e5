"""Requests for certificates, and what is told of authorities."""

from __future__ import annotations

from typing import Any

from knarr.api.certificates.v1 import certificates_pb2 as csr
from knarr.api.core.v1 import core_pb2 as core
from knarr.service.authentication import User
from services.apiserver.rbac.defaults import defaults as role_defaults
from services.controller.controllers.trustbundlepublisher.decide import SIGNER, bundle_name
from tests.controller.objects import (
    namespace,
    node,
)
from tests.controller.scenarios.steps import step
from tests.support.mishaps import World
from tests.support.signing import CLIENT_SIGNER, SERVING_SIGNER, authority, certificate_request, pod_certificate_request


async def asked(w: World, name: str, signer: str = CLIENT_SIGNER, user: str = "system:node:node-1", **options: Any) -> None:
    """A request for a certificate, by a node unless told."""
    client = w.api.client(User(user, groups=("system:nodes", "system:authenticated")))
    await client.create(certificate_request(name, signer, user, **options))


async def approvals(w: World) -> None:
    """Requests of a node for itself and for another, and for serving at addresses that it has and has not."""
    w.api.seed(node(), *role_defaults())
    await asked(w, "own")
    await asked(w, "serving", SERVING_SIGNER, addresses=("10.0.0.9",))
    # A node itself is not let to ask for another.
    await w.client.create(certificate_request("other", CLIENT_SIGNER, "admin", subject="system:node:node-2"))
    await step()

    def addressed(found: core.Node) -> None:
        found.status.addresses.add(type="InternalIP", address="10.0.0.9")

    await w.edit(core.Node, "node-1", addressed, namespace="", subresource="status")
    await step()


async def approve(w: World, name: str, kind: str = "Approved") -> None:
    def decide(found: csr.CertificateSigningRequest) -> None:
        found.status.conditions.add(type=kind, status="True", reason="ByHand")

    await w.edit(csr.CertificateSigningRequest, name, decide, namespace="", subresource="approval")


async def signatures(w: World) -> None:
    """Requests that are approved, of which one is none that the signer signs; one that is denied; one of another's signer."""
    await asked(w, "good")
    await asked(w, "denied")
    await asked(w, "bad", SERVING_SIGNER)
    await asked(w, "elsewhere", "example.com/signer")
    for name in ("good", "bad", "elsewhere"):
        await approve(w, name)
    await approve(w, "denied", "Denied")
    await step()


async def old_requests(w: World) -> None:
    """One that nobody decides about, and one that is denied."""
    await asked(w, "pending")
    await asked(w, "denied")
    await approve(w, "denied", "Denied")
    await step(2 * 3600)
    await step(23 * 3600)


async def certificates(w: World) -> None:
    """A new namespace, a ConfigMap that somebody changes and one that somebody deletes."""
    await w.client.create(namespace("team"))
    await step()
    await w.edit(core.ConfigMap, "kube-root-ca.crt", lambda found: found.data.update(more="x"), "team")
    await step()
    await w.client.delete(core.ConfigMap, "kube-root-ca.crt", "team")
    await step()


async def pod_certificates(w: World) -> None:
    """One that nobody answers, and one that its owner takes away."""
    for name in ("unanswered", "taken"):
        await w.client.create(pod_certificate_request(name))
    await step()
    await w.client.delete(csr.PodCertificateRequest, "taken", "default")
    await step(16 * 60)


async def trust_bundles(w: World) -> None:
    """One of a former authority; then somebody changes the one that is kept, and somebody deletes it."""
    former = csr.ClusterTrustBundle()
    former.metadata.name, former.spec.signer_name = "kubernetes.io:kube-apiserver-serving:former", SIGNER
    former.spec.trust_bundle = authority("former")
    await w.client.create(former)
    await step()
    kept = bundle_name(authority("knarr"))
    await w.edit(csr.ClusterTrustBundle, kept, lambda found: setattr(found.spec, "trust_bundle", authority("another")), "")
    await step()
    await w.client.delete(csr.ClusterTrustBundle, kept)
    await step()
