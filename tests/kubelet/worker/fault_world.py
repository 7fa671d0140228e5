"""One pod's life on virtual time, in which chosen steps go wrong, and what must be so in the end. Steps are the kubelet's calls of the
engine and its work on files and control groups, numbered as they come."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import NotFound
from knarr.service.tasks import cancel
from services.kubelet.cgroups import keeper
from services.kubelet.cgroups.hierarchy import Hierarchy
from services.kubelet.component import Kubelet
from services.kubelet.container import starter
from services.kubelet.node import image_folders
from services.kubelet.node.files import NodeFiles
from services.kubelet.pod import directory
from services.kubelet.runtime.plan import Mount
from services.kubelet.runtime.port import RUNNING, PodObservation
from services.kubelet.settings import ShutdownPeriod
from tests.kubelet.support import NODE, condition, settings
from tests.kubelet.worker.fault_engine import CIDR, KILLS_KUBELET, Engine, FilelessFront, Front, Kind
from tests.support.api import FaultyApi, FaultyClient
from tests.support.rights import kubelet as kubelet_of
from tests.support.virtual_time import VirtualClock, run

# When a pod must be as it should be, after the last fault; how many steps it may take to get there; and how long it is then looked at.
PATIENCE_SECONDS, MOST_STEPS, CALM_SECONDS = 900.0, 600, 25.0
AWAY_SECONDS = 2.0
# Work on files that is no pod's.
UNCOUNTED = ("MachineSignals", "DriverMounts.load", "_unnamed", "BufferedRandom", "_replace.<locals>.<lambda>")
# What goes wrong by the number of a step, or by its name for the first of that name.
Row = Mapping[int | str, Kind]


class Groups(Hierarchy):
    """Control groups that are plain folders: the kernel's files are not in them."""

    def __init__(self, mounts: Path) -> None:
        (mounts / "cpu").mkdir(parents=True, exist_ok=True)
        super().__init__("cgroupfs", mounts)

    def _write(self, controller: str, group: Any, name: str, text: str) -> None: ...


class MortalClient(FaultyClient):
    """Of a kubelet that may be killed: then it says no more."""

    dead = False

    async def _begin(self, *arguments: Any, **options: Any) -> None:
        if self.dead:
            raise asyncio.CancelledError
        await super()._begin(*arguments, **options)
        if self.dead:
            raise asyncio.CancelledError


@dataclass
class Scenario:
    """``make`` answers the pod; ``phase`` is what it must come to. ``then`` happens once it is there, ``after`` which it must be there
    again, or have failed where it ``may_fail``."""

    name: str
    make: Callable[[], core.Pod]
    phase: str = "Running"
    then: Callable[[World], None] | None = None
    may_fail: bool = False
    # What the file says by which the node runs it; empty: it is the API's.
    manifest: str = ""
    # Its containers see files.
    files: bool = True
    # The engine shows images where they lie.
    shows: bool = False


