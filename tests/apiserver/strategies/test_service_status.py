"""What a load balancer says of itself: ``status.loadBalancer`` by the status sub-resource, and when it goes."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.strategies.service.strategy import ServiceStrategy

STRATEGY = ServiceStrategy()


def service(type_: str = "LoadBalancer") -> core.Service:
    made = core.Service()
    made.metadata.name = "s"
    made.spec.type = type_
    made.spec.ports.add(port=80)
    STRATEGY.default(made)
    STRATEGY.prepare_for_create(made)
    return made


def told(*ingress: core.LoadBalancerIngress, type_: str = "LoadBalancer") -> tuple[core.Service, list[str]]:
    """The Service as it is stored when somebody writes ``ingress``, and what is wrong with it."""
    old, new = service(type_), service("ClusterIP")
    new.status.load_balancer.ingress.extend(ingress)
    STRATEGY.prepare_for_status_update(new, old)
    return new, [f"{cause.field}: {cause.message}" for cause in STRATEGY.validate_status_update(new, old)]


def test_an_address_is_carried_by_the_nodes_unless_it_says_otherwise() -> None:
    new, wrong = told(
        core.LoadBalancerIngress(ip="192.0.2.1"),
        core.LoadBalancerIngress(ip="192.0.2.2", ip_mode="Proxy"),
        core.LoadBalancerIngress(hostname="a.example.com"),
    )
    assert wrong == [] and new.spec.type == "LoadBalancer"
    assert [(entry.HasField("ip_mode"), entry.ip_mode) for entry in new.status.load_balancer.ingress] == [
        (True, "VIP"),
        (True, "Proxy"),
        (False, ""),
    ]


@pytest.mark.parametrize(
    ("ingress", "words"),
    [
        ({"ip": "x"}, 'ingress[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
        ({"ip": "192.0.2.1", "ip_mode": "vip"}, 'ingress[0].ipMode: Unsupported value: "vip": supported values: "Proxy", "VIP"'),
        ({"hostname": "a.b", "ip_mode": "VIP"}, "ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set"),
        ({"hostname": "192.0.2.1"}, 'ingress[0].hostname: Invalid value: "192.0.2.1": must be a DNS name, not an IP address'),
    ],
)
def test_nonsense_is_refused(ingress: dict[str, Any], words: str) -> None:
    _, wrong = told(core.LoadBalancerIngress(**ingress))
    assert wrong == [f"status.loadBalancer.{words}"]


def test_only_a_balancer_has_a_balancers_addresses() -> None:
    _, wrong = told(core.LoadBalancerIngress(ip="192.0.2.1"), type_="NodePort")
    assert wrong == ["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"]
    old, new = service(), service("NodePort")
    old.status.load_balancer.ingress.add(ip="192.0.2.1", ip_mode="VIP")
    STRATEGY.prepare_for_update(new, old)
    assert not new.status.load_balancer.ingress


def test_an_old_annotation_is_warned_of() -> None:
    new = service()
    assert STRATEGY.warnings(new) == []
    new.metadata.annotations["service.kubernetes.io/topology-aware-hints"] = "Auto"
    assert STRATEGY.warnings(new) == [
        "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead"
    ]
