"""What the proxies of a cluster on one machine are told, and whoever removes what they made."""

from __future__ import annotations

from dataclasses import replace

from services.kubelet.runtime.catalog import bridge_name
from services.proxy.settings import ProxySettings
from services.standalone.fellows.plan import Fellow, gateway, may_have_fellows
from services.standalone.settings import ClusterSettings

# How the pods of other nodes are reached, as the proxy calls it: all nodes are on this machine.
ROUTES = "routes"


def datapath_settings(settings: ClusterSettings, *, among_others: bool | None = None) -> ProxySettings:
    """Of the machine's own node. ``among_others``: whether there are nodes beside it that run containers; by default as is chosen."""
    alone = ProxySettings(
        datapath=settings.datapath,
        instance=settings.files.cluster_id(),
        service_cidr=settings.service_cidr,
        pod_cidr=settings.cluster_cidr,
        load_balancer_cidr=settings.load_balancer_pool,
        pod_bridge=bridge_name(settings.files.cluster_id()),
        network_policies=True,
        node_name=settings.node,
    )
    if not (settings.nodes > 1 if among_others is None else among_others) or not may_have_fellows(settings):
        return alone
    return _among(alone, settings, (settings.node_cidr, ""))


def fellow_datapath_settings(settings: ClusterSettings, fellow: Fellow, address: str) -> ProxySettings:
    """Of another node on the machine, whose own node has the ``address``."""
    own = replace(datapath_settings(settings, among_others=False), node_name=fellow.name)
    return _among(own, settings, (f"{address}/32", gateway(settings)))


def _among(own: ProxySettings, settings: ClusterSettings, next_hop: tuple[str, str]) -> ProxySettings:
    # A device that another proxy of the machine may have is none of this one's.
    return replace(own, pod_network=ROUTES, next_hops=(next_hop,), vxlan_device=f"kv-{settings.files.cluster_id()}")
