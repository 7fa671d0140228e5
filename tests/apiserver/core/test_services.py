"""Cluster addresses and node ports on a real etcd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError
from knarr.machinery.kinds import KINDS
from services.apiserver.allocators.addresses import AddressRange
from services.apiserver.allocators.numbers import NumberRange
from services.apiserver.allocators.repair import repair
from services.apiserver.allocators.services import ServiceAllocators, held_address, held_ports
from services.apiserver.api import Api, Ref
from services.apiserver.bootstrap import bootstrap
from services.apiserver.pipeline.backend import Backend
from services.apiserver.storage.store import Transaction

pytestmark = pytest.mark.etcd
KIND = KINDS.by_message(core.Service)
REF = Ref(KIND, "default")


def service(name: str, type_: str = "ClusterIP", address: str = "", port: int = 0) -> core.Service:
    obj = core.Service()
    obj.metadata.name = name
    obj.spec.type, obj.spec.cluster_ip = type_, address
    obj.spec.ports.add(port=80, node_port=port)
    return obj


def make_api(backend: Backend, cidr: str = "10.96.0.0/28") -> Api:
    return Api(backend, ServiceAllocators(backend.store, AddressRange(cidr), NumberRange(30000, 30004)))


@pytest.fixture
async def services(backend: Backend) -> AsyncIterator[Api]:
    """An API whose records equal what the Services hold at the end."""
    api = make_api(backend)
    await bootstrap(api, "10.96.0.1", "", 0)
    yield api
    allocators: Any = api.allocators
    found: list[Any] = [entry.message for entry in (await api.list(Ref(KIND), meta.ListOptions())).entries]
    addresses, _ = await allocators.address_ledger.read()
    assert addresses == {allocators.addresses.number(held_address(one)) for one in found if held_address(one)}
    ports, _ = await allocators.port_ledger.read()
    assert ports == {port for one in found for port in held_ports(one)}


async def create(api: Api, obj: core.Service) -> Any:
    return (await api.create(REF, obj, meta.CreateOptions())).message


async def test_everybody_gets_another_address_until_the_range_is_full(services: Api) -> None:
    created = await asyncio.gather(*(create(services, service(f"s{number}")) for number in range(13)))
    addresses = {one.spec.cluster_ip for one in created}
    assert len(addresses) == 13 and "10.96.0.1" not in addresses
    assert all(one.spec.cluster_ips == [one.spec.cluster_ip] for one in created)
    with pytest.raises(StatusError, match="range is full"):
        await create(services, service("late"))
    await services.delete(Ref(KIND, "default", "s3"), meta.DeleteOptions())
    assert (await create(services, service("late"))).spec.cluster_ip == created[3].spec.cluster_ip


async def test_two_servers_agree(services: Api) -> None:
    other = make_api(services.backend)
    created = await asyncio.gather(
        *(create(api, service(f"s{number}-{index}")) for number in range(4) for index, api in enumerate((services, other))),
        return_exceptions=True,
    )
    stored = [one for one in created if not isinstance(one, BaseException)]
    assert len(stored) >= 2 and len({one.spec.cluster_ip for one in stored}) == len(stored)


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        (
            service("a", address="10.96.0.1"),
            'Service "a" is invalid: spec.clusterIPs: Invalid value: []string{"10.96.0.1"}: '
            "failed to allocate IP 10.96.0.1: provided IP is already allocated",
        ),
        (
            service("a", address="10.9.0.1"),
            'Service "a" is invalid: spec.clusterIPs: Invalid value: []string{"10.9.0.1"}: failed to allocate IP 10.9.0.1: '
            "the provided IP (10.9.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/28",
        ),
        (
            service("a", "NodePort", port=80),
            'Service "a" is invalid: spec.ports[0].nodePort: Invalid value: 80: '
            "provided port is not in the valid range. The range of valid ports is 30000-30004",
        ),
    ],
)
async def test_requests_are_refused_in_kubernetes_words(services: Api, obj: core.Service, words: str) -> None:
    with pytest.raises(StatusError) as caught:
        await create(services, obj)
    assert (caught.value.reason, caught.value.status.message) == ("Invalid", words)


async def test_requested_values_are_honoured_and_node_ports_come_and_go(services: Api) -> None:
    created = await create(services, service("a", "NodePort", "10.96.0.5", 30002))
    assert (created.spec.cluster_ip, created.spec.ports[0].node_port) == ("10.96.0.5", 30002)
    with pytest.raises(StatusError, match="30002: provided port is already allocated"):
        await create(services, service("b", "NodePort", port=30002))
    created.spec.type = "ClusterIP"
    await services.update(Ref(KIND, "default", "a"), created, meta.UpdateOptions())
    assert (await create(services, service("b", "NodePort", port=30002))).spec.ports[0].node_port == 30002
    headless = await create(services, service("h", address="None"))
    assert headless.spec.cluster_ip == "None"


async def test_a_dry_run_takes_nothing(services: Api) -> None:
    written: Any = (await services.create(REF, service("a", "NodePort"), meta.CreateOptions(dry_run=["All"]))).message
    assert written.spec.cluster_ip and written.spec.ports[0].node_port


async def test_repair_records_what_is_held_and_frees_the_rest(services: Api, backend: Backend) -> None:
    await create(services, service("a", "NodePort"))
    allocators: Any = services.allocators
    for ledger, wrong in ((allocators.address_ledger, {allocators.addresses.number("10.96.0.9")}), (allocators.port_ledger, set())):
        _, revision = await ledger.read()
        extra = ledger.change(wrong, revision)
        outcome = await backend.store.commit(Transaction(extra.guards, extra.puts))
        await backend.cache.wait_for(outcome.revision, 5)
    await repair(backend, allocators)


def test_bitmaps_are_kubernetes_own() -> None:
    numbers = NumberRange(30000, 32767)
    assert numbers.encode([30000, 30009]) == b"\x02\x01" and numbers.decode(b"\x02\x01") == {30000, 30009}
    assert numbers.decode(numbers.encode({30000, 31234, 32767})) == {30000, 31234, 32767}
    assert NumberRange(1, 2).choose({1, 2}) is None
