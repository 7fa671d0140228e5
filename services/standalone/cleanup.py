"""What ``knarr down`` removes from the machine; the cluster's state in etcd is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from services.proxy.cleanup import remove_everything as remove_datapath
from services.proxy.settings import ProxySettings
from services.standalone.settings import ClusterSettings


def remove_everything(settings: ClusterSettings) -> Iterator[str]:
    """Removes containers, network, mounts, rules and routes of the cluster; says what it removed."""
    files = settings.files
    if not files.identity.exists():
        return
    cluster_id = files.cluster_id()
    from services.kubelet.runtime.docker.cleanup import remove_everything as remove_containers

    yield from asyncio.run(remove_containers(cluster_id, files.kubelet))
    remove_datapath(ProxySettings(instance=cluster_id))
    yield "removed the datapath's rules, routes and addresses"
    files.state.unlink(missing_ok=True)
