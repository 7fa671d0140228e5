"""The pure heart: a change leads from one table to the next, whatever the two are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.proxy.datapath.nftables import ruleset
from services.proxy.routing.build import build_table
from services.proxy.routing.table import Endpoint, Route, RouteKey, RoutingTable, diff, patched
from tests.proxy.objects import service, slice_of

BASE = ruleset.Base("knarr", "10.96.0.0/16", "10.244.0.0/16", "knarr0")

endpoints = st.lists(st.sampled_from([Endpoint(f"10.244.0.{n}", 80, f"pod-{n}") for n in range(2, 6)]), unique=True).map(
    lambda found: tuple(sorted(found))
)


@st.composite
def tables(draw: st.DrawFn) -> RoutingTable:
    numbers = draw(st.sets(st.integers(0, 4)))
    table = {}
    for number in sorted(numbers):
        key = RouteKey("default", f"s{number}", "")
        ip = f"10.96.0.{10 * number + draw(st.integers(0, 1))}"
        table[key] = Route(
            key, draw(st.sampled_from(["tcp", "udp"])), (ip,), 80, draw(st.sampled_from([0, 30000 + number])), draw(endpoints)
        )
    return table


@given(tables(), tables())
@settings(max_examples=60, deadline=None)
def test_a_change_applied_to_the_old_table_is_the_new_one(old: RoutingTable, new: RoutingTable) -> None:
    change = diff(old, new)
    assert patched(old, change) == new
    assert bool(change) == (old != new)


@given(tables(), tables())
@settings(max_examples=60, deadline=None)
def test_a_transaction_speaks_only_of_the_routes_that_changed(old: RoutingTable, new: RoutingTable) -> None:
    text = ruleset.incremental(BASE, diff(old, new))
    for key, route in new.items():
        if old.get(key) == route:
            assert ruleset.route_chain(route) not in text


def test_a_pods_new_name_costs_no_transaction() -> None:
    key = RouteKey("default", "web", "")
    before = Route(key, "tcp", ("10.96.0.10",), 80, 0, (Endpoint("10.244.0.2", 80, "a"),))
    after = Route(key, "tcp", ("10.96.0.10",), 80, 0, (Endpoint("10.244.0.2", 80, "b"),))
    assert ruleset.incremental(BASE, diff({key: before}, {key: after})) == ""


def test_names_stay_within_the_kernels_limit() -> None:
    route = Route(RouteKey("n" * 63, "s" * 63, "p" * 63), "tcp", ("10.96.0.10",), 80, 30000, (Endpoint("255.255.255.255", 65535),))
    names = (ruleset.route_chain(route), ruleset.node_port_chain(route), ruleset.endpoint_chain(route, route.endpoints[0]))
    assert all(len(name) < 128 for name in names)


def test_ports_are_matched_by_name() -> None:
    table = build_table([service()], [slice_of("web", ["10.244.0.2"]), slice_of("web", ["10.244.0.3"], port_name="other", suffix="2")])
    assert [endpoint.address for endpoint in table[RouteKey("default", "web", "http")].endpoints] == ["10.244.0.2"]
