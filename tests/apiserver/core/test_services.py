"""Cluster addresses and node ports on a real etcd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.events import EventRecorder
from knarr.machinery.catalog import registry, version_of
from knarr.machinery.errors import StatusError
from services.apiserver.allocators.addresses import AddressRange
from services.apiserver.allocators.audit import audit_addresses, audit_ports
from services.apiserver.allocators.numbers import NumberRange
from services.apiserver.allocators.repair import Repairer, repair
from services.apiserver.allocators.services import ServiceAllocators, held_address, held_ports
from services.apiserver.api import Ref
from services.apiserver.backend import Backend
from services.apiserver.bootstrap import USER, bootstrap
from services.apiserver.local import LocalClient
from services.apiserver.storage.store import Transaction
from tests.apiserver.core.conftest import OpenStore, running_on
from tests.support.caller import Caller

KIND = version_of(core.Service)
REF = Ref(KIND, "default")


def service(name: str, type_: str = "ClusterIP", address: str = "", port: int = 0) -> core.Service:
    obj = core.Service()
    obj.metadata.name = name
    obj.spec.type, obj.spec.cluster_ip = type_, address
    obj.spec.ports.add(port=80, node_port=port)
    return obj


def make_api(backend: Backend, cidr: str = "10.96.0.0/28") -> Caller:
    return Caller.of(backend, ServiceAllocators(backend.store, AddressRange(cidr), NumberRange(30000, 30004)))


@pytest.fixture
async def services(backend: Backend) -> AsyncIterator[Caller]:
    """An API whose records equal what the Services hold at the end."""
    api = make_api(backend)
    await bootstrap(LocalClient(api.api, USER, registry()), "10.96.0.1")
    yield api
    allocators: Any = api.allocators
    found: list[Any] = [entry.message for entry in (await api.list(Ref(KIND), meta.ListOptions())).entries]
    addresses, _ = await allocators.address_ledger.read()
    assert addresses == {allocators.addresses.number(held_address(one)) for one in found if held_address(one)}
    ports, _ = await allocators.port_ledger.read()
    assert ports == {port for one in found for port in held_ports(one)}


def _number(addresses: AddressRange, text: str) -> int:
    found = addresses.number(text)
    assert found is not None
    return found


async def create(api: Caller, obj: core.Service) -> Any:
    return (await api.create(REF, obj, meta.CreateOptions())).message


async def test_everybody_gets_another_address_until_the_range_is_full(services: Caller) -> None:
    created = await asyncio.gather(*(create(services, service(f"s{number}")) for number in range(13)))
    addresses = {one.spec.cluster_ip for one in created}
    assert len(addresses) == 13 and "10.96.0.1" not in addresses
    assert all(one.spec.cluster_ips == [one.spec.cluster_ip] for one in created)
    with pytest.raises(StatusError, match="range is full"):
        await create(services, service("late"))
    await services.delete(Ref(KIND, "default", "s3"), meta.DeleteOptions())
    assert (await create(services, service("late"))).spec.cluster_ip == created[3].spec.cluster_ip


async def test_two_servers_give_no_number_twice_and_refuse_nobody(services: Caller, open_store: OpenStore) -> None:
    async with running_on(open_store()) as backend:
        servers = (services, make_api(backend))
        created = await asyncio.gather(
            *(create(api, service(f"s{number}-{index}")) for number in range(5) for index, api in enumerate(servers)),
        )
        assert len({one.spec.cluster_ip for one in created}) == 10
        ports = await asyncio.gather(*(create(api, service(f"p{index}", "NodePort")) for index, api in enumerate(servers)))
        assert len({one.spec.ports[0].node_port for one in ports}) == 2
        gone = [Ref(KIND, "default", f"s{number}-{index}") for number in range(5) for index in range(2)]
        await asyncio.gather(*(servers[number % 2].delete(ref, meta.DeleteOptions()) for number, ref in enumerate(gone)))


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        (
            service("a", address="10.96.0.1"),
            'Service "a" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.1"]: '
            "failed to allocate IP 10.96.0.1: provided IP is already allocated",
        ),
        (
            service("a", address="10.9.0.1"),
            'Service "a" is invalid: spec.clusterIPs: Invalid value: ["10.9.0.1"]: failed to allocate IP 10.9.0.1: '
            "the provided IP (10.9.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/28",
        ),
        (
            service("a", "NodePort", port=80),
            'Service "a" is invalid: spec.ports[0].nodePort: Invalid value: 80: '
            "provided port is not in the valid range. The range of valid ports is 30000-30004",
        ),
    ],
)
async def test_requests_are_refused_in_kubernetes_words(services: Caller, obj: core.Service, words: str) -> None:
    with pytest.raises(StatusError) as caught:
        await create(services, obj)
    assert (caught.value.reason, caught.value.status.message) == ("Invalid", words)


async def test_requested_values_are_honoured_and_node_ports_come_and_go(services: Caller) -> None:
    created = await create(services, service("a", "NodePort", "10.96.0.5", 30002))
    assert (created.spec.cluster_ip, created.spec.ports[0].node_port) == ("10.96.0.5", 30002)
    with pytest.raises(StatusError, match="30002: provided port is already allocated"):
        await create(services, service("b", "NodePort", port=30002))
    created.spec.type = "ClusterIP"
    await services.update(Ref(KIND, "default", "a"), created, meta.UpdateOptions())
    assert (await create(services, service("b", "NodePort", port=30002))).spec.ports[0].node_port == 30002
    headless = await create(services, service("h", address="None"))
    assert headless.spec.cluster_ip == "None"


async def update(api: Caller, obj: core.Service) -> Any:
    return (await api.update(Ref(KIND, "default", obj.metadata.name), obj, meta.UpdateOptions())).message


async def test_what_was_created_in_vain_takes_nothing(services: Caller) -> None:
    await create(services, service("a", "NodePort"))
    for _ in range(3):
        with pytest.raises(StatusError, match="already exists"):
            await create(services, service("a", "NodePort"))
    with pytest.raises(StatusError, match="range is full"):
        await create(services, with_ports(service("b", "NodePort"), 81, 82, 83, 84, 85))


def with_ports(obj: core.Service, *ports: int, protocol: str = "TCP") -> core.Service:
    obj.spec.ports[0].name = "first"
    for port in ports:
        obj.spec.ports.add(name=f"{protocol.lower()}-{port}", port=port, protocol=protocol)
    return obj


async def test_the_protocols_of_a_new_port_share_a_node_port(services: Caller) -> None:
    both = with_ports(service("dns", "NodePort", port=30003), 80, protocol="UDP")
    assert [port.node_port for port in (await create(services, both)).spec.ports] == [30003, 30003]
    others = with_ports(service("other", "NodePort"), 80, protocol="UDP")
    first, second = (port.node_port for port in (await create(services, others)).spec.ports)
    assert first == second != 30003


async def test_a_health_check_port_comes_and_goes_with_the_local_policy(services: Caller) -> None:
    local = service("a", "LoadBalancer")
    local.spec.external_traffic_policy, local.spec.health_check_node_port = "Local", 30001
    created = await create(services, local)
    assert created.spec.health_check_node_port == 30001 != created.spec.ports[0].node_port
    other = service("b", "LoadBalancer", port=30000 if created.spec.ports[0].node_port != 30000 else 30002)
    other.spec.external_traffic_policy, other.spec.health_check_node_port = "Local", 30001
    with pytest.raises(StatusError) as caught:
        await create(services, other)
    assert caught.value.status.message == (
        'Service "b" is invalid: spec.healthCheckNodePort: Invalid value: 30001: provided port is already allocated'
    )
    created.spec.external_traffic_policy = "Cluster"
    created = await update(services, created)
    assert created.spec.health_check_node_port == 0
    assert (await create(services, other)).spec.health_check_node_port == 30001
    created.spec.external_traffic_policy = "Local"
    assert (await update(services, created)).spec.health_check_node_port not in (0, 30001)


async def test_a_balancer_may_do_without_node_ports(services: Caller) -> None:
    without = with_ports(service("a", "LoadBalancer", port=30002), 81)
    without.spec.allocate_load_balancer_node_ports = False
    assert [port.node_port for port in (await create(services, without)).spec.ports] == [30002, 0]
    with pytest.raises(StatusError, match="30002: provided port is already allocated"):
        await create(services, service("b", "NodePort", port=30002))


async def test_every_change_of_type_leaves_the_records_right(services: Caller) -> None:
    external = core.Service()
    external.metadata.name, external.spec.type, external.spec.external_name = "a", "ExternalName", "a.example.com"
    obj = await create(services, external)
    for type_ in ("ClusterIP", "NodePort", "LoadBalancer", "NodePort", "ClusterIP", "LoadBalancer", "ExternalName", "LoadBalancer"):
        obj.spec.type = type_
        if not obj.spec.ports:
            obj.spec.ports.add(port=80)
        if type_ == "LoadBalancer":
            obj.spec.external_traffic_policy = "Local"
        obj = await update(services, obj)
        assert bool(obj.spec.cluster_ip) == (type_ != "ExternalName")
        assert bool(obj.spec.ports[0].node_port) == (type_ in ("NodePort", "LoadBalancer"))
        assert bool(obj.spec.health_check_node_port) == (type_ == "LoadBalancer")
        assert list(obj.spec.cluster_ips) == ([obj.spec.cluster_ip] if obj.spec.cluster_ip else [])


async def test_a_balancer_that_is_being_deleted_holds_its_numbers_until_its_finalizer_goes(services: Caller) -> None:
    local = service("a", "LoadBalancer", port=30002)
    local.metadata.finalizers.append("service.kubernetes.io/load-balancer-cleanup")
    local.spec.external_traffic_policy, local.spec.health_check_node_port = "Local", 30003
    await create(services, local)
    leaving: Any = (await services.delete(Ref(KIND, "default", "a"), meta.DeleteOptions())).message
    with pytest.raises(StatusError, match="30002: provided port is already allocated"):
        await create(services, service("b", "NodePort", port=30002))
    del leaving.metadata.finalizers[:]
    await update(services, leaving)
    assert (await create(services, service("b", "NodePort", port=30002))).spec.cluster_ip


async def test_a_dry_run_takes_nothing(services: Caller) -> None:
    written: Any = (await services.create(REF, service("a", "NodePort"), meta.CreateOptions(dry_run=["All"]))).message
    assert written.spec.cluster_ip and written.spec.ports[0].node_port


async def test_repair_records_what_is_held_and_frees_the_rest(services: Caller, backend: Backend) -> None:
    await create(services, service("a", "NodePort"))
    allocators: Any = services.allocators
    for ledger, wrong in ((allocators.address_ledger, {allocators.addresses.number("10.96.0.9")}), (allocators.port_ledger, set())):
        _, revision = await ledger.read()
        extra = ledger.change(wrong, revision)
        outcome = await backend.store.commit(Transaction(extra.guards, extra.puts))
        await backend.cache.wait_for(outcome.revision, 5)
    recorder = Recorder()
    assert await repair(backend, allocators, recorder)
    await backend.cache.wait_for((await allocators.port_ledger.read())[1], 5)
    assert {reason for _, reason, _ in recorder.seen} == {"ClusterIPNotAllocated", "PortNotAllocated"}
    assert not await repair(backend, allocators, recorder)


class Recorder(EventRecorder):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []

    def event(self, obj: Any, event_type: str, reason: str, message: str, *, field_path: str = "", component: str = "") -> None:
        self.seen.append((obj.metadata.name, reason, message))


async def test_one_of_several_servers_repairs_in_a_period(services: Caller, backend: Backend) -> None:
    allocators: Any = services.allocators
    repairers = [Repairer(backend, allocators, Recorder(), 0.0) for _ in range(3)]
    turns = [[await repairer.take_turn() for repairer in repairers] for _ in range(5)]
    assert all(sum(round_) <= 1 for round_ in turns) and all(sum(round_) == 1 for round_ in turns[1::2])


async def test_damage_is_mended_while_it_runs(services: Caller, backend: Backend) -> None:
    allocators: Any = services.allocators
    await create(services, service("a", "NodePort"))
    _, revision = await allocators.port_ledger.read()
    extra = allocators.port_ledger.change(set(), revision)
    await backend.cache.wait_for((await backend.store.commit(Transaction(extra.guards, extra.puts))).revision, 5)
    task = asyncio.create_task(Repairer(backend, allocators, Recorder(), 0.01).run())
    try:
        async with asyncio.timeout(10):
            while not (await allocators.port_ledger.read())[0]:
                await create_and_delete(services)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def create_and_delete(api: Caller) -> None:
    """Others write while the repair is at work."""
    await create(api, service("other"))
    await api.delete(Ref(KIND, "default", "other"), meta.DeleteOptions())


def test_the_audit_speaks_kubernetes_words() -> None:
    addresses, ports = AddressRange("10.96.0.0/28"), NumberRange(30000, 30004)
    held = [
        service("a", "NodePort", "10.96.0.5", 30001),
        service("b", "NodePort", "10.96.0.5", 30001),
        service("c", "NodePort", "10.97.0.5", 80),
        service("d", address="x"),
        service("e", address="None"),
    ]
    found = audit_addresses(held, addresses, {_number(addresses, "10.96.0.5"), _number(addresses, "10.96.0.6")})
    assert [(finding.service.metadata.name, finding.reason, finding.message) for finding in found.findings] == [
        ("b", "ClusterIPAlreadyAllocated", "Cluster IP [IPv4]: 10.96.0.5 was assigned to multiple services; please recreate service"),
        (
            "c",
            "ClusterIPOutOfRange",
            "Cluster IP [IPv4]: 10.97.0.5 is not within the service CIDR 10.96.0.0/28; please recreate service",
        ),
        ("d", "ClusterIPNotValid", "Cluster IP x is not a valid IP; please recreate service"),
    ]
    assert found.leaked == {addresses.number("10.96.0.6")} and found.held == {addresses.number("10.96.0.5")}
    assert [(finding.service.metadata.name, finding.reason, finding.message) for finding in audit_ports(held, ports, set()).findings] == [
        ("a", "PortNotAllocated", "Port 30001 is not allocated; repairing"),
        ("b", "PortAlreadyAllocated", "Port 30001 was assigned to multiple services; please recreate service"),
        ("c", "PortOutOfRange", "Port 80 is not within the port range 30000-30004; please recreate service"),
    ]


def test_the_lower_part_of_a_range_is_left_to_those_who_ask_for_it() -> None:
    numbers, addresses = NumberRange(30000, 32767), AddressRange("10.96.0.0/16")
    assert (numbers.reserved, addresses.reserved, AddressRange("10.96.0.0/28").reserved) == (86, 256, 0)
    assert all((numbers.choose(set()) or 0) >= 30086 for _ in range(200))
    assert numbers.choose(set(range(30086, 32768))) in range(30000, 30086)
    assert _number(addresses, "10.96.0.10") < addresses.first + addresses.reserved


def test_bitmaps_are_kubernetes_own() -> None:
    numbers = NumberRange(30000, 32767)
    assert numbers.encode({30000, 30009}) == b"\x02\x01" and numbers.decode(b"\x02\x01") == {30000, 30009}
    assert numbers.decode(numbers.encode({30000, 31234, 32767})) == {30000, 31234, 32767}
    assert numbers.flip(numbers.encode({30000, 31234}), {30000, 30001}) == numbers.encode({30001, 31234})
    assert NumberRange(1, 2).choose({1, 2}) is None
