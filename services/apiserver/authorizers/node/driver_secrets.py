"""The Secrets that a node's volumes name for their drivers' part on nodes: of volumes that are bound to claims of its pods. As in
Kubernetes, those for the part of the cluster, which may do more, are no node's to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.objects.csi import NODE_SECRETS, secret_of, source_of
from knarr.objects.pods import MIRROR
from knarr.objects.volumes import claim_names
from services.apiserver.cache.watch_cache import WatchCache

CLAIMS, VOLUMES = (version_of(kind).resource for kind in (core.PersistentVolumeClaim, core.PersistentVolume))


def secrets_of_volumes(cache: WatchCache, pods: Iterable[core.Pod]) -> Iterator[tuple[str, str]]:
    """Namespaces and names. What a mirror pod names opens nothing: its node has made it."""
    for pod in pods:
        if MIRROR not in pod.metadata.annotations:
            for claim in claim_names(pod):
                yield from _of_claim(cache, pod.metadata.namespace, claim)


def _of_claim(cache: WatchCache, namespace: str, name: str) -> Iterator[tuple[str, str]]:
    claim = cache.get(CLAIMS, namespace, name)
    volume = cache.get(VOLUMES, "", claim.shared_message.spec.volume_name) if claim is not None else None
    if volume is None:
        return
    source, owner = source_of(volume.shared_message), volume.shared_message.spec.claim_ref
    # A claim may name any volume; it is the volume that says whose it is.
    if source is not None and (owner.namespace, owner.name) == (namespace, name):
        yield from (found for field in NODE_SECRETS if (found := secret_of(source, field)) is not None)
