"""Images as volumes: views of their layers, each kept by containerd under a lease of ours.

The leases tell which are held. One is made before its view and goes with it, so that whoever was cut off in between leaves nothing that
is not found again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from knarr.api.containerd.leases.v1 import leases_pb2 as leases
from knarr.api.containerd.snapshots.v1 import snapshots_pb2 as snapshots
from knarr.api.cri.v1 import common_pb2 as common
from knarr.api.cri.v1 import image_pb2 as pb
from services.kubelet.runtime.cri.engine import NAMESPACE, Engine, EngineAlreadyExists, EngineNotFound, EngineUnimplemented
from services.kubelet.runtime.cri.settings import CriSettings
from services.kubelet.runtime.cri.statuses import json_of
from services.kubelet.runtime.labels import CLUSTER, NODE
from services.kubelet.runtime.port import Filesystem, Image, RuntimeFailure

# containerd's default.
SNAPSHOTTER = "overlayfs"
# Of a lease: the name by which its image is shown.
SHOWN = "io.knarr.image-volume"


class EngineImageViews:
    """Of one node."""

    def __init__(self, engine: Engine, settings: CriSettings) -> None:
        self._engine = engine
        self._own = {CLUSTER: settings.cluster_id, NODE: settings.node_name}
        # Which of containerd's keeps the layers of images.
        self.snapshotter = SNAPSHOTTER

    async def show(self, image: Image, name: str) -> Filesystem:
        """As ``Runtime.show_image``."""
        chain = await self._chain(image)
        key = "-".join(("knarr", *self._own.values(), name))
        with contextlib.suppress(EngineAlreadyExists):
            await self._engine.leases("Create", leases.CreateRequest(id=key, labels={**self._own, SHOWN: name}))
        found = await self._view(image, key, chain)
        if len(found) != 1:
            raise RuntimeFailure(
                f"containerd's snapshotter {self.snapshotter} shows image {image.reference} by {len(found)} mounts, not by one"
            )
        return Filesystem(found[0].type, found[0].source, tuple(found[0].options))

    async def _chain(self, image: Image) -> str:
        """The digest of all layers, by which containerd knows what lies unpacked; the contract does not tell it."""
        told = await self._engine.image("ImageStatus", pb.ImageStatusRequest(image=common.ImageSpec(image=image.id), verbose=True))
        chain = json_of(told.info, "info").get("chainID")
        if not chain:
            raise RuntimeFailure("this container runtime cannot show an image as a volume")
        return str(chain)

    async def _view(self, image: Image, key: str, chain: str) -> list[snapshots.Mount]:
        try:
            request = snapshots.ViewSnapshotRequest(snapshotter=self.snapshotter, key=key, parent=chain)
            return list((await self._engine.snapshots("View", request, key)).mounts)
        except EngineAlreadyExists:
            pass
        except EngineNotFound as error:
            raise RuntimeFailure(
                f"image {image.reference} is not unpacked by containerd's snapshotter {self.snapshotter}: "
                f"pull it anew, or import it by `ctr --namespace {NAMESPACE} images import`"
            ) from error
        # It may be of a lease that is gone, and about to be collected.
        resource = leases.Resource(id=key, type=f"snapshots/{self.snapshotter}")
        await self._engine.leases("AddResource", leases.AddResourceRequest(id=key, resource=resource))
        return list((await self._engine.snapshots("Mounts", snapshots.MountsRequest(snapshotter=self.snapshotter, key=key), key)).mounts)

    async def hide(self, keep: Collection[str]) -> list[str]:
        """As ``Runtime.hide_images``."""
        chosen = ",".join(f'labels."{label}"=="{value}"' for label, value in self._own.items())
        try:
            found = (await self._engine.leases("List", leases.ListRequest(filters=[chosen]))).leases
        except EngineUnimplemented:
            # Another engine than containerd: it shows none.
            return []
        left = [lease for lease in found if SHOWN in lease.labels and lease.labels[SHOWN] not in keep]
        for lease in left:
            with contextlib.suppress(EngineNotFound):
                await self._engine.leases("Delete", leases.DeleteRequest(id=lease.id, sync=True))
        return [lease.labels[SHOWN] for lease in left]
