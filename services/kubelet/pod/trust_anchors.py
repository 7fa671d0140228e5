"""The certificates of ClusterTrustBundles as pods see them in their volumes: each once, in an order that nobody can rely on. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.selectors import label_selector
from knarr.objects import pem
from services.kubelet.pod.missing import Missing


class NoAnchors(Missing):
    """A bundle that a pod cannot do without is not there."""


@dataclass(frozen=True, slots=True)
class TrustAnchors:
    """``seed`` makes the order: the same as long as a kubelet runs, whatever is added, and another one with the next kubelet."""

    bundles: tuple[certificates.ClusterTrustBundle, ...] = ()
    seed: bytes = b""

    def of(self, wanted: core.ClusterTrustBundleProjection) -> bytes:
        """The certificates that a volume asks for, as PEM. Raises NoAnchors."""
        found = [bundle for bundle in self.bundles if _is_wanted(bundle, wanted)]
        if not found and not wanted.optional:
            if wanted.HasField("name"):
                raise NoAnchors(f'while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io "{wanted.name}" not found')
            raise NoAnchors("combination of signerName and labelSelector matched zero ClusterTrustBundles")
        return self._written(block.data for bundle in found for block in pem.blocks(bundle.spec.trust_bundle))

    def _written(self, anchors: Iterable[bytes]) -> bytes:
        ordered = sorted(set(anchors), key=lambda anchor: hashlib.sha256(self.seed + anchor).digest())
        return "".join(pem.encoded(pem.CERTIFICATE, anchor) for anchor in ordered).encode()


NO_ANCHORS = TrustAnchors()


def _is_wanted(bundle: certificates.ClusterTrustBundle, wanted: core.ClusterTrustBundleProjection) -> bool:
    """Without a selector a signer has none, with an empty one all of its bundles: Kubernetes' reading."""
    if wanted.HasField("name"):
        return bundle.metadata.name == wanted.name
    if bundle.spec.signer_name != wanted.signer_name or not wanted.HasField("label_selector"):
        return False
    return label_selector(wanted.label_selector).matches(bundle.metadata.labels)
