"""The node's pod network: the engine's plugins (CNI) make it, as the file says that is laid here.

`bridge` makes the node's bridge and a pod's interface on it and lets the pods reach the outside by the node's address, `host-local` hands
out the addresses of the node's range; the ways to other nodes are the proxy's, as with every runtime.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

from knarr.service.files import PUBLIC, write_whole
from services.kubelet.runtime.cri.engine import Engine
from services.kubelet.runtime.cri.facts import EngineFacts, read_facts
from services.kubelet.runtime.cri.firewall_chains import remove_idle_chains
from services.kubelet.runtime.cri.settings import CriSettings
from services.kubelet.runtime.port import RuntimeFailure

FILE = "10-knarr.conflist"
VERSION = "0.4.0"
# Where `host-local` remembers which addresses are given.
GIVEN = Path("/var/lib/cni/networks")
READY_SECONDS, LOOK_SECONDS = 10.0, 0.05


def network_config(settings: CriSettings) -> dict[str, Any]:
    """The list of plugins. Pure."""
    addresses = {"type": "host-local", "ranges": [[{"subnet": settings.pod_cidr}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {
        "type": "bridge",
        "bridge": settings.bridge,
        "isGateway": True,
        # The bridge may be there with the gateway of another range, which the node had before.
        "forceAddress": True,
        "ipMasq": True,
        "hairpinMode": True,
        "mtu": settings.mtu,
        "ipam": addresses,
    }
    # Lets the pods' packets through where another engine on the machine, as Docker does, forwards none but its own.
    firewall = {"type": "firewall", "backend": "iptables"}
    return {"cniVersion": VERSION, "name": settings.network, "plugins": [bridge, firewall]}


async def ensure_network(engine: Engine, settings: CriSettings, facts: EngineFacts) -> None:
    """Lays the file unless it is there, and waits until the engine has taken it. RuntimeFailure when another network is in its place."""
    laid = await asyncio.to_thread(_lay, facts.network_folder / FILE, settings)
    try:
        async with asyncio.timeout(READY_SECONDS):
            while laid or facts.network_trouble or settings.network not in facts.networks:
                await asyncio.sleep(LOOK_SECONDS)
                facts, laid = await read_facts(engine), False
    except TimeoutError as error:
        others = ", ".join(name for name in facts.networks if name not in ("cni-loopback", settings.network))
        taken = f"it uses the network {others}, whose file in {facts.network_folder} comes before {FILE}: remove that file"
        words = facts.network_trouble or (taken if others else f"it has not taken {facts.network_folder / FILE}")
        raise RuntimeFailure(f"the container runtime has no pod network: {words}") from error


def _lay(path: Path, settings: CriSettings) -> bool:
    """Whether the file was written. Raises RuntimeFailure."""
    wanted = json.dumps(network_config(settings), indent=2) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        present = path.read_text() if path.exists() else ""
        if present == wanted:
            return False
        _refuse_other(path, present, settings)
        write_whole(path, wanted.encode(), mode=PUBLIC)
    except OSError as error:
        raise RuntimeFailure(f"cannot write the pod network's file {path}: {error.strerror}") from error
    return True


def _refuse_other(path: Path, present: str, settings: CriSettings) -> None:
    """An engine has one pod network: that of another cluster is not taken away."""
    try:
        name = json.loads(present or "{}").get("name", settings.network)
    except (ValueError, AttributeError):
        return
    if name != settings.network:
        raise RuntimeFailure(
            f"the container runtime has the pod network {name} of another cluster; end that cluster, or remove {path} where it is gone"
        )


async def remove_network(settings: CriSettings, folder: Path) -> None:
    """Takes away the file, what the plugins remember of it, the bridge, and where no other pods are what these were let through by."""
    path = folder / FILE
    await asyncio.to_thread(_remove_files, path, settings.network)
    # One that is not there is what is wanted.
    process = await asyncio.create_subprocess_exec("ip", "link", "delete", settings.bridge, stderr=asyncio.subprocess.DEVNULL)
    await process.wait()
    await remove_idle_chains()


def _remove_files(path: Path, network: str) -> None:
    try:
        ours = json.loads(path.read_text()).get("name") == network
    except (OSError, ValueError, AttributeError):
        ours = False
    if ours:
        path.unlink(missing_ok=True)
    shutil.rmtree(GIVEN / network, ignore_errors=True)
