"""What a node may have too much of after its pods are gone: one checker a resource, each of which names what there is.

A checker is asked before the pods and after them; what it names only then is left over. Names tell what somebody has to look for, so
numbers that differ from run to run, as those of descriptors, are no part of them.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knarr.client.event_correlator import Stored, _Bucket, _Similar
from services.kubelet.pod.directory import pods_directory
from services.kubelet.runtime.docker.engine import Engine
from services.kubelet.runtime.docker.settings import DockerSettings
from services.kubelet.runtime.labels import CLUSTER
from tests.kubelet.support import Cluster

CGROUPS = Path("/sys/fs/cgroup")
NUMBER = re.compile(r"\d+")
OBJECT = "object"
OWN = ("knarr.", "services.")
# What the kubelet remembers of pods that are gone, so that it tells nothing twice: 4,096 of each and no more (test_event_correlator).
REMEMBERED = {f"{kind.__module__}.{kind.__qualname__}" for kind in (_Bucket, _Similar, Stored)}


@dataclass(frozen=True, slots=True)
class Checker:
    """``found`` names what there is of ``resource`` at this moment, as often as it is there."""

    resource: str
    found: Callable[[], Iterable[str]]


def snapshot(checkers: Iterable[Checker]) -> dict[str, Counter[str]]:
    """What there is, by resource."""
    return {checker.resource: Counter(checker.found()) for checker in checkers}


def left(before: Mapping[str, Counter[str]], after: Mapping[str, Counter[str]], objects: int = 0) -> list[str]:
    """What is there now and was not before, in words, sorted. Of ``objects`` so many of a type are no more than at any other moment."""
    more = {resource: found - before.get(resource, Counter()) for resource, found in after.items()}
    return sorted(
        f"{resource}: {name}" + (f" × {count}" if count > 1 else "")
        for resource, found in more.items()
        for name, count in found.items()
        if resource != OBJECT or count > objects
    )


def of_process() -> list[Checker]:
    """Tasks of this loop, descriptors of this process."""
    return [Checker("task", _tasks), Checker("descriptor", _descriptors)]


def of_memory() -> list[Checker]:
    """Objects of this project's own types, and of its messages, by type. Ask once what is not referred to was collected."""
    return [Checker(OBJECT, _objects)]


def of_kubelet(cluster: Cluster, data_dir: Path) -> list[Checker]:
    """What a kubelet remembers, and what it laid on disk."""
    return [
        Checker("worker", lambda: [worker.pod.metadata.name for worker in cluster.kubelet.manager.workers.values()]),
        Checker("observation", lambda: [pod.ref.name for pod in cluster.runtime.observed().values()]),
        Checker("file", lambda: [str(path.relative_to(data_dir)) for path in data_dir.rglob("*") if path != pods_directory(data_dir)]),
        Checker("mount", lambda: _mounts(data_dir)),
    ]


def of_engine(listed: Mapping[str, list[str]], cluster_id: str) -> list[Checker]:
    """What an engine has (``listed``, which ``ask_engine`` fills), and what the kernel has of its containers and of the cluster's pods."""
    return [
        Checker("container", lambda: listed["containers"]),
        Checker("network", lambda: listed["networks"]),
        Checker("endpoint", lambda: listed["endpoints"]),
        Checker("interface", lambda: _interfaces(listed["bridge"][0])),
        Checker("process", lambda: _processes(listed["ids"])),
        Checker("cgroup", lambda: _cgroups(listed["ids"], cluster_id)),
    ]


async def ask_engine(engine: Engine, settings: DockerSettings, listed: dict[str, list[str]]) -> None:
    """Reads the engine's lists. Ids of containers are kept from one reading to the next: what they leave bears them."""
    filters = f'{{"label": ["{CLUSTER}={settings.cluster_id}"]}}'
    containers = _list(await engine.request("GET", "containers/json", params={"all": 1, "filters": filters}))
    networks = _list(await engine.request("GET", "networks", params={"filters": filters}))
    details = await engine.request("GET", f"networks/{settings.network}")
    listed["containers"] = [entry["Names"][0] for entry in containers]
    listed["networks"] = [entry["Name"] for entry in networks]
    listed["endpoints"] = [entry["Name"] for entry in (details.get("Containers") or {}).values()]
    listed["bridge"] = [settings.bridge]
    listed["ids"] = sorted({*listed.get("ids", []), *(entry["Id"] for entry in containers)})


def resident_bytes() -> int:
    """Memory of this process, once what nobody refers to is given back."""
    gc.collect()
    _trim()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _trim() -> None:
    """Lets the C library give free memory back to the kernel, where it can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _list(answer: Any) -> list[dict[str, Any]]:
    return answer if isinstance(answer, list) else []


def _tasks() -> list[str]:
    return [f"{NUMBER.sub('N', task.get_name())} ({_what(task.get_coro())})" for task in asyncio.all_tasks()]


def _objects() -> list[str]:
    gc.collect()
    named = (f"{kind.__module__}.{kind.__qualname__}" for kind in map(type, gc.get_objects()) if str(kind.__module__).startswith(OWN))
    return [name for name in named if name not in REMEMBERED]


def _what(coroutine: object) -> str:
    """Of a task without a name of its own, what it runs; of the step of a generator, only that it is one."""
    return getattr(coroutine, "__qualname__", type(coroutine).__name__)


def _descriptors() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            # The one by which this folder is read.
            continue
        found.append(_socket(target) if target.startswith("socket:") else NUMBER.sub("N", target))
    return found


def _socket(target: str) -> str:
    """By its kind, as ``socket tcp``; ``target`` is ``socket:[INODE]``."""
    inode = target.removeprefix("socket:[").rstrip("]")
    kinds = (name for name in ("unix", "tcp", "tcp6", "udp") if inode in Path(f"/proc/net/{name}").read_text().split())
    return f"socket {next(kinds, 'of another kind')}"


def _mounts(folder: Path) -> list[str]:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(str(folder))]


def _interfaces(bridge: str) -> list[str]:
    try:
        return [NUMBER.sub("N", entry.name[:4]) for entry in Path(f"/sys/class/net/{bridge}/brif").iterdir()]
    except FileNotFoundError:
        return []


def _processes(ids: Iterable[str]) -> list[str]:
    """Shims and whatever else names a container or pod on its command line."""
    marks = [found.encode() for found in ids]
    lines = [_read(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    return [line.replace(b"\0", b" ").decode(errors="replace") for line in lines if any(mark in line for mark in marks)]


def _cgroups(ids: Iterable[str], cluster_id: str) -> list[str]:
    """Groups that bear the id of a container, and those of pods below one that bears the cluster's, in systemd's spelling, too."""
    marks, clusters = set(ids), {cluster_id, cluster_id.replace("-", "_")}
    found = []
    for parent, names, _ in os.walk(CGROUPS):
        is_own = any(cluster in parent for cluster in clusters)
        found += [
            f"{parent}/{name}" for name in names if (is_own and "pod" in name.removeprefix("kubepods")) or any(m in name for m in marks)
        ]
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
