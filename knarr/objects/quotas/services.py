"""Services: their number, and the ports and balancers that they ask for."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.quantity import Notation, Quantity
from knarr.objects.quotas.evaluator import Evaluator, counted
from knarr.objects.totals import ONE, ZERO, Totals

COUNT, SERVICES, NODE_PORTS, BALANCERS = counted("", "services"), "services", "services.nodeports", "services.loadbalancers"


class ServiceEvaluator(Evaluator):
    def __init__(self) -> None:
        super().__init__(COUNT, SERVICES, NODE_PORTS, BALANCERS)

    def usage(self, obj: core.Service, now: datetime) -> Totals:
        """Ports are counted before they are given: by what is asked for."""
        balanced = obj.spec.type == "LoadBalancer"
        ports = Quantity(Decimal(_node_ports(obj.spec)), Notation.DECIMAL)
        return {COUNT: ONE, SERVICES: ONE, NODE_PORTS: ports, BALANCERS: ONE if balanced else ZERO}


def _node_ports(spec: core.ServiceSpec) -> int:
    if spec.type not in ("NodePort", "LoadBalancer"):
        return 0
    given = (
        spec.type == "LoadBalancer" and spec.HasField("allocate_load_balancer_node_ports") and not spec.allocate_load_balancer_node_ports
    )
    return sum(1 for port in spec.ports if port.node_port) if given else len(spec.ports)
