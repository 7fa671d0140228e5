"""What the kubelets of a cluster on one machine are told."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from services.kubelet.node.registry_logins import node_config
from services.kubelet.settings import KubeletSettings
from services.standalone.fellows.plan import LABEL, Fellow
from services.standalone.settings import ClusterSettings


def nameserver_of(settings: ClusterSettings, address: str) -> str:
    """Where pods find the cluster's DNS: they could not reach names at a loopback address, so a machine without a network has none."""
    return "" if IPv4Address(address).is_loopback else settings.nameserver_address


def kubelet_settings(settings: ClusterSettings, address: str) -> KubeletSettings:
    """Of the machine's own node, whose ``address`` it is."""
    return KubeletSettings(
        node_name=settings.node,
        data_dir=settings.files.kubelet,
        node_ip=address,
        pod_cidr=settings.pod_cidr,
        port=settings.ports.kubelet,
        cluster_id=settings.files.cluster_id(),
        container_runtime_endpoint=settings.container_runtime_endpoint,
        registry_config=node_config(),
        registry_mirror=settings.registry_mirror,
        cluster_dns=nameserver_of(settings, address),
        cluster_domain=settings.cluster_domain,
        size=node_size(settings),
        **_node_settings(settings.kubelet_options),
    )


def fellow_kubelet_settings(settings: ClusterSettings, fellow: Fellow, address: str, container: str) -> KubeletSettings:
    """Of another node on the machine, whose own node has the ``address``; ``container`` has the fellow's network. Pods that a machine runs
    by itself it runs once."""
    own = kubelet_settings(settings, address)
    return replace(
        own,
        node_name=fellow.name,
        data_dir=fellow.kubelet,
        node_ip=fellow.address,
        pod_cidr=fellow.pod_range,
        network_of=container,
        manifest_path=None,
        labels={**own.labels, LABEL: settings.node},
    )


def node_size(settings: ClusterSettings) -> dict[str, int]:
    """What each node is to have, in milli-CPU and bytes; nothing of what is all of the machine's."""
    if not (settings.node_cpu or settings.node_memory):
        return {}
    from knarr.machinery import quantity

    cpu = {"cpu": quantity.milli(settings.node_cpu)} if settings.node_cpu else {}
    return cpu | ({"memory": quantity.value(settings.node_memory)} if settings.node_memory else {})


def _node_settings(text: str) -> dict[str, Any]:
    if not text:
        return {}
    # They load what nobody needs who gives none.
    from services.kubelet.node_flags import node_settings_of

    return node_settings_of(text)
