"""A driver of volumes by the public contract, on a socket: what a vendor ships, for tests.

    storage = Storage(folder)
    async with CsiDriver(storage, folder / "csi.sock", node_id="node-1") as driver:
        driver.faults.append(Fault("NodeStageVolume", When.SILENT))

It keeps what it was asked in ``calls``, refuses what the contract forbids its callers, and says so in ``violations``. ``stop`` and
``start`` again: what is kept is the storage.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc.aio

from knarr.api.csi.v1 import controller_pb2_grpc, identity_pb2, identity_pb2_grpc, node_pb2_grpc
from knarr.api.pluginregistration.v1 import registration_pb2, registration_pb2_grpc
from tests.support.csi import controller, node
from tests.support.csi.driver_server import DriverServer
from tests.support.csi.storage import Storage

NAME = "disks.example.com"
PLUGIN = identity_pb2.PluginCapability


class CsiDriver(DriverServer, identity_pb2_grpc.IdentityServicer):
    """``node_id``: the node whose part it serves; empty: the controller's part alone. ``limit``: volumes at one node at once."""

    def __init__(
        self,
        storage: Storage,
        socket: Path,
        *,
        name: str = NAME,
        node_id: str = "",
        serves_controller: bool = True,
        controller_can: Iterable[int] = controller.ALL,
        node_can: Iterable[int] = node.ALL,
        topology: dict[str, str] | None = None,
        limit: int = 0,
    ) -> None:
        super().__init__(socket)
        self.storage, self.name = storage, name
        self.violations: list[str] = []
        # False: it does not come to be ready.
        self.is_ready = True
        attaching = controller.RPC.PUBLISH_UNPUBLISH_VOLUME in tuple(controller_can)
        expanding = node.RPC.EXPAND_VOLUME in tuple(node_can)
        self.controller = controller.ControllerServer(storage, controller_can, self.violations, node_expansion=expanding, limit=limit)
        self.node = node.NodeServer(storage, node_id, node_can, self.violations, attaching=attaching, limit=limit) if node_id else None
        self._serves_controller = serves_controller
        if node_id:
            storage.nodes[node_id] = dict(topology or {})

    def register(self, server: grpc.aio.Server) -> None:
        identity_pb2_grpc.add_IdentityServicer_to_server(self, server)
        if self._serves_controller:
            controller_pb2_grpc.add_ControllerServicer_to_server(self.controller, server)
        if self.node is not None:
            node_pb2_grpc.add_NodeServicer_to_server(self.node, server)

    async def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return identity_pb2.GetPluginInfoResponse(name=self.name, vendor_version="1.0.0")

    async def GetPluginCapabilities(self, request: Any, context: Any) -> Any:
        told = identity_pb2.GetPluginCapabilitiesResponse()
        if self._serves_controller:
            told.capabilities.add(service={"type": PLUGIN.Service.CONTROLLER_SERVICE})
        if any(self.storage.nodes.values()):
            told.capabilities.add(service={"type": PLUGIN.Service.VOLUME_ACCESSIBILITY_CONSTRAINTS})
        told.capabilities.add(volume_expansion={"type": PLUGIN.VolumeExpansion.ONLINE})
        return told

    async def Probe(self, request: Any, context: Any) -> Any:
        return identity_pb2.ProbeResponse(ready={"value": self.is_ready})


class Registrar(registration_pb2_grpc.RegistrationServicer):
    """Makes a driver known to a kubelet, as the helper does that stands beside drivers. ``told`` is what the kubelet answered."""

    def __init__(
        self, registry: Path, name: str = NAME, endpoint: str = "", kind: str = "CSIPlugin", versions: tuple[str, ...] = ("1.0.0",)
    ) -> None:
        self.socket = registry / f"{name}-reg.sock"
        self._info = registration_pb2.PluginInfo(type=kind, name=name, endpoint=endpoint, supported_versions=versions)
        self.told: list[registration_pb2.RegistrationStatus] = []
        self._server: grpc.aio.Server | None = None

    @classmethod
    def of(cls, driver: CsiDriver, registry: Path, endpoint: str = "") -> Registrar:
        return cls(registry, driver.name, endpoint or str(driver.socket))

    async def __aenter__(self) -> Registrar:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        self._server = grpc.aio.server()
        registration_pb2_grpc.add_RegistrationServicer_to_server(self, self._server)
        self._server.add_insecure_port(f"unix:{self.socket}")
        await self._server.start()

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop(None)
        with contextlib.suppress(FileNotFoundError):
            self.socket.unlink()

    async def GetInfo(self, request: Any, context: Any) -> Any:
        return self._info

    async def NotifyRegistrationStatus(self, request: Any, context: Any) -> Any:
        self.told.append(request)
        return registration_pb2.RegistrationStatusResponse()
