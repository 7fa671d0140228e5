"""The network namespaces of fellows: each is that of a container in the engine, which does nothing but have it.

So the engine makes the lines between them, lets them out and takes all away with the cluster's other containers; and it can put a pod that
is to be in its node's network there. What is there from before is taken over.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

from services.kubelet.runtime.catalog import engine_url
from services.kubelet.runtime.docker.bodies import BRIDGE_OPTION
from services.kubelet.runtime.docker.engine import Engine, EngineConflict, EngineError, EngineNotFound, quoted
from services.kubelet.runtime.docker.pause import ensure_pause_image
from services.kubelet.runtime.labels import CLUSTER, KIND, NODE
from services.kubelet.runtime.pause import PAUSE_IMAGE
from services.kubelet.runtime.port import RuntimeFailure
from services.standalone.fellows.plan import Fellow, container_name, gateway, network_bridge, network_name
from services.standalone.settings import ClusterSettings

# What kind of container it is, and whose. Not by the label of a node's pods: its kubelet would take it for one of them.
NODE_KIND, PLACE = "node", "io.knarr.place"
TIMEOUT_SECONDS = 60.0
FORWARDING = "net.ipv4.ip_forward"


class Places:
    """Those of one cluster. Close it after use. What it does raises RuntimeFailure."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._id = settings.files.cluster_id()
        self._engine = Engine(engine_url(), TIMEOUT_SECONDS)
        # The engine would make two networks of one name.
        self._preparing = asyncio.Lock()

    async def close(self) -> None:
        await self._engine.close()

    async def prepare(self) -> None:
        """Makes what all need: their network, and the image of who does nothing."""
        async with self._preparing:
            await ensure_pause_image(self._engine)
            await self._ensure_network()

    async def _ensure_network(self) -> None:
        body, name = self._network_body(), network_name(self._id)
        try:
            found = await self._engine.request("GET", f"networks/{quoted(name)}")
        except EngineNotFound:
            pass
        else:
            if [config.get("Subnet") for config in found["IPAM"]["Config"] or []] == [self._settings.node_cidr]:
                return
            for container in found.get("Containers") or {}:
                await self._remove(container)
            await self._engine.request("DELETE", f"networks/{found['Id']}")
        try:
            await self._engine.request("POST", "networks/create", body=body)
        except EngineConflict:
            return
        except EngineError as error:
            words = f"cannot create the network of nodes over {self._settings.node_cidr}: {error}; choose another range with --node-cidr"
            raise RuntimeFailure(words) from error

    async def ensure(self, fellow: Fellow) -> tuple[str, int]:
        """The id of a fellow's container that runs, and its process."""
        name = container_name(self._id, fellow.name)
        try:
            found = await self._engine.request("GET", f"containers/{quoted(name)}/json")
        except EngineNotFound:
            found = None
        if found is not None and not self._is_good(found, fellow):
            await self._remove(found["Id"])
            found = None
        if found is None:
            await self._engine.request("POST", "containers/create", params={"name": name}, body=self._body(fellow))
            found = await self._engine.request("GET", f"containers/{quoted(name)}/json")
        if found["State"].get("Paused"):
            await self._engine.request("POST", f"containers/{found['Id']}/unpause")
        if not found["State"]["Running"]:
            # Who is in a network that is nobody's any more would stay there: as when a machine ends, all its containers do.
            await self._kill_pods(fellow)
            await self._engine.request("POST", f"containers/{found['Id']}/start")
            found = await self._engine.request("GET", f"containers/{found['Id']}/json")
        return str(found["Id"]), int(found["State"]["Pid"])

    async def remove(self, fellow: Fellow) -> None:
        """Takes away its pods' containers, and its own."""
        for container in await self._pods(fellow, ended=True):
            await self._remove(container)
        await self._remove(container_name(self._id, fellow.name))

    async def kill(self, fellow: Fellow) -> None:
        """Ends all of them at once, as a machine does that loses its power."""
        await self._kill_pods(fellow)
        await self._kill(container_name(self._id, fellow.name))

    async def _kill_pods(self, fellow: Fellow) -> None:
        for container in await self._pods(fellow, ended=False):
            await self._kill(container)

    async def _pods(self, fellow: Fellow, *, ended: bool) -> list[str]:
        filters = json.dumps({"label": [f"{CLUSTER}={self._id}", f"{NODE}={fellow.name}"]})
        listed = await self._engine.request("GET", "containers/json", params={"all": int(ended), "filters": filters})
        return [entry["Id"] for entry in listed or ()]

    async def _kill(self, container: str) -> None:
        """One that has ended is success."""
        with suppress(EngineNotFound, EngineConflict):
            await self._engine.request("POST", f"containers/{quoted(container)}/kill")

    async def _remove(self, container: str) -> None:
        with suppress(EngineNotFound, EngineConflict):
            await self._engine.request("DELETE", f"containers/{quoted(container)}", params={"force": 1, "v": 1})

    def _is_good(self, found: Any, fellow: Fellow) -> bool:
        """Whether it is where the fellow is to be."""
        networks = found["NetworkSettings"]["Networks"] or {}
        wanted = ((networks.get(network_name(self._id)) or {}).get("IPAMConfig") or {}).get("IPv4Address")
        return bool(wanted == fellow.address and found["Config"]["Labels"].get(CLUSTER) == self._id)

    def _network_body(self) -> dict[str, Any]:
        return {
            "Name": network_name(self._id),
            "Driver": "bridge",
            "CheckDuplicate": True,
            "IPAM": {"Driver": "default", "Config": [{"Subnet": self._settings.node_cidr, "Gateway": gateway(self._settings)}]},
            "Options": {BRIDGE_OPTION: network_bridge(self._id)},
            "Labels": {CLUSTER: self._id},
        }

    def _body(self, fellow: Fellow) -> dict[str, Any]:
        network = network_name(self._id)
        return {
            "Image": PAUSE_IMAGE,
            "Hostname": fellow.hostname,
            "Labels": {CLUSTER: self._id, KIND: NODE_KIND, PLACE: fellow.name},
            "StopSignal": "SIGKILL",
            "HostConfig": {
                "NetworkMode": network,
                "LogConfig": {"Type": "none"},
                "ReadonlyRootfs": True,
                "SecurityOpt": ["no-new-privileges"],
                "CapDrop": ["ALL"],
                "Sysctls": {FORWARDING: "1"},
            },
            "NetworkingConfig": {"EndpointsConfig": {network: {"IPAMConfig": {"IPv4Address": fellow.address}}}},
        }
