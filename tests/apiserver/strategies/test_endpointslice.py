"""Bounds of EndpointSlices that are too large to be written down as scenarios."""

from __future__ import annotations

from knarr.api.discovery.v1 import discovery_pb2 as discovery
from services.apiserver.strategies.endpointslice import EndpointSliceStrategy

STRATEGY = EndpointSliceStrategy()


def a_slice(endpoints: int = 1, addresses: int = 1, ports: int = 1) -> discovery.EndpointSlice:
    made = discovery.EndpointSlice(address_type="IPv4")
    for number in range(endpoints):
        made.endpoints.add(addresses=[f"10.{number // 250}.{number % 250}.{entry + 1}" for entry in range(addresses)])
    for number in range(ports):
        made.ports.add(name=f"p{number}", port=number % 65_535 + 1, protocol="TCP")
    return made


def wrong(made: discovery.EndpointSlice) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in STRATEGY.validate(made)]


def test_as_much_as_fits() -> None:
    assert wrong(a_slice(endpoints=1000)) == wrong(a_slice(addresses=100)) == wrong(a_slice(ports=20_000)) == []


def test_one_more_is_too_many() -> None:
    assert wrong(a_slice(endpoints=1001)) == ["endpoints: Too many: 1001: must have at most 1000 items"]
    assert wrong(a_slice(addresses=101)) == ["endpoints[0].addresses: Too many: 101: must have at most 100 items"]
    assert wrong(a_slice(ports=20_001)) == ["ports: Too many: 20001: must have at most 20000 items"]


def test_topology_of_old_is_kept_but_no_longer_taken() -> None:
    made = a_slice()
    made.endpoints[0].deprecated_topology["a"] = "b"
    STRATEGY.prepare_for_create(made)
    assert not made.endpoints[0].deprecated_topology
    old, same, other = (a_slice() for _ in range(3))
    for found in (old, same, other):
        found.endpoints[0].deprecated_topology["a"] = "b"
    other.endpoints[0].addresses[0] = "10.0.0.9"
    STRATEGY.prepare_for_update(same, old)
    STRATEGY.prepare_for_update(other, old)
    assert same.endpoints[0].deprecated_topology and not other.endpoints[0].deprecated_topology
