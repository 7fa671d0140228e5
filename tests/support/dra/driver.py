"""A driver of devices by the public contract, on a socket: what a vendor ships on each node, for tests.

    async with DeviceDriver(folder / "dra.sock", cdi=folder / "cdi") as driver:
        driver.faults.append(Fault("NodePrepareResources", When.SILENT))

It keeps what it was asked in ``calls``, and what is ready now in ``ready``, by the claims' uids. ``devices`` says what it answers for one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc.aio

from knarr.api.dra.v1 import plugin_pb2 as pb
from tests.support.csi.driver_server import DriverServer

NAME = "cards.example.com"
V1, V1BETA1 = "v1.DRAPlugin", "v1beta1.DRAPlugin"


def one_card(claim: pb.Claim) -> Sequence[pb.Device]:
    """A device for all requests of a claim."""
    return [pb.Device(pool_name="node-1", device_name="card-0", cdi_device_ids=[f"example.com/card={claim.name}"])]


class DeviceDriver(DriverServer):
    def __init__(self, socket: Path, *, name: str = NAME, service: str = V1) -> None:
        super().__init__(socket)
        self.name, self.service = name, service
        self.ready: dict[str, str] = {}
        self.devices: Callable[[pb.Claim], Sequence[pb.Device]] = one_card
        # What is done to an answer before it is told: a driver that lies.
        self.twist: Callable[[Any], None] = lambda answer: None

    def register(self, server: grpc.aio.Server) -> None:
        handlers = {
            "NodePrepareResources": grpc.unary_unary_rpc_method_handler(
                self._prepare, pb.NodePrepareResourcesRequest.FromString, pb.NodePrepareResourcesResponse.SerializeToString
            ),
            "NodeUnprepareResources": grpc.unary_unary_rpc_method_handler(
                self._unprepare, pb.NodeUnprepareResourcesRequest.FromString, pb.NodeUnprepareResourcesResponse.SerializeToString
            ),
        }
        generic = grpc.method_handlers_generic_handler(f"k8s.io.kubelet.pkg.apis.dra.{self.service}", handlers)
        server.add_generic_rpc_handlers((generic,))

    async def _prepare(self, request: Any, context: Any) -> Any:
        answer = pb.NodePrepareResourcesResponse()
        for claim in request.claims:
            self.ready[claim.uid] = claim.name
            answer.claims[claim.uid].devices.extend(self.devices(claim))
        self.twist(answer)
        return answer

    async def _unprepare(self, request: Any, context: Any) -> Any:
        answer = pb.NodeUnprepareResourcesResponse()
        for claim in request.claims:
            self.ready.pop(claim.uid, None)
            answer.claims[claim.uid].SetInParent()
        self.twist(answer)
        return answer
