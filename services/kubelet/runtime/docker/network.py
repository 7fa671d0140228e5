"""The node's bridge network, which the engine makes, and taking away everything that a cluster left in an engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping

from services.kubelet.runtime.docker.bodies import BRIDGE_OPTION, network_body
from services.kubelet.runtime.docker.engine import Engine, EngineConflict, EngineError, EngineNotFound, quoted
from services.kubelet.runtime.docker.settings import DockerSettings
from services.kubelet.runtime.interface import read_ends, remove
from services.kubelet.runtime.labels import CLUSTER, IP, KIND, SANDBOX_KIND
from services.kubelet.runtime.pause import PAUSE_IMAGE
from services.kubelet.runtime.port import RuntimeFailure

REMOVALS_AT_ONCE = 8
TIMEOUT_SECONDS = 120.0
TRIES = 40
RETRY_SECONDS = 0.1


async def ensure_network(engine: Engine, settings: DockerSettings, gateway: str, own: Mapping[str, str]) -> None:
    """Creates the network unless it is there. One of that name over another range is made anew when it is ours and nobody is on it.

    RuntimeFailure when it is not, or when the engine refuses.
    """
    try:
        found = await engine.request("GET", f"networks/{quoted(settings.network)}")
    except EngineNotFound:
        await _create_network(engine, settings, gateway, own)
        return
    subnets = [config.get("Subnet") for config in found["IPAM"]["Config"] or []]
    if settings.pod_cidr in subnets:
        return
    words = f"the Docker network {settings.network} is over {', '.join(map(str, subnets))}, not over the node's podCIDR {settings.pod_cidr}"
    labels = found.get("Labels") or {}
    if any(labels.get(key) != value for key, value in own.items()):
        raise RuntimeFailure(f"{words}, and it is not this node's; rename or remove it")
    if on_it := await _pods_on_network(engine, own):
        raise RuntimeFailure(f"{words}, and {on_it} pods are on it; remove the pods of this node")
    await _remove_network(engine, found["Id"])
    await _create_network(engine, settings, gateway, own)


async def _pods_on_network(engine: Engine, own: Mapping[str, str]) -> int:
    """How many sandboxes of a node have an address. The engine knows of none whose interface we have laid."""
    filters = {"label": [f"{key}={value}" for key, value in {**own, KIND: SANDBOX_KIND}.items()], "status": ["running"]}
    listed = await engine.request("GET", "containers/json", params={"filters": json.dumps(filters)})
    return sum(bool(entry["Labels"].get(IP)) for entry in listed or ())


async def _create_network(engine: Engine, settings: DockerSettings, gateway: str, own: Mapping[str, str]) -> None:
    try:
        await engine.request("POST", "networks/create", body=network_body(settings, gateway, own))
    except EngineConflict:
        return
    except EngineError as refused:
        raise RuntimeFailure(f"cannot create the network {settings.network} over {settings.pod_cidr}: {refused}") from refused


async def renew_network(engine: Engine, settings: DockerSettings, gateway: str, own: Mapping[str, str]) -> None:
    """Makes the network anew after its bridge was removed. Who was on it is on no network then."""
    path = f"networks/{quoted(settings.network)}"
    with contextlib.suppress(EngineNotFound):
        found = await engine.request("GET", path)
        for container in found.get("Containers") or {}:
            await engine.request("POST", f"{path}/disconnect", body={"Container": container, "Force": True})
        await _remove_network(engine, found["Id"])
    await ensure_network(engine, settings, gateway, own)


async def remove_everything(cluster_id: str, url: str = "unix:///var/run/docker.sock", *, image: bool = True) -> int:
    """Removes a cluster's containers and networks, and the pause image when nothing else uses it; answers how many containers.

    Raises RuntimeUnavailable when the engine cannot be reached, and another RuntimeFailure when it could not remove something.
    """
    engine = Engine(url, TIMEOUT_SECONDS)
    filters = json.dumps({"label": [f"{CLUSTER}={cluster_id}"]})
    try:
        count = await _remove_containers(engine, filters)
        networks = await engine.request("GET", "networks", params={"filters": filters})
        for network in networks if isinstance(networks, list) else []:
            await _remove_interfaces((network.get("Options") or {}).get(BRIDGE_OPTION, ""))
            await _remove_network(engine, network["Id"])
        if image:
            await _remove(engine, f"images/{quoted(PAUSE_IMAGE)}", asyncio.Semaphore())
        return count
    finally:
        await engine.close()


async def owners(url: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The containers and the networks that kubelets have made, by their names, and the cluster that each is of. Raises RuntimeFailure."""
    engine = Engine(url, TIMEOUT_SECONDS)
    filters = json.dumps({"label": [CLUSTER]})
    try:
        containers = await engine.request("GET", "containers/json", params={"all": 1, "filters": filters})
        networks = await engine.request("GET", "networks", params={"filters": filters})
        return (
            [((found["Names"] or [found["Id"]])[0].removeprefix("/"), found["Labels"][CLUSTER]) for found in containers or ()],
            [(found["Name"], found["Labels"][CLUSTER]) for found in networks or ()],
        )
    finally:
        await engine.close()


async def _remove_containers(engine: Engine, filters: str) -> int:
    """Until none is listed: a removal that is under way is waited for, one that fails (a busy mount) is tried again."""
    gate, found, failures = asyncio.Semaphore(REMOVALS_AT_ONCE), set[str](), list[EngineError]()
    for _ in range(TRIES):
        listed = await engine.request("GET", "containers/json", params={"all": 1, "filters": filters})
        ids = [entry["Id"] for entry in listed] if isinstance(listed, list) else []
        found.update(ids)
        if not ids:
            return len(found)
        answers = await asyncio.gather(*(_try_to_remove(engine, f"containers/{engine_id}?force=1&v=1", gate) for engine_id in ids))
        failures = [answer for answer in answers if answer is not None]
        await asyncio.sleep(RETRY_SECONDS)
    if failures:
        raise failures[0]
    return len(found)


async def _try_to_remove(engine: Engine, path: str, gate: asyncio.Semaphore) -> EngineError | None:
    try:
        await _remove(engine, path, gate)
    except EngineError as error:
        return error
    return None


async def _remove_network(engine: Engine, network_id: str) -> None:
    """An endpoint of a container that was just removed may linger for a moment."""
    for left in reversed(range(TRIES)):
        try:
            await engine.request("DELETE", f"networks/{network_id}")
            return
        except EngineNotFound:
            return
        except EngineError as error:
            if left == 0 or "active endpoints" not in str(error):
                raise
        await asyncio.sleep(RETRY_SECONDS)


async def _remove_interfaces(bridge: str) -> None:
    """What the kernel has not taken away yet. An engine elsewhere has none here, and where we may not, the kernel comes to it."""
    with contextlib.suppress(OSError):
        ends = await asyncio.to_thread(read_ends, bridge)
        await asyncio.to_thread(remove, ends.strange([]))


async def _remove(engine: Engine, path: str, gate: asyncio.Semaphore) -> None:
    async with gate:
        with contextlib.suppress(EngineNotFound, EngineConflict):
            await engine.request("DELETE", path)
