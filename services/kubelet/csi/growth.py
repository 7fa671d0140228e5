"""The file system of a volume that was made larger: its driver grows it on the node, and the claim says so."""

from __future__ import annotations

import logging

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.csi.v1 import node_pb2 as pb
from knarr.client.client import Client
from knarr.client.events import WARNING, EventRecorder
from knarr.machinery.errors import StatusError
from knarr.objects.growth import grown
from services.kubelet.csi.client import DriverClient, DriverError
from services.kubelet.csi.volume import DriverVolume

log = logging.getLogger(__name__)


class Growth:
    def __init__(self, client: Client, recorder: EventRecorder, node: str) -> None:
        self._client, self._recorder, self._node = client, recorder, node

    async def grow(self, pod: core.Pod, volume: DriverVolume, driver: DriverClient, request: pb.NodeExpandVolumeRequest) -> None:
        """A volume that cannot be grown now is used as it is: an event of the pod says why, and it is tried again."""
        try:
            await driver.expand(request)
        except DriverError as error:
            words = f'MountVolume.NodeExpandVolume failed for volume "{volume.name}" : {error}'
            self._recorder.event(pod, WARNING, "VolumeResizeFailed", words)
            return
        words = f'MountVolume.NodeExpandVolume succeeded for volume "{volume.name}" {self._node}'
        if await self._tell(volume):
            self._recorder.event(pod, "Normal", "FileSystemResizeSuccessful", words)

    async def _tell(self, volume: DriverVolume) -> bool:
        """False where the claim could not be written: then it is tried again, and the pod goes on."""
        assert volume.claim is not None
        namespace, name = volume.claim
        try:
            claim = await self._client.get(core.PersistentVolumeClaim, name, namespace)
            changed = grown(claim, volume.size)
            if changed != claim:
                await self._client.update(changed, subresource="status")
        except StatusError as error:
            log.info("a claim does not say yet that its volume has grown", extra={"claim": name, "error": str(error)})
            return False
        return True
