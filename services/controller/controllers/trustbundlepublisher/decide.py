"""TrustBundlePublisher: there is one ClusterTrustBundle of the API servers' signer, with the authority of the moment. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.objects.copies import copy_of
from knarr.objects.references import trust_bundle_prefix

SIGNER = "kubernetes.io/kube-apiserver-serving"
HASH_BYTES = 12


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be written, in this order: nobody is to be without one in between."""

    create: certificates.ClusterTrustBundle | None = None
    update: certificates.ClusterTrustBundle | None = None
    delete: tuple[str, ...] = ()


def bundle_name(certificate: str) -> str:
    """One by its content, so that another authority is another object: Kubernetes' name."""
    return trust_bundle_prefix(SIGNER) + hashlib.sha256(certificate.encode()).digest()[:HASH_BYTES].hex()


def decide(bundles: Iterable[certificates.ClusterTrustBundle], certificate: str) -> Decision:
    """``bundles`` are those of the signer, ``certificate`` what is to be trusted, PEM."""
    name = bundle_name(certificate)
    others, found = [], None
    for bundle in bundles:
        if bundle.metadata.name == name:
            found = bundle
        else:
            others.append(bundle.metadata.name)
    delete = tuple(sorted(others))
    if found is None:
        made = certificates.ClusterTrustBundle()
        made.metadata.name, made.spec.signer_name, made.spec.trust_bundle = name, SIGNER, certificate
        return Decision(create=made, delete=delete)
    if found.spec.trust_bundle == certificate:
        return Decision(delete=delete)
    changed = copy_of(found)
    changed.spec.trust_bundle = certificate
    return Decision(update=changed, delete=delete)
