"""What ``knarr down`` removes from the machine; the cluster's state in etcd is kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from knarr.service.errors import CommandError
from services.gateway.haproxy.process import remove_forgotten
from services.kubelet.cgroups.freezer import Freezer
from services.kubelet.cgroups.hierarchy import Hierarchy
from services.kubelet.cgroups.names import CGROUPFS
from services.kubelet.node.mounts import mounts_below, unmount_all
from services.kubelet.runtime.catalog import bridge_name, engine_url, network_name
from services.kubelet.runtime.cri import CriSettings
from services.kubelet.runtime.cri.runtime import remove_everything as remove_from_cri
from services.kubelet.runtime.docker.network import remove_everything as remove_from_engine
from services.kubelet.runtime.port import RuntimeFailure, RuntimeUnavailable
from services.proxy.cleanup import remove_everything as remove_datapath
from services.standalone.datapath import datapath_settings
from services.standalone.node_groups import node_groups
from services.standalone.settings import ClusterSettings


def remove_everything(settings: ClusterSettings) -> Iterator[str]:
    """Removes containers, network, mounts, rules and routes of the cluster; says what it removed.

    What cannot be removed holds up nothing else; CommandError tells it at the end.
    """
    files = settings.files
    if not files.identity.exists():
        return
    failures: list[str] = []
    # What is frozen, by a pause whose cluster was killed meanwhile, cannot be removed.
    with suppress(OSError):
        for group in node_groups(settings):
            Freezer(group).thaw()
    # A hollow cluster has none, unless it was another before; of an engine that is not there, it needs no word.
    told = list(_remove_containers(files.cluster_id(), failures))
    yield from told if settings.runtime == "docker" else ()
    if settings.runtime == "containerd":
        yield from _remove_pods(settings, failures)
    for group in node_groups(settings):
        with suppress(OSError):
            Hierarchy(CGROUPFS).remove(group[:1])
    yield from _unmount(files.kubelet, failures)
    yield from _remove_datapath(settings, failures)
    # On a disk that takes no writes any more it stays, and the next start removes it.
    with suppress(OSError):
        files.state.unlink(missing_ok=True)
        files.door.unlink(missing_ok=True)
    if failures:
        raise CommandError("; ".join(failures))


def _remove_containers(cluster_id: str, failures: list[str]) -> Iterator[str]:
    try:
        count = asyncio.run(remove_from_engine(cluster_id, engine_url()))
    except RuntimeUnavailable as error:
        yield f"the Docker engine does not answer ({error}); if pods were running, start it and run this again"
    except RuntimeFailure as error:
        failures.append(f"the Docker engine could not remove everything ({error}); run this again")
    else:
        yield f"removed {count} containers and the pods' network"


def _remove_pods(settings: ClusterSettings, failures: list[str]) -> Iterator[str]:
    made = CriSettings(
        cluster_id=settings.files.cluster_id(),
        node_name=settings.node,
        pod_cidr=settings.pod_cidr,
        endpoint=settings.container_runtime_endpoint,
        network=network_name(settings.files.cluster_id()),
        bridge=bridge_name(settings.files.cluster_id()),
    )
    try:
        count = asyncio.run(remove_from_cri(made))
    except RuntimeUnavailable as error:
        yield f"{error}; if pods were running, start it and run this again"
    except RuntimeFailure as error:
        failures.append(f"the container runtime could not remove everything ({error}); run this again")
    else:
        yield f"removed {count} pods and their network"


def _remove_datapath(settings: ClusterSettings, failures: list[str]) -> Iterator[str]:
    """Of the relay nothing stays, but the cluster may have had another datapath before."""
    if os.geteuid() == 0:
        remove_forgotten()
        remove_datapath(datapath_settings(settings, among_others=True))
        yield "removed the datapath's rules, routes and addresses"
    elif settings.datapath == "nftables":
        failures.append("the datapath's rules, routes and addresses are root's to remove: run `sudo knarr down`")


def _unmount(folder: Path, failures: list[str]) -> Iterator[str]:
    """Unmounts the pods' volumes, which the kernel would keep for as long as nobody does."""
    points = sorted(mounts_below(folder))
    try:
        unmount_all(folder)
    except OSError as error:
        failures.append(
            f"{error.filename or folder} is still mounted ({error.strerror or error}): delete nothing below it, and run this again"
        )
    else:
        yield from (f"unmounted {point}" for point in points)
