"""Rules about what a projected volume shows of certificates."""

from __future__ import annotations

from collections.abc import Iterator

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import CUT, Path, check_choice, invalid, required
from services.apiserver.strategies.metadata import validate_user_annotations
from services.apiserver.strategies.selectors import selector_shown, validate_label_selector
from services.apiserver.strategies.signers import SHORTEST_SECONDS, bundle_name, longest_seconds, signer_of_bundle, validate_signer
from services.apiserver.strategies.volumes import check_relative

KEY_TYPES = ("ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096")
# Where key and certificates are written, by the names of messages' fields and of JSON's.
PATHS = {"credential_bundle_path": "credentialBundlePath", "key_path": "keyPath", "certificate_chain_path": "certificateChainPath"}


def validate_trust_bundle(source: core.ClusterTrustBundleProjection, path: Path) -> list[Cause]:
    """By name or by signer, never by both."""
    causes: list[Cause] = []
    if source.HasField("name") and source.HasField("signer_name"):
        causes.append(invalid(path, CUT, "only one of name and signerName may be used"))
    elif source.HasField("name"):
        causes += _by_name(source, path)
    elif source.HasField("signer_name"):
        # Kubernetes says it twice of an empty one.
        causes += [] if source.signer_name else [required(path.child("signerName"), "must be a valid signer name")]
        causes += validate_signer(source.signer_name, path.child("signerName"))
        causes += validate_label_selector(source.label_selector, path.child("labelSelector"))
    else:
        causes.append(required(path, "either name or signerName must be specified"))
    causes += [] if source.path else [required(path.child("path"))]
    return causes + check_relative(source.path, path.child("path"), reserved=True)


def validate_pod_certificate(source: core.PodCertificateProjection, path: Path) -> list[Cause]:
    causes = validate_signer(source.signer_name, path.child("signerName"))
    causes += check_choice(path.child("keyType"), source.key_type, KEY_TYPES)
    if source.HasField("max_expiration_seconds"):
        here, longest = path.child("maxExpirationSeconds"), longest_seconds(source.signer_name)
        if not SHORTEST_SECONDS <= source.max_expiration_seconds <= longest:
            words = f"if provided, maxExpirationSeconds must be in the range [{SHORTEST_SECONDS}, {longest}]"
            causes.append(invalid(here, source.max_expiration_seconds, words))
    given = [(name, value) for field, name in PATHS.items() if (value := getattr(source, field))]
    for name, value in given:
        causes += check_relative(value, path.child(name), reserved=True)
    if not given:
        causes.append(required(path, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"))
    return causes + validate_user_annotations(source.user_annotations, path.child("userAnnotations"))


def _by_name(source: core.ClusterTrustBundleProjection, path: Path) -> list[Cause]:
    here, name = path.child("name"), source.name
    causes = [] if name else [required(here, "must be a valid object name")]
    sentences = bundle_name(name, signer_of_bundle(name))
    causes += [invalid(here, name, f"not a valid clustertrustbundlename: {sentence}") for sentence in sentences]
    if source.HasField("label_selector"):
        words = "labelSelector must be unset if name is specified"
        causes.append(invalid(path.child("labelSelector"), selector_shown(source.label_selector), words))
    return causes


def paths_given_twice(source: core.ProjectedVolumeSource) -> Iterator[str]:
    """Of each path that another projection has already: what Kubernetes shows of it, which is the object's name where there is one."""
    known: set[str] = set()
    for projection in source.sources:
        for kind, given in projection.ListFields():
            named = kind.name in ("secret", "config_map")
            if kind.name == "pod_certificate":
                paths = [getattr(given, field) for field in PATHS]
            else:
                paths = [given.path] if hasattr(given, "path") else [item.path for item in getattr(given, "items", ())]
            for path in filter(None, paths):
                if path in known:
                    yield str(given.local_object_reference.name) if named else path
                known.add(path)
