"""Follows the ClusterTrustBundles, as long as a pod of the node shows some of them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from google.protobuf.message import Message

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.informer import Informer
from knarr.objects.references import trust_bundles
from knarr.service.tasks import cancel
from services.kubelet.pod.trust_anchors import NO_ANCHORS, NoAnchors, TrustAnchors

# How long the first pod waits for them; then it says so, and tries again.
SYNC_SECONDS = 5.0
SEED_BYTES = 16

Changed = Callable[[Message | None, Message | None], None]


class TrustBundleReader:
    """All of them are read: by whose name or labels a pod will ask is not known, and they are few."""

    def __init__(self, client: Client, changed: Changed) -> None:
        """``changed`` hears of each bundle that changed, before and after."""
        self._client, self._changed = client, changed
        self._seed = secrets.token_bytes(SEED_BYTES)
        self._pods: set[str] = set()
        self._informer: Informer[certificates.ClusterTrustBundle] | None = None
        self._task: asyncio.Task[None] | None = None

    async def read(self, pod: core.Pod) -> TrustAnchors:
        """What may be shown to the pod. Raises NoAnchors while they are not known."""
        if not any(trust_bundles(pod)):
            self.forget(pod.metadata.uid)
            return NO_ANCHORS
        self._pods.add(pod.metadata.uid)
        informer = self._informer or self._begin()
        try:
            async with asyncio.timeout(SYNC_SECONDS):
                await informer.wait_synced()
        except TimeoutError:
            raise NoAnchors("ClusterTrustBundle informer has not yet synced") from None
        return TrustAnchors(tuple(informer.store.list()), self._seed)

    def forget(self, uid: str) -> None:
        """The pod is no more, or shows none."""
        self._pods.discard(uid)
        if not self._pods and self._task is not None:
            self._task.cancel()
            self._task = self._informer = None

    async def close(self) -> None:
        await cancel([self._task] if self._task is not None else [])

    def _begin(self) -> Informer[certificates.ClusterTrustBundle]:
        informer = self._informer = Informer(self._client, certificates.ClusterTrustBundle)
        informer.on_change(self._changed)
        self._task = asyncio.create_task(informer.run(), name="kubelet/informer/ClusterTrustBundle")
        return informer
