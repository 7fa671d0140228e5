"""What ``knarr down`` removes from the machine; the cluster's state in etcd is kept."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

from services.kubelet.runtime.catalog import engine_url
from services.kubelet.runtime.docker.network import remove_everything as remove_from_engine
from services.kubelet.runtime.port import RuntimeFailure, RuntimeUnavailable
from services.proxy.cleanup import remove_everything as remove_datapath
from services.standalone.datapath import datapath_settings
from services.standalone.settings import ClusterSettings


def remove_everything(settings: ClusterSettings) -> Iterator[str]:
    """Removes containers, network, mounts, rules and routes of the cluster; says what it removed."""
    files = settings.files
    if not files.identity.exists():
        return
    cluster_id = files.cluster_id()
    yield from _remove_containers(cluster_id)
    yield from _unmount(files.kubelet)
    remove_datapath(datapath_settings(settings))
    yield "removed the datapath's rules, routes and addresses"
    files.state.unlink(missing_ok=True)


def _remove_containers(cluster_id: str) -> Iterator[str]:
    try:
        count = asyncio.run(remove_from_engine(cluster_id, engine_url()))
    except RuntimeUnavailable as error:
        yield f"the Docker engine does not answer ({error}); if pods were running, start it and run this again"
        return
    except RuntimeFailure as error:
        yield f"the Docker engine could not remove everything ({error}); run this again"
        return
    yield f"removed {count} containers and the pods' network"


def _unmount(folder: Path) -> Iterator[str]:
    """Unmounts the pods' memory volumes, which the kernel would keep for as long as nobody does."""
    mounted = [Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for path in sorted((path for path in mounted if path.is_relative_to(folder)), reverse=True):
        done = subprocess.run(["umount", str(path)], capture_output=True, text=True, check=False)
        yield f"unmounted {path}" if done.returncode == 0 else f"{path} is still mounted: {done.stderr.strip()}"
