"""The strategy of Services. Addresses and node ports are given by the allocator, not here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import dns1123_label
from services.apiserver.strategies.service.defaults import default_ingress, default_service
from services.apiserver.strategies.service.families import default_families
from services.apiserver.strategies.service.status import validate_balancer_status
from services.apiserver.strategies.service.table import COLUMNS, service_cells
from services.apiserver.strategies.service.transition import drop_what_the_type_has_not, follow_cluster_ip, keep_allocated
from services.apiserver.strategies.service.validation import service_warnings, validate_service, validate_service_update
from services.apiserver.strategies.strategy import Strategy


class ServiceStrategy(Strategy):
    """An update that leaves allocated values out keeps them; one that changes the type drops what the new type has not."""

    returns_deleted = True
    creates_on_update = True
    columns = COLUMNS

    name_format = staticmethod(dns1123_label)
    selectable_field_names = ("spec.clusterIP", "spec.type")

    def default(self, obj: core.Service) -> None:
        default_service(obj)

    def prepare_for_create(self, obj: core.Service) -> None:
        super().prepare_for_create(obj)
        follow_cluster_ip(obj.spec, None)
        default_families(obj.spec, None)

    def prepare_for_update(self, new: core.Service, old: core.Service) -> None:
        """A Service that is no longer of type LoadBalancer has no load balancer's addresses either."""
        super().prepare_for_update(new, old)
        keep_allocated(new.spec, old.spec)
        follow_cluster_ip(new.spec, old.spec)
        drop_what_the_type_has_not(new.spec, old.spec)
        default_families(new.spec, old.spec)
        if new.spec.type != "LoadBalancer" and new.status.load_balancer.ingress:
            new.status.ClearField("load_balancer")

    def prepare_for_status_update(self, new: core.Service, old: core.Service) -> None:
        super().prepare_for_status_update(new, old)
        if new.spec.type == "LoadBalancer":
            default_ingress(new.status)

    def selectable_fields(self, obj: core.Service) -> Mapping[str, str]:
        return {"spec.clusterIP": obj.spec.cluster_ip, "spec.type": obj.spec.type}

    def validate(self, obj: core.Service) -> list[Cause]:
        return validate_service(obj)

    def validate_update(self, new: core.Service, old: core.Service) -> list[Cause]:
        return validate_service_update(new, old)

    def validate_status_update(self, new: core.Service, old: core.Service) -> list[Cause]:
        return validate_balancer_status(new)

    def warnings(self, obj: core.Service) -> list[str]:
        return service_warnings(obj)

    def cells(self, obj: core.Service, now: datetime) -> list[object]:
        return service_cells(obj, now)
