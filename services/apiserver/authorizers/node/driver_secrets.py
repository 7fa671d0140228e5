"""The Secrets that a node's volumes name for their drivers: of volumes that are bound to claims of its pods. As in Kubernetes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.objects.pods import MIRROR
from knarr.objects.volumes import claim_names
from services.apiserver.cache.watch_cache import WatchCache

CLAIMS, VOLUMES = (version_of(kind).resource for kind in (core.PersistentVolumeClaim, core.PersistentVolume))
FIELDS = (
    "controller_publish_secret_ref",
    "node_stage_secret_ref",
    "node_publish_secret_ref",
    "controller_expand_secret_ref",
    "node_expand_secret_ref",
)


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
    spec = volume.shared_message.spec
    # A claim may name any volume; it is the volume that says whose it is.
    if (spec.claim_ref.namespace, spec.claim_ref.name) != (namespace, name) or not spec.persistent_volume_source.HasField("csi"):
        return
    source = spec.persistent_volume_source.csi
    for field in FIELDS:
        if source.HasField(field):
            reference = getattr(source, field)
            yield reference.namespace, reference.name
