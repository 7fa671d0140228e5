"""A cluster that is paused: it takes no processor's time, and goes on where it was.

Its process and etcd are stopped (SIGSTOP), then its containers are frozen by the engine; memory, ports and addresses stay taken. Whoever
asks it meanwhile waits. Time goes on: leases are renewed and what was due is done when it goes on, as after a machine has slept.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress
from pathlib import Path

from knarr.service.errors import CommandError
from services.kubelet.runtime.catalog import engine_url
from services.kubelet.runtime.docker.engine import Engine, EngineConflict, EngineNotFound, quoted
from services.kubelet.runtime.labels import CLUSTER
from services.kubelet.runtime.port import RuntimeFailure
from services.standalone import process
from services.standalone.settings import ClusterSettings

ANSWER_SECONDS = 30.0
STOPPED = frozenset("Tt")


def is_frozen(pid: int) -> bool:
    """Whether a cluster's process, or etcd, is stopped: also when a pause was cut short."""
    return any(_state(one) in STOPPED for one in (pid, *_children(pid)))


def pause(settings: ClusterSettings) -> int:
    """Freezes a running cluster; may be repeated. Answers how many containers were frozen. Raises CommandError."""
    running = process.find(settings.files)
    if running is None:
        raise CommandError(f"no cluster runs from {settings.files.root}; there is nothing to pause")
    if settings.runtime == "containerd":
        raise CommandError(
            "containerd has no call by which a pod's containers are frozen; `knarr down` stops the cluster and keeps its state"
        )
    if not settings.files.state.exists():
        raise CommandError(f"the cluster in {settings.files.root} is still starting; pause it when it runs")
    # The kubelet first: it would take frozen containers for such that hang, and restart them.
    for pid in (running.pid, *_children(running.pid)):
        _signal(pid, signal.SIGSTOP)
    if settings.runtime != "docker":
        return 0
    try:
        return _containers(settings.files.cluster_id(), "pause", "running")
    except CommandError:
        resume(settings)
        raise


def resume(settings: ClusterSettings) -> bool:
    """Lets a cluster go on; may be repeated. False where none runs. Raises CommandError."""
    running = process.find(settings.files)
    if running is None:
        return False
    try:
        if settings.runtime == "docker":
            _containers(settings.files.cluster_id(), "unpause", "paused")
    finally:
        for pid in (*_children(running.pid), running.pid):
            _signal(pid, signal.SIGCONT)
    return True


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _children(pid: int) -> list[int]:
    """etcd, above all."""
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _fields(int(entry.name))[1:2] == [str(pid)]]


def _state(pid: int) -> str:
    return "".join(_fields(pid)[:1])


def _fields(pid: int) -> list[str]:
    """Those of /proc/PID/stat behind the name, from the state on; none where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _containers(cluster_id: str, action: str, status: str) -> int:
    try:
        return asyncio.run(_act(cluster_id, action, status))
    except RuntimeFailure as error:
        raise CommandError(f"the Docker engine could not {action} the containers: {error}; run this again") from error


async def _act(cluster_id: str, action: str, status: str) -> int:
    engine = Engine(engine_url(), ANSWER_SECONDS)
    try:
        filters = json.dumps({"label": [f"{CLUSTER}={cluster_id}"], "status": [status]})
        listed = await engine.request("GET", "containers/json", params={"filters": filters}) or []
        for entry in listed:
            # It may have ended meanwhile, or be frozen already.
            with suppress(EngineConflict, EngineNotFound):
                await engine.request("POST", f"containers/{quoted(entry['Id'])}/{action}")
        return len(listed)
    finally:
        await engine.close()
