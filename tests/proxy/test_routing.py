"""The pure heart: a change leads from one table to the next, whatever the two are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.proxy.datapath.nftables import ruleset
from services.proxy.datapath.nftables.dealing import dealing
from services.proxy.datapath.nftables.layout import chain_name, chains, entries, pools
from services.proxy.datapath.nftables.operations import (
    AddChain,
    AddElement,
    AddMap,
    AddStickySet,
    DeleteChain,
    DeleteElement,
    DeleteSet,
    Destination,
    FlushChain,
    Operation,
)
from services.proxy.datapath.nftables.skeleton import Base
from services.proxy.datapath.nftables.slots import Slots
from services.proxy.routing.build import Router, build_table
from services.proxy.routing.table import CLUSTER, LOCAL, Endpoint, Route, RouteKey, RoutingTable, diff, patch
from tests.proxy.objects import service, slice_of

BASE = Base("knarr", "10.96.0.0/16", "10.244.0.0/16", "knarr0")

endpoints = st.lists(st.sampled_from([Endpoint(f"10.244.0.{n}", 80, f"pod-{n}") for n in range(2, 6)]), unique=True).map(
    lambda found: tuple(sorted(found))
)


policies = st.sampled_from([CLUSTER, LOCAL])


@st.composite
def tables(draw: st.DrawFn) -> RoutingTable:
    numbers = draw(st.sets(st.integers(0, 4)))
    table = {}
    for number in sorted(numbers):
        key = RouteKey("default", f"s{number}", "")
        here = draw(st.booleans())
        chosen = draw(endpoints)
        table[key] = Route(
            key,
            draw(st.sampled_from(["tcp", "udp"])),
            (f"10.96.0.{10 * number + draw(st.integers(0, 1))}",),
            80,
            draw(st.sampled_from([0, 30000 + number])),
            chosen,
            external_ips=(f"192.0.2.{number}",) if draw(st.booleans()) else (),
            load_balancer_ips=(f"198.51.100.{number}",) if draw(st.booleans()) else (),
            source_ranges=draw(st.sampled_from([(), ("192.0.2.0/24", "10.0.0.0/9")])),
            internal_policy=draw(policies),
            external_policy=draw(policies),
            local_endpoints=chosen[:1] if here else (),
            held=draw(st.booleans()),
            affinity_seconds=draw(st.sampled_from([0, 60, 600])),
        )
    return table


@given(tables(), tables())
@settings(max_examples=60, deadline=None)
def test_a_change_applied_to_the_old_table_is_the_new_one(old: RoutingTable, new: RoutingTable) -> None:
    change = diff(old, new)
    table = dict(old)
    patch(table, change)
    assert table == new
    assert bool(change) == (old != new)


def uncounted(name: str, slot: int) -> int:
    return 0


@given(tables(), tables())
@settings(max_examples=60, deadline=None)
def test_a_transaction_speaks_only_of_the_routes_that_changed(old: RoutingTable, new: RoutingTable) -> None:
    slots = Slots()
    ruleset.operations(slots, diff({}, old), uncounted)
    text = ruleset.as_commands(BASE, ruleset.operations(slots, diff(old, new), uncounted))
    for key, route in new.items():
        if old.get(key) == route:
            assert chain_name("service", route) not in text and chain_name("local", route) not in text


@given(tables(), tables())
@settings(max_examples=60, deadline=None)
def test_every_turn_has_its_endpoint_after_a_change(old: RoutingTable, new: RoutingTable) -> None:
    slots = Slots()
    in_force: dict[tuple[str, tuple[str | int, ...]], object] = {}
    made: dict[str, list[Operation]] = {}
    clients: set[str] = set()
    for operation in (*ruleset.operations(slots, diff({}, old), uncounted), *ruleset.operations(slots, diff(old, new), uncounted)):
        if isinstance(operation, AddElement):
            assert (operation.set, operation.key) not in in_force
            in_force[operation.set, operation.key] = operation.data
        elif isinstance(operation, DeleteElement):
            del in_force[operation.set, operation.key]
        elif isinstance(operation, AddChain):
            assert operation.chain not in made
            made[operation.chain] = []
        elif isinstance(operation, FlushChain):
            made[operation.chain].clear()
        elif isinstance(operation, DeleteChain):
            assert not made.pop(operation.chain)
        elif isinstance(operation, AddStickySet):
            assert operation.name not in clients
            clients.add(operation.name)
        elif isinstance(operation, DeleteSet):
            assert not any(operation.name in (getattr(rule, "set", ""),) for rules in made.values() for rule in rules)
            clients.remove(operation.name)
        elif not isinstance(operation, AddMap):
            assert all(name in clients for name in [getattr(operation, "set", None)] if name)
            made[operation.chain].append(operation)
    assert made == {chain: rules for route in new.values() for chain, rules in expected_chains(slots, route).items()}
    for route in new.values():
        for pool in pools(route):
            standing = slots.standings[pool.chain]
            assert sorted(standing.places) == sorted((endpoint.address, endpoint.port) for endpoint in pool.endpoints)
            for turn, place in enumerate(standing.places):
                assert in_force.pop((standing.map, (standing.offset + turn,))) == Destination(*place)
            for entry, lead in standing.dealing.shares.items():
                assert in_force.pop(entry) == lead and lead.chain in made
            assert len(standing.dealing.shares) == (len(standing.places) if pool.affinity_seconds else 0)
        for entry, lead in entries(route).items():
            assert in_force.pop(entry) == lead and lead.chain in made
    assert clients == {name for standing in slots.standings.values() for name in standing.dealing.sets}
    addresses = {endpoint.address for route in new.values() for pool in pools(route) for endpoint in pool.endpoints}
    held = {ip for route in new.values() if route.held for ip in route.load_balancer_ips}
    assert in_force.keys() == {("hairpins", (address, address)) for address in addresses} | {("held-addresses", (ip,)) for ip in held}
    numbers = [standing.number for standing in slots.standings.values()]
    assert len(set(numbers)) == len(numbers) == sum(len(pools(route)) for route in new.values())


def expected_chains(slots: Slots, route: Route) -> dict[str, list[Operation]]:
    found: dict[str, list[Operation]] = {chain: list(rules) for chain, rules in chains(route).items()}
    for pool in pools(route):
        standing = slots.standings[pool.chain]
        after = dealing(pool, standing.places, standing.offset, standing.map)
        assert after == standing.dealing
        found |= {chain: list(rules) for chain, rules in after.chains.items()}
    return found


def test_a_replaced_endpoint_changes_elements_only_and_counters_move_with_their_endpoint() -> None:
    key = RouteKey("default", "web", "")

    def route(*numbers: int) -> Route:
        return Route(key, "tcp", ("10.96.0.10",), 80, 0, tuple(Endpoint(f"10.244.0.{number}", 80) for number in numbers))

    slots = Slots()
    ruleset.operations(slots, diff({}, {key: route(1, 2, 3)}), uncounted)
    replaced = ruleset.operations(slots, diff({key: route(1, 2, 3)}, {key: route(2, 3, 4)}), uncounted)
    assert {type(operation) for operation in replaced} == {AddElement, DeleteElement}
    assert slots.standings[chain_name("service", route(1))].places == [("10.244.0.4", 80), ("10.244.0.2", 80), ("10.244.0.3", 80)]
    shrunk = ruleset.operations(slots, diff({key: route(2, 3, 4)}, {key: route(2, 3)}), lambda name, slot: 100 + slot)
    assert AddElement("endpoints-0", (0,), Destination("10.244.0.3", 80, 102)) in shrunk


def test_a_pods_new_name_costs_no_transaction() -> None:
    key = RouteKey("default", "web", "")
    before = Route(key, "tcp", ("10.96.0.10",), 80, 0, (Endpoint("10.244.0.2", 80, "a"),))
    after = Route(key, "tcp", ("10.96.0.10",), 80, 0, (Endpoint("10.244.0.2", 80, "b"),))
    slots = Slots()
    ruleset.operations(slots, diff({}, {key: before}), uncounted)
    assert ruleset.operations(slots, diff({key: before}, {key: after}), uncounted) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.booleans()), max_size=12))
@settings(max_examples=60, deadline=None)
def test_a_router_agrees_with_a_table_built_at_once(steps: list[tuple[int, int, bool]]) -> None:
    """Services that come, go and contend for three addresses."""
    router, there = Router(), {}
    table: dict[RouteKey, Route] = {}
    for number, address, present in steps:
        wanted = service(f"s{number}", cluster_ip=f"10.96.0.{address}", node_port=30000 + address)
        before = dict(router.table)
        there[number] = wanted if present else None
        touched = router.put("default", f"s{number}", there[number], [])
        assert {key for key in before.keys() | router.table.keys() if before.get(key) != router.table.get(key)} <= touched
        patch(table, diff(table, router.table, touched))
        assert table == router.table == build_table([found for found in there.values() if found], [])


def test_names_stay_within_the_kernels_limit() -> None:
    route = Route(RouteKey("n" * 63, "s" * 63, "p" * 63), "tcp", ("10.96.0.10",), 80, 30000, (Endpoint("255.255.255.255", 65535),))
    names = [*chains(route), *(pool.chain for pool in pools(route))]
    assert all(len(name) < 128 for name in names)


def test_ports_are_matched_by_name() -> None:
    table = build_table([service()], [slice_of("web", ["10.244.0.2"]), slice_of("web", ["10.244.0.3"], port_name="other", suffix="2")])
    assert [endpoint.address for endpoint in table[RouteKey("default", "web", "http")].endpoints] == ["10.244.0.2"]