@dataclass
class World:
    """``steps`` are those taken so far."""

    place: Path
    scenario: Scenario
    row: Row
    api: FaultyApi
    engine: Engine
    steps: list[str] = field(default_factory=list)
    struck: list[Kind] = field(default_factory=list)
    mounts: set[str] = field(default_factory=set)
    kubelet: Kubelet | None = None
    _front: Front | None = None
    _client: MortalClient | None = None
    _task: asyncio.Task[None] | None = None
    _supervisor: asyncio.Task[None] | None = None
    _files: dict[NodeFiles, Front] = field(default_factory=dict)
    _killed: asyncio.Event = field(default_factory=asyncio.Event)
    _forget: bool = False
    _deleted: bool = False
    _deletion: asyncio.Future[None] | None = None
    _counting: bool = False

    # -- steps

    def step(self, what: str) -> Kind | None:
        if not self._counting:
            return None
        first = what not in self.steps
        self.steps.append(what)
        kind = self.row.get(len(self.steps) - 1) or (self.row.get(what) if first else None)
        if kind is not None:
            self.struck.append(kind)
        return kind

    async def strike(self, kind: Kind) -> None:
        if kind in KILLS_KUBELET:
            self._forget = kind is Kind.FORGOTTEN
            self.kill()
            raise asyncio.CancelledError
        # Whoever deletes it is not whom a kill hits meanwhile.
        self._deletion = asyncio.ensure_future(self.end_pod(force=kind is Kind.FORCED))
        await asyncio.shield(self._deletion)

    async def file_step(self, files: NodeFiles, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """One piece of work on files: done whole, refused by the disk, or the last that a kubelet does, or did not come to."""
        assert self._front is not None
        front = self._files.setdefault(files, self._front)
        if front.dead:
            raise asyncio.CancelledError
        name = getattr(work, "__qualname__", str(work))
        kind = None if name.startswith(UNCOUNTED) else self.step(f"file {name.rpartition('.')[2]}")
        if kind in (Kind.DELETED, Kind.FORCED, Kind.KILLED):
            await self.strike(kind)
        await asyncio.sleep(0)
        if front.dead:
            raise asyncio.CancelledError
        if kind in (Kind.REFUSED, Kind.CUT):
            raise OSError(28, "No space left on device")
        result = work(*arguments, **options)
        if kind in (Kind.KILLED_AFTER, Kind.FORGOTTEN):
            await self.strike(kind)
        return result

    # -- kubelets

    def kill(self) -> None:
        """As SIGKILL does: nothing more is done, not even what was to be done in the end."""
        assert self._front is not None and self._client is not None
        self._front.dead = self._client.dead = True
        self._killed.set()

    def _begin(self) -> None:
        self._front = (Front if self.scenario.files else FilelessFront)(self.engine, self.step, self.strike)
        self._client = MortalClient(self.api, kubelet_of(NODE))
        told = settings(self.place / "data", pod_cidr=CIDR, manifest_path=self.manifest.parent, shutdown_periods=(ShutdownPeriod(0, 20.0),))
        self.kubelet = Kubelet(self._client, told, self._front, self.engine._clock)
        self._task = asyncio.create_task(self.kubelet.run())

    async def _supervise(self) -> None:
        while True:
            await self._killed.wait()
            assert self._task is not None
            await cancel([self._task])
            self._killed.clear()
            if self._forget:
                await self.end_pod(force=True)
                self._forget = False
            await asyncio.sleep(AWAY_SECONDS)
            self._begin()

    # -- the pod

    @property
    def manifest(self) -> Path:
        """The file of a static pod."""
        return self.place / "manifests" / "web.yaml"

    async def begin_pod(self) -> None:
        if self.scenario.manifest:
            self.manifest.write_text(self.scenario.manifest)
        else:
            await self.api.client().create(self.scenario.make())

    def pod(self) -> core.Pod | None:
        return next(iter(self.api.all(core.Pod)), None)

    async def end_pod(self, *, force: bool = False) -> None:
        self._deleted = True
        if self.scenario.manifest:
            self.manifest.unlink(missing_ok=True)
            if not force:
                return
        options = {"grace_period_seconds": 0} if force else {}
        try:
            if (pod := self.pod()) is not None:
                await self.api.client().delete(core.Pod, pod.metadata.name, "default", **options)
        except NotFound:
            pass

    @property
    def arrived(self) -> bool:
        pod = self.pod()
        if pod is None:
            return False
        if pod.status.reason == "Evicted":
            return self.seen is None
        if pod.status.phase in ("Succeeded", "Failed") and (self.scenario.phase == "Succeeded" or self.scenario.may_fail):
            return True
        return self.scenario.phase == "Running" == pod.status.phase and condition(pod, "Ready") == "True" and self._as_told(pod)

    @property
    def seen(self) -> PodObservation | None:
        """What the engine has of the pod."""
        return next(iter(self.engine.observed().values()), None)

    def _as_told(self, pod: core.Pod) -> bool:
        seen = self.seen
        return seen is not None and all(
            (c := seen.latest(s.name)) is not None and s.container_id.endswith(c.id) for s in pod.status.container_statuses
        )

    @property
    def gone(self) -> bool:
        manager = self.kubelet.manager if self.kubelet is not None else None
        return self.pod() is None and not self.left and manager is not None and not manager.workers

    @property
    def left(self) -> list[str]:
        """What there is of pods."""
        data = self.place / "data"
        folders = [*(data / "pods").glob("*"), *(data / "image-volumes").glob("*"), *data.glob("image-volumes/.*")]
        groups = list((self.place / "groups" / "cpu").glob("**/pod*"))
        addresses = [] if self.engine.free else ["addresses"]
        return [*map(str, (*folders, *groups)), *self.engine.observed(), *self.mounts, *self.engine.shown, *addresses]

    @property
    def _is_running(self) -> bool:
        """Or has been killed, and another one comes."""
        return self._front is None or self._front.dead or self._task is None or not self._task.done()

    async def until(self, condition: Callable[[], bool], words: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not condition():
                    assert len(self.steps) < MOST_STEPS, f"{words}: it goes round and round: {self.steps[-6:]}"
                    assert self._is_running, "the kubelet ended by itself"
                    await asyncio.sleep(0.5)
        except TimeoutError:
            pod = self.pod()
            told = str(pod.status) if pod is not None else "no pod"
            raise AssertionError(f"{words}: {self.left} {told}\n{self.engine.observed()}") from None

    async def live(self) -> None:
        """The pod comes, is as it should be, and goes."""
        self._begin()
        self._supervisor = asyncio.create_task(self._supervise())
        try:
            assert self.kubelet is not None
            await self.until(lambda: bool(self.kubelet and self.kubelet.ready), "the kubelet does not get ready")
            self._counting = True
            await self.begin_pod()
            await self._comes()
            if self.scenario.then is not None and not self._ended:
                self.scenario.then(self)
                await asyncio.sleep(1.0)
                await self._comes()
            if not self._ended:
                await self.end_pod()
            await self.until(lambda: self.gone, "something is left")
            self._counting = False
            # What comes true late, comes true.
            await asyncio.sleep(150 if Kind.LATE in self.struck else 5)
            await self.until(lambda: self.gone, "something came back and is left")
            assert not self.engine.violations, self.engine.violations
        finally:
            await cancel([task for task in (self._supervisor, self._task) if task is not None])

    @property
    def _ended(self) -> bool:
        """Somebody has deleted the pod."""
        return self._deleted

    async def _comes(self) -> None:
        await self.until(lambda: self.arrived or self._ended, "the pod does not come to be as it should")
        if self._ended:
            return
        await asyncio.sleep(CALM_SECONDS)
        await self.until(lambda: self.arrived or self._ended, "the pod does not stay as it should be")
        if not self._ended:
            self._check()

    def _check(self) -> None:
        pod = self.pod()
        assert pod is not None
        seen = self.seen
        assert seen is not None or self.scenario.may_fail
        if pod.status.phase == "Running":
            assert seen is not None and len(seen.sandboxes) == 1 and seen.sandboxes[0].ready
            running = sorted(c.name for c in seen.containers if c.state == RUNNING)
            assert running == ["app", "proxy"], running
            present = {c.sandbox_attempt for c in seen.containers if c.state == RUNNING}
            assert present == {seen.sandboxes[0].attempt}, "a container runs in an older sandbox"
            if self.scenario.shows:
                assert self.engine.shown and any("/image-volumes/" in source for source in self.mounts), "the pod has no image"
            if self.kubelet is not None and self.kubelet.context.groups.there:
                assert [*self.place.glob("groups/cpu/**/pod*")], "the pod has no control group"
        elif seen is not None:
            assert not [c for c in seen.containers if c.state == RUNNING]
        for told in itertools.chain(pod.status.init_container_statuses, pod.status.container_statuses):
            ends = self.engine.ended[told.name] - (1 if not told.state.HasField("running") else 0)
            if not self.scenario.may_fail and told.container_id:
                assert told.restart_count == ends, f"{told.name}: {told.restart_count} restarts told, {ends} ends seen"
        if pod.status.phase == "Succeeded":
            assert self.engine.well["app"] == 1
        elif pod.status.phase == "Failed" and not self.scenario.may_fail:
            assert {Kind.DIES, Kind.REFUSED, Kind.BREAKS} & set(self.struck), "it failed of nothing"


def live(place: Path, scenario: Scenario, row: Row) -> World:
    """Raises AssertionError for what is not as it must be."""
    made: list[World] = []

    async def main() -> None:
        clock = VirtualClock()
        world = World(place, scenario, row, FaultyApi(clock), Engine(clock))
        made.append(world)
        shown = core.ConfigMap()
        shown.metadata.name, shown.metadata.namespace, shown.data["key"] = "settings", "default", "value"
        world.api.seed(shown)
        for folder in ("data", "manifests"):
            (place / folder).mkdir(parents=True)
        world.engine.shows = scenario.shows
        world.engine.missing_images.update(("app:1", "data:1"))
        with pytest.MonkeyPatch.context() as patch:
            _replace(patch, world)
            await world.live()

    run(main())
    return made[0]


def _replace(patch: pytest.MonkeyPatch, world: World) -> None:
    """Mounts are a set of names, control groups are folders, and files are worked on at once."""

    def bind_places(mounts: list[Mount]) -> None:
        world.mounts.update(mount.source for mount in mounts)

    def release_places(mounts: list[Mount]) -> None:
        world.mounts.difference_update(mount.source for mount in mounts)

    def unmount_all(root: Path) -> None:
        world.mounts.difference_update(mounts_below(root))

    def mount_read_only(kind: str, source: str, options: Iterable[str], target: Path) -> None:
        world.mounts.add(str(target))

    def mounts_below(root: Path) -> set[str]:
        return {source for source in world.mounts if Path(source).is_relative_to(root)}

    async def call(files: NodeFiles, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return await world.file_step(files, work, *arguments, **options)

    async def to_thread(work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    patch.setattr(asyncio, "to_thread", to_thread)
    patch.setattr(starter, "bind_places", bind_places)
    patch.setattr(starter, "release_places", release_places)
    patch.setattr(starter, "check_places_are_seen", lambda: None)
    patch.setattr(directory, "unmount_all", unmount_all)
    for stand_in in (mount_read_only, mounts_below, unmount_all):
        patch.setattr(image_folders, stand_in.__name__, stand_in)
    patch.setattr(NodeFiles, "call", call)
    patch.setattr(keeper, "Hierarchy", lambda driver: Groups(world.place / "groups"))
