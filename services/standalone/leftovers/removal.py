"""Takes away what clusters left that do not live. Blocking; for root."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from itertools import groupby
from pathlib import Path

from knarr.netlink import route_messages as rt
from knarr.netlink.messages import NetlinkRefused
from knarr.netlink.route_socket import RouteSocket
from knarr.service.errors import CommandError
from services.gateway.haproxy.process import forgotten, remove_forgotten
from services.kubelet.cgroups.freezer import Freezer
from services.kubelet.cgroups.hierarchy import Hierarchy
from services.kubelet.cgroups.names import ALL_PODS, CGROUPFS, SYSTEMD
from services.kubelet.node.mounts import unmount_all
from services.kubelet.runtime.catalog import bridge_name, engine_url, network_name
from services.kubelet.runtime.cri import CriSettings
from services.kubelet.runtime.cri.runtime import remove_everything as remove_from_cri
from services.kubelet.runtime.docker.network import remove_everything as remove_from_docker
from services.kubelet.runtime.port import RuntimeFailure
from services.kubelet.settings import CONTAINERD
from services.proxy.traces import closed, remove_traces
from services.standalone import process
from services.standalone.files import Files
from services.standalone.leftovers.owner import is_among, living
from services.standalone.leftovers.traces import (
    CONTAINER,
    GROUP,
    INTERFACE,
    MOUNT,
    NETWORK,
    POD,
    PROCESS,
    Trace,
    leftovers,
)
from services.standalone.lock import Busy, held

SLICE = ".slice"


def remove_leftovers() -> Iterator[list[Trace]]:
    """Answers what it has removed of each cluster, and of gateways. CommandError tells at the end what stayed.

    Before each cluster it looks again whether that lives; one whose folder is known cannot begin meanwhile.
    """
    found, unseen = leftovers()
    for owner, group in groupby(found, key=lambda trace: trace.owner):
        traces = list(group)
        with ExitStack() as stack:
            try:
                homes = {trace.folder for trace in traces if trace.folder is not None}
                for folder in homes:
                    stack.enter_context(held(folder))
                if is_among(owner, living()):
                    continue
                _remove(owner, traces)
                for folder in homes:
                    process.forget(Files(folder))
            except (Busy, OSError, RuntimeFailure, NetlinkRefused) as error:
                unseen.append(f"of the cluster {owner}: {error}")
                continue
        yield traces
    if folders := forgotten():
        remove_forgotten()
        yield [Trace("gateways", "folder with keys", str(folder)) for folder in folders]
    left, _ = leftovers()
    if problems := [*unseen, *(f"{trace.kind} {trace.name} stayed" for trace in left)]:
        raise CommandError(f"{'; '.join(problems)}; mend that, and run this again")


def counted(traces: Sequence[Trace]) -> str:
    """How many there are of each kind, in words. Pure."""
    kinds = sorted(trace.kind for trace in traces)
    return ", ".join(f"{kind} ({len(list(group))})" for kind, group in groupby(kinds))


def _remove(owner: str, traces: Sequence[Trace]) -> None:
    """What holds something is ended before what it holds."""
    kinds = {trace.kind for trace in traces}
    for trace in traces:
        if trace.kind == PROCESS:
            _kill(trace)
    groups = [trace.name for trace in traces if trace.kind == GROUP]
    # What is frozen, by a pause whose cluster was killed meanwhile, cannot be removed.
    for name in groups:
        with suppress(OSError):
            Freezer((name.removesuffix(SLICE), ALL_PODS)).thaw()
    if kinds & {CONTAINER, NETWORK}:
        asyncio.run(remove_from_docker(owner, engine_url()))
    if POD in kinds:
        asyncio.run(remove_from_cri(CriSettings(owner, "", "", CONTAINERD, network_name(owner), bridge_name(owner))))
    for folder in {trace.folder for trace in traces if trace.kind == MOUNT}:
        assert folder is not None
        unmount_all(Files(folder).kubelet)
    for name in groups:
        Hierarchy(SYSTEMD if name.endswith(SLICE) else CGROUPFS).remove((name.removesuffix(SLICE),))
    alive = living()
    remove_traces(owner, [cidr for cidr, name in closed() if not name or is_among(name, alive)])
    for trace in traces:
        if trace.kind == INTERFACE:
            _delete(trace.name)


def _kill(trace: Trace) -> None:
    """The process that was seen, and none that has its number by now."""
    pid = int(trace.name.split()[0])
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            place = Path(f"/proc/{pid}/cwd").resolve()
            if trace.folder is not None and place.is_relative_to(trace.folder.resolve()):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        except FileNotFoundError:
            return
        finally:
            os.close(handle)


def _delete(interface: str) -> None:
    with closing(RouteSocket()) as kernel:
        if (link := kernel.link(interface)) is not None:
            kernel.change(rt.LINK_DELETE, 0, rt.link_body(link.ifindex))
