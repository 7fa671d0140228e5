"""``ControllerService``: what the controllers are doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import grpc.aio

from knarr.api.controller.v1 import controller_service_pb2 as api
from knarr.api.controller.v1 import controller_service_pb2_grpc as api_grpc
from knarr.client.reconciler import KeyState, Reconciler
from knarr.machinery.errors import not_found
from knarr.objects.keys import Key

# Of one controller, so that an answer stays far below what a message may have.
DEFAULT_KEYS, MOST_KEYS = 100, 1000
STATES = {
    KeyState.FAILED: api.KEY_STATE_FAILED,
    KeyState.RETRIED: api.KEY_STATE_RETRIED,
    KeyState.RUNNING: api.KEY_STATE_RUNNING,
    KeyState.QUEUED: api.KEY_STATE_QUEUED,
    KeyState.PLANNED: api.KEY_STATE_PLANNED,
}


class ControllerServicer(api_grpc.ControllerServiceServicer):
    def __init__(self, queues: Mapping[str, Reconciler], is_leader: Callable[[], bool]) -> None:
        self._queues = queues
        self._is_leader = is_leader

    async def ListControllers(self, request: api.ListControllersRequest, context: grpc.aio.ServicerContext) -> api.ListControllersResponse:
        response = api.ListControllersResponse(leader=self._is_leader())
        for name, queue in sorted(self._queues.items()):
            status = queue.status()
            response.controllers.add(name=name, queue_depth=status.depth, running=status.running, syncs=status.syncs, errors=status.errors)
        return response

    async def GetKey(self, request: api.GetKeyRequest, context: grpc.aio.ServicerContext) -> api.GetKeyResponse:
        status = self._queue(request.controller).key_status(Key.parse(request.key))
        return api.GetKeyResponse(
            last_sync_seconds=status.last_sync_seconds,
            last_error=status.last_error,
            failures=status.failures,
            next_in_seconds=status.next_in_seconds,
        )

    async def ListKeys(self, request: api.ListKeysRequest, context: grpc.aio.ServicerContext) -> api.ListKeysResponse:
        names = [request.controller] if request.controller else sorted(self._queues)
        most = min(request.limit or DEFAULT_KEYS, MOST_KEYS)
        response = api.ListKeysResponse()
        for name in names:
            active = self._queue(name).active()
            response.left_out += max(len(active) - most, 0)
            for key, state, status in active[:most]:
                response.keys.add(
                    controller=name,
                    key=str(key),
                    state=STATES[state],
                    last_error=status.last_error,
                    failures=status.failures,
                    # One that waits is due, whatever was planned for later.
                    next_in_seconds=0.0 if state in (KeyState.RUNNING, KeyState.QUEUED) else status.next_in_seconds,
                    last_sync_seconds=status.last_sync_seconds,
                )
        return response

    async def Sync(self, request: api.SyncRequest, context: grpc.aio.ServicerContext) -> api.SyncResponse:
        self._queue(request.controller).enqueue(Key.parse(request.key))
        return api.SyncResponse()

    def _queue(self, controller: str) -> Reconciler:
        """Raises NotFound."""
        queue = self._queues.get(controller)
        if queue is None:
            raise not_found("controllers", controller)
        return queue
