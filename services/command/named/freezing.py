"""A cluster that is paused: it takes no processor's time, and goes on where it was.

Its process and etcd are stopped (SIGSTOP), then its containers are frozen, all at once by the control group that they have in common; one
that is elsewhere, because the kubelet could make none, by the engine. Memory, ports and addresses stay taken. Whoever asks it meanwhile
waits. Time goes on: leases are renewed and what was due is done when it goes on, as after a machine has slept.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path

from knarr.service.errors import CommandError
from knarr.service.processes import stat_fields
from services.kubelet.cgroups.freezer import Freezer
from services.kubelet.runtime.catalog import engine_url
from services.kubelet.runtime.docker.engine import Engine, EngineConflict, EngineNotFound, quoted
from services.kubelet.runtime.labels import CLUSTER
from services.kubelet.runtime.port import RuntimeFailure
from services.standalone import process
from services.standalone.hollow import HOLLOW
from services.standalone.node_groups import node_groups
from services.standalone.settings import ClusterSettings

ANSWER_SECONDS = 30.0
# How soon the engine tells of a container in which nothing is being begun, and how often all are let go on for what is.
HEARD_SECONDS, TRIES = 2.0, 5
STOPPED = frozenset("Tt")


def is_frozen(pid: int) -> bool:
    """Whether a cluster's process, or etcd, is stopped: also when a pause was cut short."""
    return any(_state(one) in STOPPED for one in (pid, *_children(pid)))


def pause(settings: ClusterSettings) -> int:
    """Freezes a running cluster; may be repeated. Answers how many containers were frozen. Raises CommandError."""
    running = process.find(settings.files)
    if running is None:
        raise CommandError(f"no cluster runs from {settings.files.root}; there is nothing to pause")
    if not settings.files.state.exists():
        raise CommandError(f"the cluster in {settings.files.root} is still starting; pause it when it runs")
    # The kubelet first: it would take frozen containers for such that hang, and restart them.
    for pid in (running.pid, *_children(running.pid)):
        _signal(pid, signal.SIGSTOP)
    if settings.runtime == HOLLOW:
        return 0
    try:
        return _freeze(settings)
    except CommandError:
        resume(settings)
        raise


def resume(settings: ClusterSettings) -> bool:
    """Lets a cluster go on; may be repeated. False where none runs. Raises CommandError."""
    running = process.find(settings.files)
    if running is None:
        return False
    try:
        thaw(settings)
    finally:
        for pid in (*_children(running.pid), running.pid):
            _signal(pid, signal.SIGCONT)
    return True


def thaw(settings: ClusterSettings) -> None:
    """Lets the containers go on, also those of a cluster whose process ended while it was paused. May be repeated. Raises CommandError."""
    if settings.runtime == HOLLOW or not settings.files.known_id():
        return
    with _told("go on"):
        for group in node_groups(settings):
            Freezer(group).thaw()
    if settings.runtime == "docker":
        _containers(settings.files.cluster_id(), ("paused",), _Asked.UNPAUSE)


def _freeze(settings: ClusterSettings) -> int:
    """How many containers stand now."""
    if settings.runtime == "docker":
        frozen = _freeze_begun(settings)
        return _containers(settings.files.cluster_id(), ("running",), _Asked.PAUSE, frozen)
    frozen = _freeze_groups(settings)
    if not frozen:
        raise CommandError(
            "the pods' control groups are not to be seen here, and containerd has no call by which containers are frozen; `knarr down`"
            " stops the cluster and keeps its state"
        )
    return len(frozen)


def _freeze_begun(settings: ClusterSettings) -> list[str]:
    """The groups that stand, once nothing is being begun in them any more.

    A container that is frozen on its way, or a command in one, would keep whoever asks the engine about it waiting for as long as the pause
    lasts: so the engine is asked, before and after. Nobody orders anything new, so that what it was asked for before comes to its end.
    """
    cluster_id = settings.files.cluster_id()
    for _ in range(TRIES):
        _containers(cluster_id, BEGUN, _Asked.TELL)
        frozen = _freeze_groups(settings)
        with suppress(CommandError):
            _containers(cluster_id, BEGUN, _Asked.TELL, seconds=HEARD_SECONDS)
            return frozen
        thaw(settings)
    raise CommandError("the Docker engine has been beginning something in the containers all the time; run this again")


def _freeze_groups(settings: ClusterSettings) -> list[str]:
    frozen: list[str] = []
    with _told("freeze"):
        for freezer in map(Freezer, node_groups(settings)):
            freezer.freeze()
            frozen += freezer.groups()
    return frozen


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"the containers do not {what}: {error}") from error


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _children(pid: int) -> list[int]:
    """etcd, above all, and further nodes: who was begun by one comes behind it."""
    own = [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if stat_fields(int(entry.name))[1:2] == [str(pid)]]
    return [found for child in own for found in (child, *_children(child))]


def _state(pid: int) -> str:
    return "".join(stat_fields(pid)[:1])


# Containers in which something may be beginning, by their status.
BEGUN = ("created", "running")


class _Asked(Enum):
    """What the engine is asked of a container: a method, and what follows its path. It tells of one in which it begins something when that
    is over, be it as it may."""

    TELL = "GET", "json"
    PAUSE = "POST", "pause"
    UNPAUSE = "POST", "unpause"


def _containers(
    cluster_id: str, statuses: Sequence[str], asked: _Asked, done: Collection[str] = (), *, seconds: float = ANSWER_SECONDS
) -> int:
    """How many containers there are of these statuses. Those in groups that are ``done``, which bear their ids, are left alone."""
    try:
        return asyncio.run(_ask(Engine(engine_url(), seconds), cluster_id, statuses, asked, done))
    except RuntimeFailure as error:
        words = "tell of" if asked is _Asked.TELL else asked.name.lower()
        raise CommandError(f"the Docker engine could not {words} the containers: {error}; run this again") from error


async def _ask(engine: Engine, cluster_id: str, statuses: Sequence[str], asked: _Asked, done: Collection[str]) -> int:
    method, part = asked.value
    try:
        filters = json.dumps({"label": [f"{CLUSTER}={cluster_id}"], "status": [*statuses]})
        listed = await engine.request("GET", "containers/json", params={"filters": filters}) or []
        for entry in listed:
            if any(entry["Id"] in group for group in done):
                continue
            # It may have ended meanwhile, or be frozen already.
            with suppress(EngineConflict, EngineNotFound):
                await engine.request(method, f"containers/{quoted(entry['Id'])}/{part}")
        return len(listed)
    finally:
        await engine.close()
