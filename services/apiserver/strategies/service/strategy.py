"""The strategy of Services. Addresses and node ports are given by the allocator, not here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import dns1035_label
from services.apiserver.strategies.service.defaults import NODE_PORT_TYPES, default_ip_families, default_service
from services.apiserver.strategies.service.table import COLUMNS, service_cells
from services.apiserver.strategies.service.validation import needs_health_check_port, validate_service, validate_service_update
from services.apiserver.strategies.strategy import Strategy


class ServiceStrategy(Strategy):
    """An update that leaves allocated values out keeps them; one that changes the type drops what the new type has not."""

    columns = COLUMNS

    name_format = staticmethod(dns1035_label)
    selectable_field_names = ("spec.clusterIP", "spec.type")

    def default(self, obj: core.Service) -> None:
        default_service(obj)

    def prepare_for_create(self, obj: core.Service) -> None:
        super().prepare_for_create(obj)
        _normalize_cluster_ips(obj.spec, None)
        default_ip_families(obj.spec)

    def prepare_for_update(self, new: core.Service, old: core.Service) -> None:
        super().prepare_for_update(new, old)
        _drop_fields_of_the_old_type(new.spec, old.spec)
        _keep_allocated(new.spec, old.spec)
        _normalize_cluster_ips(new.spec, old.spec)
        default_ip_families(new.spec)

    def selectable_fields(self, obj: core.Service) -> Mapping[str, str]:
        return {"spec.clusterIP": obj.spec.cluster_ip, "spec.type": obj.spec.type}

    def validate(self, obj: core.Service) -> list[Cause]:
        return validate_service(obj)

    def validate_update(self, new: core.Service, old: core.Service) -> list[Cause]:
        return validate_service_update(new, old)

    def cells(self, obj: core.Service, now: datetime) -> list[object]:
        return service_cells(obj, now)


def _normalize_cluster_ips(new: core.ServiceSpec, old: core.ServiceSpec | None) -> None:
    """Makes clusterIPs[0] and clusterIP one value for clients that know only one of them."""
    if old is None:
        if new.cluster_ip and not new.cluster_ips:
            new.cluster_ips.append(new.cluster_ip)
        elif new.cluster_ips and not new.cluster_ip:
            new.cluster_ip = new.cluster_ips[0]
        return
    if new.cluster_ip != old.cluster_ip and new.cluster_ips == old.cluster_ips:
        del new.cluster_ips[:]
        if new.cluster_ip:
            new.cluster_ips.append(new.cluster_ip)


def _keep_allocated(new: core.ServiceSpec, old: core.ServiceSpec) -> None:
    if new.type != "ExternalName" and old.type != "ExternalName":
        new.cluster_ip = new.cluster_ip or old.cluster_ip
        if not new.cluster_ips and new.cluster_ip == old.cluster_ip:
            new.cluster_ips.extend(old.cluster_ips)
    if new.type in NODE_PORT_TYPES and old.type in NODE_PORT_TYPES:
        known = {(port.protocol, port.port): port.node_port for port in old.ports}
        used = {(port.protocol, port.node_port) for port in new.ports if port.node_port}
        for port in new.ports:
            kept = known.get((port.protocol, port.port), 0)
            if not port.node_port and kept and (port.protocol, kept) not in used:
                port.node_port = kept
    if needs_health_check_port(new) and needs_health_check_port(old):
        new.health_check_node_port = new.health_check_node_port or old.health_check_node_port


def _drop_fields_of_the_old_type(new: core.ServiceSpec, old: core.ServiceSpec) -> None:
    """Clears what the old type had and the new one has not, unless the client changed it on purpose."""
    if new.type == "ExternalName" and old.type != "ExternalName":
        for field in ("cluster_ip", "cluster_ips", "ip_families", "ip_family_policy", "internal_traffic_policy"):
            if getattr(new, field) == getattr(old, field):
                new.ClearField(field)
    if new.type not in NODE_PORT_TYPES and old.type in NODE_PORT_TYPES:
        known = {port.node_port for port in old.ports}
        for port in new.ports:
            if port.node_port in known:
                port.node_port = 0
        if new.external_traffic_policy == old.external_traffic_policy:
            new.external_traffic_policy = ""
    if not needs_health_check_port(new) and new.health_check_node_port == old.health_check_node_port:
        new.health_check_node_port = 0
    if new.type != "LoadBalancer" and old.type == "LoadBalancer":
        for field in ("allocate_load_balancer_node_ports", "load_balancer_class"):
            if getattr(new, field) == getattr(old, field):
                new.ClearField(field)
