"""Rules about the names of signers, and of the bundles that are called after them."""

from __future__ import annotations

from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, dns1123_label, dns1123_subdomain, invalid, required, too_long
from knarr.objects.references import trust_bundle_prefix

MAX_SIGNER, MAX_DOMAIN = 571, 253
# Of signers of Kubernetes' own certificates live no longer than a day, of others 91; none lives less than an hour.
OWN_DOMAIN = "kubernetes.io"
SHORTEST_SECONDS, LONGEST_SECONDS, LONGEST_OWN_SECONDS = 3600, 91 * 86400, 86400


def validate_signer(name: str, path: Path) -> list[Cause]:
    """``example.com/signer-name``."""
    if not name:
        return [required(path, "signerName must be provided")]
    segments = name.split("/")
    if len(segments) != 2:
        return [invalid(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")]
    domain, rest = segments
    causes = [too_long(path, MAX_DOMAIN)] if len(domain) > MAX_DOMAIN else []
    labels = domain.split(".")
    for label in labels:
        wrong = [invalid(path, domain, f'validating label "{label}": {sentence}') for sentence in dns1123_label(label)]
        if wrong:
            causes += wrong
            break
    if len(labels) < 2:
        causes.append(invalid(path, domain, "should be a domain with at least two segments separated by dots"))
    for label in rest.split("."):
        wrong = [invalid(path, rest, f'validating label "{label}": {sentence}') for sentence in dns1123_subdomain(label)]
        if wrong:
            causes += wrong
            break
    return [*causes, too_long(path, MAX_SIGNER)] if len(name) > MAX_SIGNER else causes


def is_own_signer(name: str) -> bool:
    """Whether a signer is one of Kubernetes' own."""
    domain = name.partition("/")[0]
    return domain == OWN_DOMAIN or domain.endswith(f".{OWN_DOMAIN}")


def longest_seconds(signer_name: str) -> int:
    """How long a pod's certificate of a signer may live at the most."""
    return LONGEST_OWN_SECONDS if is_own_signer(signer_name) else LONGEST_SECONDS


def bundle_name(name: str, signer_name: str) -> list[str]:
    """What is wrong with the name of a ClusterTrustBundle of a signer, or of none."""
    if not signer_name:
        if ":" in name:
            return ['ClusterTrustBundle without signer name must not have ":" in its name']
        return dns1123_subdomain(name)
    prefix = trust_bundle_prefix(signer_name)
    if not name.startswith(prefix):
        return [f"ClusterTrustBundle for signerName {signer_name} must be named with prefix {prefix}"]
    return dns1123_subdomain(name.removeprefix(prefix))


def signer_of_bundle(name: str) -> str:
    """The signer after which a ClusterTrustBundle is called; empty when it is called after none."""
    return name.rpartition(":")[0].replace(":", "/")
