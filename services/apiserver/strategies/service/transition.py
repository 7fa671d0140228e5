"""What an update keeps of the stored Service and what it drops with the type that had it.

A client that leaves an allocated value out keeps it. A value that the new type has no use for goes, unless
the client changed it in the same breath: then validation says what is wrong.
"""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.strategies.service.shape import (
    is_externally_accessible,
    needs_cluster_ip,
    needs_health_check_port,
    needs_node_ports,
)


def keep_allocated(new: core.ServiceSpec, old: core.ServiceSpec) -> None:
    """Fills in what the client left out of what was allocated before."""
    if needs_cluster_ip(new) and needs_cluster_ip(old):
        new.cluster_ip = new.cluster_ip or old.cluster_ip
        if not new.cluster_ips:
            new.cluster_ips.extend(old.cluster_ips)
    if needs_node_ports(new) and needs_node_ports(old):
        _keep_node_ports(new, old)
    if needs_health_check_port(new) and needs_health_check_port(old):
        new.health_check_node_port = new.health_check_node_port or old.health_check_node_port


def follow_cluster_ip(new: core.ServiceSpec, old: core.ServiceSpec | None) -> None:
    """Brings ``clusterIPs`` along for clients that know only ``clusterIP``."""
    if old is None:
        if new.cluster_ip and not new.cluster_ips:
            new.cluster_ips.append(new.cluster_ip)
    elif new.cluster_ip != old.cluster_ip and new.cluster_ips == old.cluster_ips:
        del new.cluster_ips[:]
        if new.cluster_ip:
            new.cluster_ips.append(new.cluster_ip)


def drop_what_the_type_has_not(new: core.ServiceSpec, old: core.ServiceSpec) -> None:
    if needs_cluster_ip(old) and not needs_cluster_ip(new):
        if new.cluster_ip == old.cluster_ip and new.cluster_ips == old.cluster_ips:
            new.ClearField("cluster_ip")
            new.ClearField("cluster_ips")
        _clear_if_same("ip_families", new, old)
        _clear_if_same("ip_family_policy", new, old)
    if needs_node_ports(old) and not needs_node_ports(new) and _node_ports(new) <= _node_ports(old):
        for port in new.ports:
            port.node_port = 0
    if needs_health_check_port(old) and not needs_health_check_port(new):
        _clear_if_same("health_check_node_port", new, old)
    if old.type == "LoadBalancer" and new.type != "LoadBalancer":
        _clear_if_same("allocate_load_balancer_node_ports", new, old)
        _clear_if_same("load_balancer_class", new, old)
    if is_externally_accessible(old) and not is_externally_accessible(new):
        _clear_if_same("external_traffic_policy", new, old)


def _keep_node_ports(new: core.ServiceSpec, old: core.ServiceSpec) -> None:
    """By the port's name, whatever else of the port changed."""
    used = _node_ports(new) & _node_ports(old)
    known = {port.name: port.node_port for port in old.ports}
    for port in new.ports:
        kept = known.get(port.name, 0)
        if not port.node_port and kept not in used:
            port.node_port = kept


def _node_ports(spec: core.ServiceSpec) -> set[int]:
    return {port.node_port for port in spec.ports if port.node_port}


def _clear_if_same(field: str, new: core.ServiceSpec, old: core.ServiceSpec) -> None:
    if getattr(new, field) == getattr(old, field):
        new.ClearField(field)
