"""What nodes and their containers use, asked of the kubelets: the port of the pipeline, and what reaches them.

Many ask about the same nodes at the same time, each autoscaler for its pods: an answer is kept for some seconds, and who comes while a node
is being asked waits for that answer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any, Protocol

import grpc

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.kubelet.v1 import kubelet_service_pb2 as kubelet
from knarr.api.kubelet.v1 import kubelet_service_pb2_grpc as kubelet_grpc
from knarr.machinery.errors import status_error
from services.apiserver.node_streams import ChannelFactory, kubelet_address

# A node looks every 15 seconds while it is asked.
FRESH_SECONDS = 5.0
# A first answer takes a second; a node that takes longer is left out.
ASK_SECONDS = 5.0
# Nodes that are asked at the same time.
AT_ONCE = 32
KEPT = 4096


class NodeStats(Protocol):
    async def of(self, node: core.Node) -> kubelet.GetStatsResponse:
        """What a node and its containers use now. Raises StatusError where it does not say."""
        ...


class NoNodeStats:
    """Of an API server that has no way to the nodes."""

    async def of(self, node: core.Node) -> kubelet.GetStatsResponse:
        raise status_error("ServiceUnavailable", "this server has no way to the nodes")


class GrpcNodeStats:
    """Through ``KubeletService`` at the address that the Node names."""

    def __init__(self, channel: ChannelFactory) -> None:
        self._channel = channel
        self._asking = asyncio.Semaphore(AT_ONCE)
        # By node: until when its answer is fresh (the loop's time), and the asking.
        self._known: OrderedDict[str, tuple[float, asyncio.Task[kubelet.GetStatsResponse]]] = OrderedDict()

    async def of(self, node: core.Node) -> kubelet.GetStatsResponse:
        now = asyncio.get_running_loop().time()
        until, asking = self._known.get(node.metadata.name, (0.0, None))
        if asking is None or now > until or (asking.done() and asking.exception() is not None):
            asking = asyncio.create_task(self._ask(node), name=f"stats of {node.metadata.name}")
            self._known[node.metadata.name] = (now + FRESH_SECONDS, asking)
            self._known.move_to_end(node.metadata.name)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        # Who goes away does not end it for the others.
        return await asyncio.shield(asking)

    async def _ask(self, node: core.Node) -> kubelet.GetStatsResponse:
        async with self._asking:
            stub: Any = kubelet_grpc.KubeletServiceStub(self._channel(node.metadata.name, kubelet_address(node)))
            try:
                found: kubelet.GetStatsResponse = await stub.GetStats(kubelet.GetStatsRequest(), timeout=ASK_SECONDS)
            except grpc.aio.AioRpcError as error:
                words = f"the kubelet of node {node.metadata.name} cannot be reached: {error.details()}"
                raise status_error("ServiceUnavailable", words) from error
            return found
