"""Which labels a node may give itself: by the others somebody steers pods to the nodes that he means. As in Kubernetes. Pure."""

from __future__ import annotations

from collections.abc import Mapping

# Kubernetes' own; `node-restriction.kubernetes.io` below them is for whoever keeps nodes apart.
OWN_DOMAINS = ("kubernetes.io", "k8s.io")
# Below these a kubelet may choose.
FREE_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
FREE = frozenset(
    (
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    )
)


def forbidden_labels(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    """Those that would change and that a node may not change, in order."""
    changed = (key for key in {*new, *old} if new.get(key) != old.get(key))
    return sorted(key for key in changed if _is_forbidden(key))


def _is_forbidden(key: str) -> bool:
    domain, slash, _ = key.partition("/")
    if not slash or key in FREE or _is_within(domain, FREE_DOMAINS):
        return False
    return _is_within(domain, OWN_DOMAINS)


def _is_within(domain: str, others: tuple[str, ...]) -> bool:
    return any(domain == other or domain.endswith(f".{other}") for other in others)
