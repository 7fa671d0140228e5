"""For whom a node may ask for tokens of its pods: whom a pod's volumes name. As in Kubernetes."""

from __future__ import annotations

from collections.abc import Iterator

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.machinery.catalog import version_of
from knarr.objects.volumes import claim_names
from services.apiserver.cache.watch_cache import WatchCache

CLAIMS, VOLUMES, DRIVERS = (version_of(kind).resource for kind in (core.PersistentVolumeClaim, core.PersistentVolume, storage.CSIDriver))


def names_audience(cache: WatchCache, pod: core.Pod, audience: str) -> bool:
    """Whether a volume of the pod shows a token for ``audience``, empty for the API server's own, or its driver is given one."""
    for volume in pod.spec.volumes:
        shown = (
            source.service_account_token for source in volume.volume_source.projected.sources if source.HasField("service_account_token")
        )
        if any(token.audience == audience for token in shown):
            return True
    return any(audience in _given_to(cache, driver) for driver in _drivers(cache, pod))


def _drivers(cache: WatchCache, pod: core.Pod) -> Iterator[str]:
    """Those of its volumes."""
    for volume in pod.spec.volumes:
        if volume.volume_source.HasField("csi"):
            yield volume.volume_source.csi.driver
    for claim in claim_names(pod):
        entry = cache.get(CLAIMS, pod.metadata.namespace, claim)
        bound = cache.get(VOLUMES, "", entry.shared_message.spec.volume_name) if entry is not None else None
        if bound is not None:
            yield bound.shared_message.spec.persistent_volume_source.csi.driver


def _given_to(cache: WatchCache, driver: str) -> set[str]:
    """The audiences of the tokens that a driver asks for."""
    entry = cache.get(DRIVERS, "", driver) if driver else None
    return {request.audience for request in entry.shared_message.spec.token_requests} if entry is not None else set()
