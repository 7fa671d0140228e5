"""The drivers of devices that the node has, and asking them, by the public contract (proto/knarr/api/dra/v1)."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knarr.api.dra.v1 import plugin_pb2 as pb
from knarr.api.pluginregistration.v1 import registration_pb2
from services.kubelet.csi.client import DriverError, ask_at
from services.kubelet.csi.places import Places, seen_here

# How long a driver may take for one call, as in Kubernetes.
CALL_SECONDS = 45.0
# The services that are spoken, as drivers name them, and their names on the wire. Their messages are alike.
SERVICES = {name: f"k8s.io.kubelet.pkg.apis.dra.{name}" for name in ("v1.DRAPlugin", "v1beta1.DRAPlugin")}


@dataclass(frozen=True, slots=True)
class DeviceDriver:
    """One that the node has: at which socket, and by which service it is asked."""

    name: str
    socket: Path
    service: str

    async def prepare(self, claims: Sequence[pb.Claim]) -> Mapping[str, Sequence[pb.Device]]:
        """Has claims made ready; what containers get by them, by their uids: all of them, and no others. Raises DriverError, in Kubernetes'
        words."""
        request = pb.NodePrepareResourcesRequest(claims=claims)
        told = await self._ask("NodePrepareResources", request, pb.NodePrepareResourcesResponse)
        _check("NodePrepareResources", claims, told.claims)
        return {uid: tuple(result.devices) for uid, result in told.claims.items()}

    async def unprepare(self, claims: Sequence[pb.Claim]) -> None:
        """Has it undone. Raises DriverError, in Kubernetes' words."""
        request = pb.NodeUnprepareResourcesRequest(claims=claims)
        told = await self._ask("NodeUnprepareResources", request, pb.NodeUnprepareResourcesResponse)
        _check("NodeUnprepareResources", claims, told.claims)

    async def _ask(self, method: str, request: Any, answer: Any) -> Any:
        def call(channel: Any) -> Any:
            path = f"/{self.service}/{method}"
            rpc = channel.unary_unary(path, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString)
            return rpc(request, timeout=CALL_SECONDS)

        try:
            return await ask_at(self.socket, call)
        except DriverError as error:
            raise DriverError(f"{method}: {error}") from error


def _check(method: str, claims: Sequence[pb.Claim], results: Mapping[str, Any]) -> None:
    """Raises DriverError unless each of the claims, and nothing else, is said to have come well."""
    names = {claim.uid: claim.name for claim in claims}
    for uid, result in sorted(results.items()):
        if uid not in names:
            raise DriverError(f"{method} returned result for unknown claim UID {uid}")
        if result.error:
            raise DriverError(f"{method} failed for ResourceClaim {names[uid]}: {result.error}")
    if skipped := len(names) - len(results):
        raise DriverError(f"{method} skipped {skipped} ResourceClaims")


class DeviceDrivers:
    """Keeps them, as those who look after the node's sockets tell (``PluginHandler``). Several sockets may be one driver's, while it is
    being replaced: the latest counts."""

    kind = "DRAPlugin"

    def __init__(self, places: Places) -> None:
        self._data_dir = str(places.data_dir)
        self._by_socket: dict[Path, DeviceDriver] = {}
        # The names of all that ever were here.
        self.known: set[str] = set()

    def get(self, name: str) -> DeviceDriver:
        """Raises DriverError, in Kubernetes' words, while the node has none of the name."""
        found = next((driver for driver in reversed(self._by_socket.values()) if driver.name == name), None)
        if found is None:
            raise DriverError(f"DRA driver {name} is not registered")
        return found

    def listening(self) -> set[str]:
        """The names of those that are there: one that was killed leaves its socket behind."""
        return {driver.name for driver in self._by_socket.values() if _listens(driver.socket)}

    def take(self, info: registration_pb2.PluginInfo, socket: Path) -> None:
        """The driver that said so at a socket of the registry. Raises DriverError for one that speaks another contract."""
        endpoint = info.endpoint or str(socket)
        if not info.name:
            raise DriverError(f"the plugin at socket {socket} has no name")
        spoken = next((version for version in info.supported_versions if version in SERVICES), None)
        if spoken is None:
            said = f"DRA driver plugin {info.name} at endpoint {endpoint}"
            versions = " ".join(f'"{version}"' for version in info.supported_versions)
            words = f"none of services supported by the plugin ([{versions}]) are supported by the kubelet ({' '.join(SERVICES)})"
            words = words if info.supported_versions else "empty list of supported gRPC services (aka supported versions)"
            raise DriverError(f"invalid supported gRPC versions of {said}: {words}")
        self.lose(socket)
        self.known.add(info.name)
        self._by_socket[socket] = DeviceDriver(info.name, Path(seen_here(endpoint, self._data_dir)), SERVICES[spoken])

    def lose(self, socket: Path) -> None:
        """Nobody of them is there any more."""
        self._by_socket.pop(socket, None)


def _listens(path: Path) -> bool:
    """Whether somebody waits for callers at a socket; who cannot be asked is held to."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.setblocking(False)
        try:
            caller.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True
