"""What the proxy of the only node is told, and whoever removes what it made."""

from __future__ import annotations

from services.kubelet.runtime.catalog import bridge_name
from services.proxy.settings import ProxySettings
from services.standalone.settings import ClusterSettings


def datapath_settings(settings: ClusterSettings) -> ProxySettings:
    return ProxySettings(
        datapath=settings.datapath,
        instance=settings.files.cluster_id(),
        service_cidr=settings.service_cidr,
        pod_cidr=settings.cluster_cidr,
        load_balancer_cidr=settings.load_balancer_pool,
        pod_bridge=bridge_name(settings.files.cluster_id()),
        network_policies=True,
        node_name=settings.node,
    )
