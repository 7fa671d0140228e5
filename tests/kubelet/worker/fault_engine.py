"""A hollow engine that outlives its kubelets and keeps accounts, and what one kubelet sees of it: each of its calls may go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import io
import tarfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

from services.kubelet.runtime.hollow import HollowRuntime, HollowSettings
from services.kubelet.runtime.plan import ContainerPlan, Limits, PodRef, SandboxPlan
from services.kubelet.runtime.port import (
    CREATED,
    EXITED,
    RUNNING,
    Check,
    Container,
    Filesystem,
    Image,
    NoSuchContainer,
    PodObservation,
    ProbeResult,
    RuntimeFailure,
    RuntimeUnavailable,
    Sandbox,
)
from tests.support.virtual_time import VirtualClock

T = TypeVar("T")
CIDR = "10.244.0.0/24"
# How long a kubelet waits for an answer, how much later a call that nobody waits for any more comes true, and how long it takes until
# what was not told is seen in a list.
DEADLINE_SECONDS, LATER_SECONDS, UNSEEN_SECONDS = 120.0, 3.0, 5.0
CALL_SECONDS = 0.01
LATE = "a call that comes true late"


class Kind(enum.Enum):
    """What goes wrong with a call."""

    REFUSED = "refused"
    CUT = "cut before"
    UNTOLD = "cut after"
    UNSEEN = "cut after, seen later"
    HANGS = "hangs"
    LATE = "hangs, comes true later"
    DIES = "container dies after"
    BREAKS = "sandbox dies after"
    KILLED = "kubelet killed before"
    KILLED_AFTER = "kubelet killed after"
    DELETED = "pod deleted"
    FORCED = "pod deleted by force"
    FORGOTTEN = "kubelet killed after, pod deleted by force"


KILLS_KUBELET = frozenset({Kind.KILLED, Kind.KILLED_AFTER, Kind.FORGOTTEN})


def _archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        entry = tarfile.TarInfo("data/file")
        entry.size = 3
        made.addfile(entry, io.BytesIO(b"one"))
    return buffer.getvalue()


ARCHIVE = _archive()


class Engine(HollowRuntime):
    """``ended`` counts by container name how many ended or never came to run; ``well`` how many of them ended with 0. ``violations``: what
    no kubelet may do. ``shows`` images where they lie: those that it keeps for it are ``shown``."""

    mounts_files: ClassVar[bool] = True

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(CIDR, HollowSettings(sandbox_seconds=0.02, start_seconds=0.05, stop_seconds=0.4), clock)
        self.ended: Counter[str] = Counter()
        self.well: Counter[str] = Counter()
        self.violations: list[str] = []
        self.shows = False
        self.shown: set[str] = set()
        self._states: dict[str, Container] = {}
        # As of an engine that holds a name while it makes what bears it.
        self._turn = asyncio.Lock()
        self._observations.on_change(self._account)

    def _account(self, uid: str) -> None:
        pod = self._observations.get(uid)
        now = {c.id: c for c in pod.containers} if pod else {}
        for found in now.values():
            before = self._states.get(found.id)
            if found.state == EXITED and (before is None or before.state != EXITED):
                self.ended[found.name] += 1
                self.well[found.name] += found.exit_code == 0
        for gone in self._states.keys() - now.keys():
            if self._states[gone].state == RUNNING:
                self.ended[self._states[gone].name] += 1
        self._states = now
        running = Counter(c.name for c in now.values() if c.state == RUNNING)
        self.violations += [f"{count} containers {name} run" for name, count in running.items() if count > 1]

    async def show_image(self, image: Image, name: str) -> Filesystem | None:
        self.shown.add(name)
        return Filesystem("bind", "/images", ("rbind",))

    async def hide_images(self, keep: Collection[str]) -> list[str]:
        left = [name for name in self.shown if name not in keep]
        self.shown.intersection_update(keep)
        return left

    async def create_sandbox(self, plan: SandboxPlan) -> Sandbox:
        async with self._turn:
            return await super().create_sandbox(plan)

    async def create_container(self, plan: ContainerPlan) -> Container:
        pod = self.observe(plan.pod.uid)
        if pod is None or all(sandbox.id != plan.sandbox_id for sandbox in pod.sandboxes):
            raise RuntimeFailure(f"no sandbox {plan.sandbox_id[:12]}")
        return await super().create_container(plan)

    async def start_container(self, container: Container, pod: PodRef) -> None:
        """As an engine does: one that runs stays as it is. One that has ended by the time the engine is asked is what no kubelet starts;
        that it ends while the call waits behind another start of it, which a killed kubelet left under way, nobody can know."""
        asked = self.find(container.id).state
        async with self._turn:
            found = self.find(container.id)
            if asked == EXITED and not found.error and not _is_late():
                self.violations.append(f"container {container.name} started again, after its end")
            if found.state == CREATED:
                await super().start_container(found, pod)

    async def remove_container(self, container: Container, pod: PodRef) -> None:
        async with self._turn:
            await super().remove_container(container, pod)

    def find(self, container_id: str) -> Container:
        """Raises NoSuchContainer."""
        found = self._observations.find(container_id)
        if found is None or not isinstance(found[1], Container):
            raise NoSuchContainer(f"No such container: {container_id}")
        return found[1]

    def refuse_start(self, container: Container, pod: PodRef) -> None:
        """As the engines tell of a start that failed."""
        failed = replace(container, state=EXITED, exit_code=128, error="refused", finished_at=self._clock.now())
        self._observations.put_container(pod, failed)

    @property
    def free(self) -> bool:
        """Whether all addresses of pods have been given back."""
        return not self._addresses._taken


class Front(HollowRuntime):
    """What one kubelet has of the engine. ``step`` is asked before each call what goes wrong with it. One that is ``dead`` does nothing."""

    mounts_files: ClassVar[bool] = True
    cgroup_driver = "cgroupfs"

    def __init__(self, engine: Engine, step: Callable[[str], Kind | None], strike: Callable[[Kind], Awaitable[None]]) -> None:
        super().__init__(CIDR)
        self._engine, self._step, self._strike = engine, step, strike
        self.dead = False
        self._unseen: dict[str, PodObservation | None] = {}
        self._callbacks: list[Callable[[str], None]] = []
        engine.on_change(self._tell)

    def _tell(self, uid: str) -> None:
        if not self.dead and uid not in self._unseen:
            for callback in self._callbacks:
                callback(uid)

    def on_change(self, callback: Callable[[str], None]) -> None:
        self._callbacks.append(callback)

    def observe(self, uid: str) -> PodObservation | None:
        return self._unseen[uid] if uid in self._unseen else self._engine.observe(uid)

    def observed(self) -> Mapping[str, PodObservation]:
        seen: dict[str, PodObservation | None] = {**self._engine.observed(), **self._unseen}
        return {uid: found for uid, found in seen.items() if found is not None}

    def _see(self, uid: str) -> None:
        if uid in self._unseen:
            del self._unseen[uid]
            self._tell(uid)

    def _live(self) -> None:
        if self.dead:
            raise asyncio.CancelledError

    async def _call(self, what: str, ref: PodRef | None, effect: Callable[[], Awaitable[T]], name: str = "") -> T:
        self._live()
        kind = self._step(what)
        if kind in (Kind.DELETED, Kind.FORCED, Kind.KILLED):
            await self._strike(kind)
        await asyncio.sleep(CALL_SECONDS)
        self._live()
        if kind is Kind.REFUSED:
            raise RuntimeFailure("refused")
        if kind is Kind.CUT:
            raise RuntimeUnavailable("the connection was cut")
        if kind in (Kind.HANGS, Kind.LATE):
            if kind is Kind.LATE:
                asyncio.get_running_loop().call_later(DEADLINE_SECONDS + LATER_SECONDS, lambda: _begin(effect))
            await asyncio.sleep(DEADLINE_SECONDS)
            raise RuntimeUnavailable("no answer in time")
        if kind is Kind.UNSEEN and ref is not None:
            self._unseen[ref.uid] = self.observe(ref.uid)
            asyncio.get_running_loop().call_later(UNSEEN_SECONDS, self._see, ref.uid)
        result = await asyncio.gather(effect(), return_exceptions=True)
        if kind in (Kind.UNTOLD, Kind.UNSEEN):
            raise RuntimeUnavailable("the answer was lost")
        if kind in (Kind.DIES, Kind.BREAKS):
            self._end_after(kind, name)
        if kind in (Kind.KILLED_AFTER, Kind.FORGOTTEN):
            await self._strike(kind)
        self._live()
        if ref is not None:
            self._see(ref.uid)
        if isinstance(result[0], BaseException):
            raise result[0]
        return result[0]

    def _end_after(self, kind: Kind, name: str) -> None:
        for uid, pod in list(self._engine.observed().items()):
            running = [found for found in pod.containers if found.state == RUNNING and name in ("", found.name)]
            if kind is Kind.BREAKS and pod.sandbox is not None:
                self._engine.kill_sandbox(uid)
            elif kind is Kind.DIES and running:
                self._engine.exit(uid, running[-1].name, 137)

    async def create_sandbox(self, plan: SandboxPlan) -> Sandbox:
        return await self._call("create_sandbox", plan.pod, lambda: self._engine.create_sandbox(plan))

    async def remove_sandbox(self, sandbox: Sandbox) -> None:
        await self._call("remove_sandbox", sandbox.pod, lambda: self._engine.remove_sandbox(sandbox))

    async def image(self, reference: str) -> Image:
        return await self._call(f"image {reference}", None, lambda: self._engine.image(reference))

    async def pull(self, reference: str, auth: Mapping[str, str] | None = None) -> Image:
        async def pulled() -> Image:
            self._engine.missing_images.discard(reference)
            return await self._engine.pull(reference, auth)

        return await self._call(f"pull {reference}", None, pulled)

    async def images(self) -> list[Any]:
        return await self._engine.images()

    async def show_image(self, image: Image, name: str) -> Filesystem | None:
        if not self._engine.shows:
            return None
        return await self._call("show_image", None, lambda: self._engine.show_image(image, name))

    async def hide_images(self, keep: Collection[str]) -> list[str]:
        if not self._engine.shows:
            return []
        return await self._call("hide_images", None, lambda: self._engine.hide_images(keep))

    async def export(self, image: Image) -> AsyncIterator[bytes]:
        async def exported() -> bytes:
            return ARCHIVE[:700]

        yield await self._call("export", None, exported)
        yield ARCHIVE[700:]

    async def create_container(self, plan: ContainerPlan) -> Container:
        return await self._call(f"create {plan.name}", plan.pod, lambda: self._engine.create_container(plan), plan.name)

    async def start_container(self, container: Container, pod: PodRef) -> None:
        try:
            await self._call(f"start {container.name}", pod, lambda: self._engine.start_container(container, pod), container.name)
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            if str(error) == "refused":
                self._engine.refuse_start(container, pod)
            raise

    async def pin_container(self, container: Container, pod: PodRef, cpuset: str) -> None:
        await self._call(f"pin {container.name}", pod, lambda: self._engine.pin_container(container, pod, cpuset), container.name)

    async def update_container(self, container: Container, pod: PodRef, limits: Limits) -> None:
        await self._call(f"update {container.name}", pod, lambda: self._engine.update_container(container, pod, limits), container.name)

    async def stop_container(self, container: Container, pod: PodRef, grace_seconds: float) -> None:
        effect = lambda: self._engine.stop_container(container, pod, grace_seconds)  # noqa: E731
        await self._call(f"stop {container.name}", pod, effect, container.name)

    async def remove_container(self, container: Container, pod: PodRef) -> None:
        await self._call(f"remove {container.name}", pod, lambda: self._engine.remove_container(container, pod), container.name)

    async def check(self, container_id: str, check: Check, timeout_seconds: float) -> ProbeResult:
        """A probe or a hook waits no longer than it may."""
        name, what = self._engine.find(container_id).name, check.command[0] if hasattr(check, "command") else "probe"
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._call(f"{what} {name}", None, lambda: self._engine.check(container_id, check, timeout_seconds), name)
        except TimeoutError:
            return ProbeResult(False, f"timed out after {timeout_seconds} s")

    async def usage(self) -> list[Any]:
        return []


class FilelessFront(Front):
    """Whose containers see no files."""

    mounts_files = False
    cgroup_driver = ""


def _is_late() -> bool:
    """Whether this call comes true late: an engine begins with what it was asked first."""
    task = asyncio.current_task()
    return task is not None and task.get_name() == LATE


def _begin(effect: Callable[[], Awaitable[Any]]) -> None:
    async def done() -> None:
        with contextlib.suppress(RuntimeFailure):
            await effect()

    task = asyncio.create_task(done(), name=LATE)
    _LATE.add(task)
    task.add_done_callback(_LATE.discard)


_LATE: set[asyncio.Task[None]] = set()
