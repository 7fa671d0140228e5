"""The engine's sandboxes: containers that hold a pod's namespaces and its address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from services.kubelet.runtime.docker.bodies import NO_NETWORK, node_network, sandbox_body, sandbox_name
from services.kubelet.runtime.docker.engine import Engine, EngineConflict, EngineError, EngineNotFound
from services.kubelet.runtime.docker.interfaces import EngineInterfaces, InterfaceFailure
from services.kubelet.runtime.docker.observer import EngineObserver
from services.kubelet.runtime.docker.owned import OwnContainers, name_is_taken
from services.kubelet.runtime.docker.pause import ensure_pause_image
from services.kubelet.runtime.docker.settings import DockerSettings
from services.kubelet.runtime.interface import INSIDE
from services.kubelet.runtime.labels import sandbox_from
from services.kubelet.runtime.pause import PAUSE_IMAGE
from services.kubelet.runtime.plan import SandboxPlan
from services.kubelet.runtime.port import Sandbox


class EngineSandboxes:
    """Makes and removes sandboxes. The addresses are the observer's, which knows those of the pods that run already."""

    def __init__(
        self,
        engine: Engine,
        settings: DockerSettings,
        own: Mapping[str, str],
        owned: OwnContainers,
        interfaces: EngineInterfaces,
        observer: EngineObserver,
        may_hide: Callable[[], bool] = lambda: False,
    ) -> None:
        """``may_hide`` answers whether the engine need not know the namespaces of networks that we lay, and is the quicker for it."""
        self._engine = engine
        self._settings = settings
        self._own = own
        self._owned = owned
        self._interfaces = interfaces
        self._observer = observer
        self._may_hide = may_hide
        self._image_making = asyncio.Lock()

    async def create(self, plan: SandboxPlan) -> Sandbox:
        """As ``Runtime.create_sandbox``. Where it does not come to an end, the next list shows what there is of it.

        Until then its address is free: if the engine has made it, the start of another with it says so, and that is made anew."""
        self._observer.making[plan.pod.uid] = ""
        try:
            return await self._make(plan)
        finally:
            self._observer.making.pop(plan.pod.uid, None)

    async def _make(self, plan: SandboxPlan) -> Sandbox:
        sandbox, network = await self._created(plan)
        try:
            await self._engine.request("POST", f"containers/{sandbox.id}/start")
            if network == NO_NETWORK:
                await self._interfaces.lay(sandbox.id, sandbox.ip)
        except (EngineError, InterfaceFailure):
            await self._owned.remove(sandbox.id)
            raise
        if sandbox.ip:
            self._observer.last_ip[plan.pod.uid] = sandbox.ip
        sandbox = replace(sandbox, ready=True)
        self._observer.observations.put_sandbox(sandbox)
        return sandbox

    async def remove(self, sandbox: Sandbox) -> None:
        """As ``Runtime.remove_sandbox``."""
        await self._owned.remove(sandbox.id)
        if sandbox.ip:
            await self._interfaces.remove(sandbox.id)
        self._observer.observations.remove(sandbox.pod.uid, sandbox.id)

    async def _created(self, plan: SandboxPlan) -> tuple[Sandbox, str]:
        """Made with a new address, or the one that is there already; and the network that the engine joins it to."""
        name = sandbox_name(plan.pod, plan.attempt)
        ip = "" if plan.host_network else self._observer.take_address(plan.pod.uid)
        node = node_network(self._settings)
        body = sandbox_body(plan, ip, PAUSE_IMAGE, self._network(plan), self._own, unknown=self._may_hide(), node=node)
        try:
            created = await self._create(name, body)
        except EngineConflict as error:
            if not name_is_taken(error):
                raise
        else:
            made = sandbox_from(created["Id"], body["Labels"], ready=False, created_at=datetime.now(UTC))
            return made, body["HostConfig"]["NetworkMode"]
        inspected = await self._owned.inspect(name, plan.pod)
        found = sandbox_from(inspected["Id"], inspected["Config"]["Labels"], ready=False, created_at=datetime.now(UTC))
        self._observer.making[plan.pod.uid] = found.ip
        return found, inspected["HostConfig"]["NetworkMode"]

    def _network(self, plan: SandboxPlan) -> str:
        """Kernel settings of the pod's interface are set by the engine, which must know it then, and has none to know where the bridge is
        ours."""
        own_settings = any(f".{INSIDE}." in name for name in plan.sysctls) and not self._settings.network_of
        return NO_NETWORK if self._interfaces.ours and not own_settings else self._settings.network

    async def _create(self, name: str, body: Mapping[str, Any]) -> Any:
        """Somebody who tidies up may have removed the sandbox's image: it is made anew."""
        params = {"name": name}
        try:
            return await self._engine.request("POST", "containers/create", params=params, body=body)
        except EngineNotFound as error:
            if "image" not in str(error).lower():
                raise
        async with self._image_making:
            await ensure_pause_image(self._engine)
        return await self._engine.request("POST", "containers/create", params=params, body=body)
