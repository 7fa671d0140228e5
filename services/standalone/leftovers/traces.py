"""What clusters have on the machine outside their folders, each thing with whose it is."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from knarr.netlink.route_socket import RouteSocket
from services.kubelet.node.mounts import mounts_below
from services.kubelet.proc import PROC
from services.kubelet.runtime.catalog import engine_url, network_name
from services.kubelet.runtime.cri.runtime import owners as cri_owners
from services.kubelet.runtime.docker.network import owners as docker_owners
from services.kubelet.runtime.groups import MOUNTS, is_unified
from services.kubelet.runtime.port import RuntimeFailure
from services.kubelet.settings import CONTAINERD
from services.proxy import traces as proxy_traces
from services.proxy.datapath.nftables.libnftables import NftablesError
from services.standalone.files import Files
from services.standalone.leftovers.owner import is_among, living, owner_of
from services.standalone.lock import is_held

# The kinds of what there is.
TABLE, RULE, INTERFACE, RANGE = "packet-filter table", "rule for Docker's filter", "interface", "closed range of addresses"
CONTAINER, NETWORK, POD, GROUP, MOUNT, PROCESS = "container", "Docker network", "pod of containerd", "control group", "mount", "process"

ANSWER_SECONDS = 5.0
# struct ucred of unix(7): process, user, group.
_CREDENTIALS = struct.Struct("3i")
# Processes of a cluster work in folders of its own; those of this name outlive it when it is killed.
WORKPLACES = ("etcd", "gateway")


@dataclass(frozen=True, slots=True, order=True)
class Trace:
    """One thing. ``folder`` is the cluster's, where the thing tells it."""

    owner: str
    kind: str
    name: str
    folder: Path | None = None


class Unseen(Exception):
    """A part of the machine cannot be looked at; says why."""


def leftovers() -> tuple[list[Trace], list[str]]:
    """What is of clusters that do not live, and what could not be looked at, and why. Only root sees all.

    What is there is looked at first: a cluster that makes something meanwhile lives by then.
    """
    found, unseen = list[Trace](), list[str]()
    for look in LOOKS:
        try:
            found += look()
        except Unseen as reason:
            unseen.append(str(reason))
    owned = set(_whole(found))
    alive = living() | {trace.owner for trace in owned if trace.folder is not None and is_held(trace.folder)}
    left = [trace for trace in owned if not is_among(trace.owner, alive)]
    evident = {trace.owner for trace in left if trace.kind != GROUP}
    return sorted(trace for trace in left if trace.owner in evident), unseen


def _whole(found: Iterable[Trace]) -> Iterator[Trace]:
    """Those that are a cluster's, with the whole of its digits where other things tell them."""
    owned = [trace for trace in found if trace.owner]
    owners = {trace.owner for trace in owned}
    for trace in owned:
        yield replace(trace, owner=max((owner for owner in owners if owner.startswith(trace.owner)), key=len))


def _named(kind: str, names: Iterable[str]) -> list[Trace]:
    return [Trace(owner, kind, name) for name in names if (owner := owner_of(name))]


def _tables() -> list[Trace]:
    try:
        return _named(TABLE, proxy_traces.tables())
    except (OSError, NftablesError) as error:
        raise Unseen(f"the packet filter does not answer: {error}") from None


def _rules() -> list[Trace]:
    return _named(RULE, proxy_traces.docker_rules())


def _interfaces() -> list[Trace]:
    with closing(RouteSocket()) as kernel:
        return _named(INTERFACE, (link.name for link in kernel.links()))


def _routes() -> list[Trace]:
    return [Trace(owner, RANGE, cidr) for cidr, owner in proxy_traces.closed()]


def _containers() -> list[Trace]:
    if not _may_judge(engine_url()):
        return []
    try:
        containers, networks = asyncio.run(docker_owners(engine_url()))
    except RuntimeFailure as error:
        raise Unseen(f"the Docker engine does not answer: {error}") from None
    return [*_labelled(CONTAINER, containers), *_labelled(NETWORK, networks)]


def _pods() -> list[Trace]:
    if not _may_judge(CONTAINERD):
        return []
    try:
        return _labelled(POD, asyncio.run(cri_owners(CONTAINERD)))
    except RuntimeFailure:
        # One that is there for Docker alone speaks no CRI.
        return []


def _may_judge(url: str) -> bool:
    """False where there is no engine. Raises Unseen for one whose process is not to be seen here, as from a container that was given its
    socket: clusters that use it may be where that is, with neither process nor mark to be seen."""
    path = url.removeprefix("unix://")
    if not path.startswith("/"):
        raise Unseen(f"the engine at {url} is not of this machine")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(ANSWER_SECONDS)
        try:
            probe.connect(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
                return False
            raise Unseen(f"the engine at {url} does not answer: {error.strerror or error}") from None
        if not peer_of(probe):
            raise Unseen(f"the engine at {url} is not to be seen from here, and so may clusters be that use it; run this where it runs")
    return True


def peer_of(connected: socket.socket) -> int:
    """The process that listens at a Unix socket; 0 where it is not to be seen from here."""
    process, _, _ = _CREDENTIALS.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(process)


def _labelled(kind: str, found: Iterable[tuple[str, str]]) -> list[Trace]:
    """Of names and the cluster of each: that of a kubelet of its own may be called otherwise."""
    return [Trace(owner, kind, name) for name, label in found if (owner := owner_of(network_name(label))) == label]


def _groups(mounts: Path = MOUNTS) -> list[Trace]:
    trees = [mounts] if is_unified(mounts) else [tree for tree in mounts.glob("*") if tree.is_dir()]
    names = {place.name for tree in trees for place in tree.glob("knarr_*") if place.is_dir()}
    return _named(GROUP, names)


def _mounts() -> list[Trace]:
    """Pods' volumes, which lie in the folder of their cluster."""
    found = []
    for point in mounts_below(Path("/")):
        root, kubelet, rest = point.partition("/kubelet/")
        if kubelet and rest and (owner := _id_in(Path(root))):
            found.append(Trace(owner, MOUNT, point, Path(root)))
    return found


def _processes(proc: Path = PROC) -> Iterator[Trace]:
    for process in proc.glob("[0-9]*"):
        try:
            place = (process / "cwd").readlink()
            program = (process / "comm").read_text().strip()
        except OSError:
            continue
        for folder in (place, place.parent):
            if folder.name in WORKPLACES and (owner := _id_in(folder.parent)):
                yield Trace(owner, PROCESS, f"{process.name} ({program})", folder.parent)


def _id_in(folder: Path) -> str:
    try:
        return Files(folder).known_id()
    except OSError:
        return ""


LOOKS: tuple[Callable[[], Iterable[Trace]], ...] = (
    _processes,
    _containers,
    _pods,
    _mounts,
    _groups,
    _interfaces,
    _tables,
    _rules,
    _routes,
)
