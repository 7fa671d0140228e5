"""VolumeAttachments by the volume that they name, and by their node."""

from __future__ import annotations

from collections.abc import Iterable

from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.client.index import Index


def _volume(found: storage.VolumeAttachment) -> Iterable[str]:
    return filter(None, (found.spec.source.persistent_volume_name,))


BY_VOLUME: Index[storage.VolumeAttachment] = Index("volume", _volume)
TO_NODE: Index[storage.VolumeAttachment] = Index("to-node", lambda found: (found.spec.node_name,))
