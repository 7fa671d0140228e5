"""The Docker runtime: pods as sandbox and container in one engine, observed by its event stream.

What the engine holds is kept in memory. The runtime's own calls change it as soon as they are
answered, events as they come; a full list after every (re)connect and now and then finds what
was missed. A state never goes back: a late answer to a start does not revive what has died.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from knarr.service.tasks import run_together
from services.kubelet.runtime.addresses import PodAddresses
from services.kubelet.runtime.checks import check_network
from services.kubelet.runtime.docker.bodies import container_body, container_name, sandbox_body, sandbox_name
from services.kubelet.runtime.docker.bridge import BridgeKeeper
from services.kubelet.runtime.docker.engine import Engine, EngineError, quoted
from services.kubelet.runtime.docker.events import lines
from services.kubelet.runtime.docker.labels import (
    CLUSTER,
    NODE,
    POD_UID,
    START_FAILED_EXIT_CODE,
    container_from,
    image_id,
    sandbox_from,
)
from services.kubelet.runtime.docker.network import ensure_network, renew_network
from services.kubelet.runtime.docker.observer import EngineObserver
from services.kubelet.runtime.docker.pause import PAUSE_IMAGE, ensure_pause_image
from services.kubelet.runtime.docker.settings import DockerSettings
from services.kubelet.runtime.docker.streams import HijackedSession, demultiplexed
from services.kubelet.runtime.plan import ContainerPlan, PodRef, SandboxPlan
from services.kubelet.runtime.port import (
    CREATED,
    EXITED,
    RUNNING,
    Check,
    Container,
    ExecCheck,
    Image,
    LocalImage,
    LogOptions,
    NoSuchContainer,
    NoSuchImage,
    PodObservation,
    ProbeResult,
    Runtime,
    RuntimeFailure,
    Sandbox,
    Session,
    Usage,
)

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.25
RELIST_TIMEOUT_SECONDS = 20.0
STOP_MARGIN_SECONDS = 60.0
IMAGE_CACHE_SECONDS = 30.0
MAX_PROBE_OUTPUT_BYTES = 10 * 1024
KILLED_EXIT_CODE = 137
PRIVILEGE_ADVICE = (
    "this machine lacks a capability that the container asks for: instead of securityContext.privileged, "
    "list those it needs in securityContext.capabilities.add"
)
NOT_FOUND, CONFLICT, NOT_MODIFIED = 404, 409, 304


class DockerRuntime(Runtime):
    """One engine. Everything it makes carries the cluster's and the node's label."""

    def __init__(self, settings: DockerSettings) -> None:
        self._settings = settings
        self._engine = Engine(settings.url, settings.timeout_seconds)
        self._own = {CLUSTER: settings.cluster_id, NODE: settings.node_name}
        self._observer = EngineObserver(self._engine, settings, self._own)
        self._images: dict[str, tuple[float, Image]] = {}
        self._version = "Unknown"
        self._started = asyncio.Event()
        self._image_making = asyncio.Lock()

    def use_pod_cidr(self, pod_cidr: str) -> None:
        self._settings = replace(self._settings, pod_cidr=pod_cidr)
        self._observer.addresses = PodAddresses(pod_cidr)

    async def start(self) -> None:
        try:
            await self._start()
        except RuntimeFailure as error:
            self._observer.set_trouble(str(error))
            raise
        self._started.set()
        self._observer.set_trouble("")

    async def _start(self) -> None:
        version = await self._engine.request("GET", "version", timeout_seconds=RELIST_TIMEOUT_SECONDS)
        self._version = str(version["Version"]).partition("+")[0]
        await asyncio.gather(
            ensure_network(self._engine, self._settings, self._observer.addresses.gateway, self._own), ensure_pause_image(self._engine, {})
        )
        await self._observer.relist()

    async def run(self) -> None:
        await self._started.wait()
        keeper = BridgeKeeper(self._settings.bridge, self._renew_network)
        await run_together("runtime", {"events": self._follow(), "bridge": keeper.run()})

    async def _renew_network(self) -> None:
        await renew_network(self._engine, self._settings, self._observer.addresses.gateway, self._own)
        await self._observer.relist()

    async def _follow(self) -> None:
        while True:
            try:
                await self._observer.follow()
            except RuntimeFailure as error:
                self._observer.set_trouble(str(error))
                log.warning("the engine's event stream broke", extra={"error": str(error)})
            await asyncio.sleep(RECONNECT_SECONDS)

    async def close(self) -> None:
        await self._engine.close()

    @property
    def version(self) -> str:
        return f"docker://{self._version}"

    @property
    def trouble(self) -> str:
        return self._observer.trouble

    def observe(self, uid: str) -> PodObservation | None:
        return self._observer.observations.get(uid)

    def observed(self) -> Mapping[str, PodObservation]:
        return self._observer.observations.pods

    def on_change(self, callback: Callable[[str], None]) -> None:
        self._observer.observations.on_change(callback)

    async def create_sandbox(self, plan: SandboxPlan) -> Sandbox:
        name = sandbox_name(plan.pod, plan.attempt)
        ip = "" if plan.host_network else self._observer.take_address(plan.pod.uid)
        body = sandbox_body(plan, ip, PAUSE_IMAGE, self._settings, self._own)
        try:
            created = await self._create_sandbox(name, body)
            sandbox = sandbox_from(created["Id"], body["Labels"], ready=False, created_at=datetime.now(UTC))
        except EngineError as error:
            self._observer.give_back(ip)
            if error.status != CONFLICT or "already in use" not in str(error):
                raise
            sandbox = await self._adopt_sandbox(name, plan.pod)
        try:
            await self._engine.request("POST", f"containers/{sandbox.id}/start")
        except EngineError:
            await self._remove(sandbox.id)
            self._observer.give_back(sandbox.ip)
            raise
        if sandbox.ip:
            self._observer.addresses.claim(sandbox.ip)
            self._observer.last_ip[plan.pod.uid] = sandbox.ip
        sandbox = replace(sandbox, ready=True)
        self._observer.observations.put_sandbox(sandbox)
        return sandbox

    async def _create_sandbox(self, name: str, body: Mapping[str, Any]) -> Any:
        """Somebody who tidies up may have removed the sandbox's image: it is made anew."""
        params = {"name": name}
        try:
            return await self._engine.request("POST", "containers/create", params=params, body=body)
        except EngineError as error:
            if error.status != NOT_FOUND or "image" not in str(error).lower():
                raise
        async with self._image_making:
            await ensure_pause_image(self._engine, {})
        return await self._engine.request("POST", "containers/create", params=params, body=body)

    async def remove_sandbox(self, sandbox: Sandbox) -> None:
        await self._remove(sandbox.id)
        if self._observer.observations.find(sandbox.id):
            self._observer.give_back(sandbox.ip)
        self._observer.observations.remove(sandbox.pod.uid, sandbox.id)

    async def image(self, reference: str) -> Image:
        now = asyncio.get_running_loop().time()
        until, cached = self._images.get(reference, (0.0, None))
        if cached is not None and now < until:
            return cached
        try:
            found = await self._engine.request("GET", f"images/{quoted(reference)}/json")
        except EngineError as error:
            if error.status == NOT_FOUND:
                raise NoSuchImage(str(error)) from error
            raise
        digests = found.get("RepoDigests") or []
        config = found.get("Config") or {}
        image = Image(
            found["Id"], reference, config.get("User") or "", digests[0] if digests else "", config.get("StopSignal") or "", found["Size"]
        )
        self._images[reference] = (now + IMAGE_CACHE_SECONDS, image)
        return image

    async def images(self) -> list[LocalImage]:
        found = await self._engine.request("GET", "images/json")
        named = [([*(entry.get("RepoDigests") or []), *(entry.get("RepoTags") or [])], int(entry["Size"])) for entry in found]
        images = [LocalImage(tuple(name for name in names if "<none>" not in name), size) for names, size in named]
        return [image for image in images if image.names]

    async def pull(self, reference: str, auth: Mapping[str, str] | None = None) -> Image:
        headers = {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(dict(auth)).encode()).decode()} if auth else {}
        self._images.pop(reference, None)
        async with self._engine.stream("POST", "images/create", params={"fromImage": reference}, headers=headers) as chunks:
            async for line in lines(chunks):
                progress = json.loads(line)
                if "error" in progress:
                    raise RuntimeFailure(str(progress["error"]))
        return await self.image(reference)

    async def create_container(self, plan: ContainerPlan) -> Container:
        image = await self.image(plan.image)
        body = container_body(plan, image.id, self._settings, self._own)
        name = container_name(plan)
        try:
            created = await self._engine.request("POST", "containers/create", params={"name": name}, body=body)
        except EngineError as error:
            if error.status == NOT_FOUND:
                self._images.pop(plan.image, None)
            if error.status != CONFLICT or "already in use" not in str(error):
                raise
            return await self._adopt_container(name, plan.pod)
        container = Container(
            created["Id"],
            plan.name,
            plan.attempt,
            CREATED,
            plan.image,
            _image_id(image),
            plan.spec_hash,
            plan.sandbox_attempt,
            datetime.now(UTC),
        )
        if plan.process.tty:
            self._observer.ttys.add(container.id)
        self._observer.observations.put_container(plan.pod, container)
        return container

    async def start_container(self, container: Container, pod: PodRef) -> None:
        try:
            await self._engine.request("POST", f"containers/{container.id}/start")
        except EngineError as error:
            if error.status == NOT_MODIFIED:
                return
            now, words = datetime.now(UTC), _with_advice(str(error))
            failed = replace(container, state=EXITED, exit_code=START_FAILED_EXIT_CODE, error=words, finished_at=now)
            self._observer.observations.put_container(pod, failed)
            raise (RuntimeFailure(words) if words != str(error) else error) from error
        if self._observer.state(container.id) == CREATED:
            self._observer.observations.put_container(pod, replace(container, state=RUNNING, started_at=datetime.now(UTC)))

    async def stop_container(self, container: Container, pod: PodRef, grace_seconds: float) -> None:
        timeout = math.ceil(grace_seconds)
        try:
            await self._engine.request(
                "POST", f"containers/{container.id}/stop", params={"t": timeout}, timeout_seconds=timeout + STOP_MARGIN_SECONDS
            )
        except EngineError as error:
            if error.status == NOT_FOUND:
                self._observer.observations.remove(pod.uid, container.id)
            elif error.status != NOT_MODIFIED:
                raise
        if self._observer.state(container.id) == RUNNING:
            await self._observer.look(container.id)

    async def remove_container(self, container: Container, pod: PodRef) -> None:
        await self._remove(container.id)
        self._observer.ttys.discard(container.id)
        self._observer.observations.remove(pod.uid, container.id)

    async def logs(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        params: dict[str, str | int] = {"stdout": 1, "stderr": 1, "follow": int(options.follow), "timestamps": int(options.timestamps)}
        params["tail"] = "all" if options.tail_lines is None else options.tail_lines
        if options.since is not None:
            params["since"] = f"{options.since.timestamp():.9f}"
        try:
            async with self._engine.stream("GET", f"containers/{container_id}/logs", params=params) as chunks:
                source = chunks if container_id in self._observer.ttys else demultiplexed(chunks)
                async with aclosing(source) as stream:  # type: ignore[type-var]
                    async for data in stream:
                        yield data
        except EngineError as error:
            raise _missing(error) from error

    async def exec(self, container_id: str, command: tuple[str, ...], *, stdin: bool, tty: bool) -> Session:
        body = {"AttachStdin": stdin, "AttachStdout": True, "AttachStderr": not tty, "Tty": tty, "Cmd": list(command)}
        try:
            created = await self._engine.request("POST", f"containers/{container_id}/exec", body=body)
        except EngineError as error:
            raise _missing(error) from error
        path = f"exec/{created['Id']}"
        reader, writer = await self._engine.hijack(f"{path}/start", {"Detach": False, "Tty": tty})

        async def exit_code() -> int:
            return int((await self._engine.request("GET", f"{path}/json"))["ExitCode"] or 0)

        return HijackedSession(self._engine, reader, writer, tty, f"{path}/resize", exit_code)

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> Session:
        params: Mapping[str, str | int] = {"stream": 1, "stdin": int(stdin), "stdout": 1, "stderr": 1}
        reader, writer = await self._engine.hijack(f"containers/{container_id}/attach", {}, params)

        async def exit_code() -> int:
            return 0

        is_tty = container_id in self._observer.ttys
        return HijackedSession(self._engine, reader, writer, is_tty, f"containers/{container_id}/resize", exit_code)

    async def check(self, container_id: str, check: Check, timeout_seconds: float) -> ProbeResult:
        if not isinstance(check, ExecCheck):
            return await check_network(check, timeout_seconds)
        output = b""
        try:
            async with asyncio.timeout(timeout_seconds):
                session = await self.exec(container_id, check.command, stdin=False, tty=False)
                try:
                    while (piece := await session.read()) is not None:
                        output = (output + piece[1])[:MAX_PROBE_OUTPUT_BYTES]
                    code = await session.exit_code()
                finally:
                    await session.close()
        except TimeoutError:
            return ProbeResult(False, f'command "{" ".join(check.command)}" timed out')
        return ProbeResult(code == 0, output.decode(errors="replace"))

    async def usage(self) -> list[Usage]:
        running = [(pod.ref, c) for pod in self._observer.observations.pods.values() for c in pod.containers if c.state == RUNNING]
        found = await asyncio.gather(*(self._usage_of(ref, container) for ref, container in running))
        return [usage for usage in found if usage is not None]

    async def _usage_of(self, ref: PodRef, container: Container) -> Usage | None:
        try:
            stats = await self._engine.request("GET", f"containers/{container.id}/stats", params={"stream": "false", "one-shot": "true"})
        except EngineError:
            return None
        memory = stats.get("memory_stats") or {}
        details = memory.get("stats") or {}
        cache = details.get("total_inactive_file", details.get("inactive_file", 0))
        used = max(int(memory.get("usage", 0)) - int(cache), 0)
        return Usage(ref, container.name, int(stats["cpu_stats"]["cpu_usage"]["total_usage"]), used)

    async def _adopt_sandbox(self, name: str, pod: PodRef) -> Sandbox:
        inspected = await self._engine.request("GET", f"containers/{quoted(name)}/json")
        self._refuse_foreign(inspected, pod)
        return sandbox_from(inspected["Id"], inspected["Config"]["Labels"], ready=False, created_at=datetime.now(UTC))

    async def _adopt_container(self, name: str, pod: PodRef) -> Container:
        inspected = await self._engine.request("GET", f"containers/{quoted(name)}/json")
        self._refuse_foreign(inspected, pod)
        self._observer.remember(inspected)
        return container_from(inspected)

    def _refuse_foreign(self, inspected: Mapping[str, Any], pod: PodRef) -> None:
        labels = inspected["Config"].get("Labels") or {}
        if labels.get(POD_UID) != pod.uid or any(labels.get(key) != value for key, value in self._own.items()):
            raise RuntimeFailure(f"the container name {inspected['Name']} is taken by something that is not this node's")

    async def _remove(self, container_id: str) -> None:
        try:
            await self._engine.request("DELETE", f"containers/{container_id}", params={"force": 1, "v": 1})
        except EngineError as error:
            if error.status == CONFLICT and "already in progress" in str(error):
                return
            if error.status != NOT_FOUND:
                raise


def _image_id(image: Image) -> str:
    return f"docker-pullable://{image.digest}" if image.digest else image_id(image.id)


def _with_advice(words: str) -> str:
    """What to do about a failure whose own words do not say it."""
    return f"{words} ({PRIVILEGE_ADVICE})" if "unable to apply caps" in words else words


def _missing(error: EngineError) -> RuntimeFailure:
    return NoSuchContainer(str(error)) if error.status == NOT_FOUND else error
