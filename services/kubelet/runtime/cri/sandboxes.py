"""The engine's sandboxes: what holds a pod's namespaces and its address."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from knarr.api.cri.v1 import sandbox_pb2 as pb
from services.kubelet.proc import PROC, interfaces
from services.kubelet.runtime.cri.configs import sandbox_config
from services.kubelet.runtime.cri.engine import Engine, EngineError, EngineNotFound
from services.kubelet.runtime.cri.facts import read_facts
from services.kubelet.runtime.cri.image_import import ensure_sandbox_image
from services.kubelet.runtime.cri.log_files import pod_logs
from services.kubelet.runtime.cri.observer import EngineObserver
from services.kubelet.runtime.cri.settings import CriSettings
from services.kubelet.runtime.cri.statuses import json_of
from services.kubelet.runtime.plan import PodRef, SandboxPlan
from services.kubelet.runtime.port import RuntimeFailure, Sandbox
from services.kubelet.runtime.usage import NetworkUse, Usage, UsageDetails


class EngineSandboxes:
    """Makes and removes sandboxes. Their addresses are given by the engine's network."""

    def __init__(self, engine: Engine, settings: CriSettings, own: Mapping[str, str], observer: EngineObserver) -> None:
        self._engine = engine
        self._settings = settings
        self._own = own
        self._observer = observer
        # The process of each sandbox that was asked about: it is the same for as long as the sandbox runs.
        self._pids: dict[str, int] = {}

    async def create(self, plan: SandboxPlan) -> Sandbox:
        """As ``Runtime.create_sandbox``."""
        pod = self._observer.observations.get(plan.pod.uid)
        for known in pod.sandboxes if pod else ():
            if known.attempt == plan.attempt and known.ready:
                return known
        folder = pod_logs(self._settings.logs, plan.pod)
        await asyncio.to_thread(_make_folder, folder)
        try:
            sandbox = await self._observer.look_at_sandbox(await self._run(plan))
        except RuntimeFailure:
            # Of a pod that never gets one nobody would remove it.
            await asyncio.to_thread(_remove_empty, folder)
            raise
        if sandbox is None:
            raise RuntimeFailure(f"the sandbox of pod {plan.pod.namespace}/{plan.pod.name} was gone at once")
        return sandbox

    async def _run(self, plan: SandboxPlan) -> str:
        """The id of a new one, or of the one that a call made whose answer was lost."""
        config = sandbox_config(plan, self._settings.logs, self._own)
        request = pb.RunPodSandboxRequest(config=config, runtime_handler=plan.handler)
        try:
            return str((await self._engine.runtime("RunPodSandbox", request)).pod_sandbox_id)
        except EngineError as error:
            if await self._gave_image(error):
                return str((await self._engine.runtime("RunPodSandbox", request)).pod_sandbox_id)
            if not name_is_taken(error):
                raise
        found = await self._observer.find_sandbox(plan.pod.uid, plan.attempt)
        if found is None:
            raise RuntimeFailure(f"the sandbox of pod {plan.pod.namespace}/{plan.pod.name} is being made by an earlier call")
        if found.state == pb.SANDBOX_READY:
            return str(found.id)
        await self._take_away(found.id)
        return str((await self._engine.runtime("RunPodSandbox", request)).pod_sandbox_id)

    async def _gave_image(self, error: EngineError) -> bool:
        """Whether it was the sandbox's image: somebody who tidies up may have removed it."""
        if "sandbox image" not in str(error):
            return False
        await ensure_sandbox_image(self._engine, (await read_facts(self._engine)).sandbox_image)
        return True

    async def cut_off(self) -> None:
        """Ends the sandboxes whose network was taken away, so that their pods are made anew. Raises RuntimeFailure."""
        for pod in list(self._observer.observations.pods.values()):
            for sandbox in pod.sandboxes:
                if sandbox.ready and sandbox.ip:
                    with contextlib.suppress(EngineNotFound):
                        await self._engine.runtime("StopPodSandbox", pb.StopPodSandboxRequest(pod_sandbox_id=sandbox.id))
                    await self._observer.look_at_sandbox(sandbox.id)

    async def remove(self, sandbox: Sandbox) -> None:
        """As ``Runtime.remove_sandbox``."""
        await self._take_away(sandbox.id)
        uid = sandbox.pod.uid
        pod = self._observer.observations.get(uid)
        self._observer.observations.remove(uid, sandbox.id)
        for container in pod.containers if pod else ():
            # They went with it.
            if container.sandbox_attempt == sandbox.attempt:
                self._observer.observations.remove(uid, container.id)
        if self._observer.observations.get(uid) is None:
            await asyncio.to_thread(shutil.rmtree, pod_logs(self._settings.logs, sandbox.pod), ignore_errors=True)

    async def _take_away(self, sandbox_id: str) -> None:
        with contextlib.suppress(EngineNotFound):
            await self._engine.runtime("StopPodSandbox", pb.StopPodSandboxRequest(pod_sandbox_id=sandbox_id))
            await self._engine.runtime("RemovePodSandbox", pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id))

    async def usage(self) -> list[Usage]:
        """As ``Runtime.sandbox_usage``: what has gone through their networks. Their one process waits, and uses next to nothing."""
        ready = [s for pod in self._observer.observations.pods.values() for s in pod.sandboxes if s.ready and s.ip]
        self._pids = {s.id: self._pids[s.id] if s.id in self._pids else await self.pid(s.id) for s in ready}
        told = await asyncio.to_thread(lambda: {engine_id: _read_networks(pid) for engine_id, pid in self._pids.items()})
        return [Usage(s.pod, "", 0, 0, 1, UsageDetails(networks=networks_of(told[s.id]))) for s in ready]

    async def pid(self, sandbox_id: str) -> int:
        """The sandbox's process as the node numbers it; 0 where the engine does not say."""
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id, verbose=True)
        return int(json_of((await self._engine.runtime("PodSandboxStatus", request)).info, "info").get("pid") or 0)


def _read_networks(pid: int) -> str:
    """What Linux tells of the interfaces that a process sees; nothing where it is not to be seen."""
    try:
        return (PROC / str(pid) / "net/dev").read_text() if pid else ""
    except OSError:
        return ""


def networks_of(text: str) -> tuple[NetworkUse, ...]:
    """The interfaces of a file like ``/proc/net/dev``, but for the loopback. Pure."""
    return tuple(NetworkUse(name, *figures) for name, figures in interfaces(text) if name != "lo")


def name_is_taken(error: EngineError) -> bool:
    """Whether a create failed because one of that name is there, or is being made."""
    return "is reserved for" in str(error)


def _make_folder(path: Path) -> None:
    """Readable by all, as Kubernetes has it, for whoever collects logs."""
    try:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.chmod(0o755)
    except OSError as error:
        raise RuntimeFailure(f"cannot make the folder of the pod's logs {path}: {error.strerror}") from error


def _remove_empty(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.rmdir()


def make_log_folder(logs: Path, pod: PodRef, container: str) -> None:
    """Of one container's logs."""
    _make_folder(pod_logs(logs, pod) / container)
