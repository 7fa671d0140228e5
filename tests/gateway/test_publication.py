"""Several instances behind one Service: its endpoints, its ports, its addresses in the status of what is served."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.client.leader import Election, LeaseSettings
from services.gateway.__main__ import main
from services.gateway.haproxy.process import Haproxy, ProxyError
from services.gateway.haproxy.program import Reload
from services.gateway.routing.table import passed
from services.gateway.settings import Published
from tests.gateway.certificates import keypair
from tests.gateway.world import NAMESPACE, World, ingress_of, needs_haproxy, world
from tests.support.api import FaultyApi
from tests.support.ports import free_port

pytestmark = [pytest.mark.asyncio, needs_haproxy]

SYSTEM, SERVICE = "kube-system", "knarr-gateway"
FIRST, SECOND = "192.0.2.11", "192.0.2.12"
# Short enough for a test, and long enough for a busy machine.
LEASE = LeaseSettings(duration_seconds=3.0, renew_deadline_seconds=2.0, retry_seconds=0.2)
Open = contextlib.AbstractAsyncContextManager[World]


def published(folder: Path, name: str, address: str, api: FaultyApi | None = None, **settings: Any) -> Open:
    own = Published(SYSTEM, SERVICE, address, name, renew_seconds=0.05, lease_seconds=1.0, drain_seconds=0.0)
    election = Election(name, held=True, lease=LEASE)
    return world(folder / name, api, published=own, election=election, **settings)


@pytest.fixture
async def first(tmp_path: Path) -> AsyncIterator[World]:
    async with published(tmp_path, "node-1", FIRST) as made:
        yield made


@pytest.fixture
async def second(tmp_path: Path, first: World) -> AsyncIterator[World]:
    async with published(tmp_path, "node-2", SECOND, first.api) as made:
        yield made


def service(w: World) -> core.Service | None:
    return next((each for each in w.api.all(core.Service, SYSTEM) if each.metadata.name == SERVICE), None)


def ports(w: World) -> dict[int, int]:
    found = service(w)
    return {port.port: port.target_port.int_val for port in found.spec.ports} if found is not None else {}


def endpoints(w: World) -> dict[str, bool]:
    """Whether each may be asked, by its address."""
    return {
        address: endpoint.conditions.ready
        for piece in w.api.all(discovery.EndpointSlice, SYSTEM)
        for endpoint in piece.endpoints
        for address in endpoint.addresses
    }


async def give(w: World, *entries: dict[str, str]) -> None:
    """As the cloud controller manager does."""
    patch = {"status": {"loadBalancer": {"ingress": list(entries)}}}
    await w.client.patch(core.Service, SERVICE, SYSTEM, patch=patch, subresource="status")


async def test_a_service_is_made_with_what_is_served_and_its_addresses_are_told(first: World) -> None:
    w = first
    assert service(w) is None and w.gateway.leadership.standing_by is False, "nothing is kept before anything is served"
    await w.client.create(ingress_of())
    await w.until(lambda: endpoints(w) == {FIRST: True})
    made = service(w)
    assert made is not None and (made.spec.type, made.spec.external_traffic_policy) == ("LoadBalancer", "Local")
    assert ports(w) == {80: w.settings.http_port, 443: w.settings.https_port}
    assert not any(port.node_port for port in made.spec.ports)
    (piece,) = w.api.all(discovery.EndpointSlice, SYSTEM)
    assert {port.name: port.port for port in piece.ports} == {"port-80": w.settings.http_port, "port-443": w.settings.https_port}
    assert piece.endpoints[0].node_name == "node-1"
    assert not w.addresses(), "no address is told before there is one"
    await give(w, {"ip": "192.0.2.80"}, {"hostname": "lb.example"})
    await w.until(
        lambda: [entry.ip or entry.hostname for entry in w.ingress().status.load_balancer.ingress] == ["192.0.2.80", "lb.example"]
    )
    await give(w, {"ip": "192.0.2.81"})
    await w.until(lambda: w.addresses() == ["192.0.2.81"])
    await w.client.delete(networking.Ingress, "web", NAMESPACE)
    await w.until(lambda: not endpoints(w))
    assert service(w) is not None, "it keeps its address for the next one"


async def test_it_says_that_it_lives_only_while_something_is_served(first: World) -> None:
    def leases() -> set[str]:
        return {lease.metadata.name for lease in first.api.all(coordination.Lease, SYSTEM)} - {SERVICE}

    assert not leases()
    for _ in range(2):
        await first.client.create(ingress_of())
        await first.until(lambda: leases() == {f"{SERVICE}-node-1"} and endpoints(first) == {FIRST: True})
        await first.client.delete(networking.Ingress, "web", NAMESPACE)
        await first.until(lambda: not leases() and not endpoints(first))


async def test_routes_that_change_are_no_reason_to_say_it_more_often(first: World) -> None:
    await first.client.create(ingress_of())
    await first.until(lambda: endpoints(first) == {FIRST: True})
    publication = first.gateway.publication
    assert publication is not None
    # It may be registered before its proxy has started, and hears of its own ports once more when that has.
    await first.until(lambda: first.gateway.executor.changes)
    # What it has just written comes back to it, too.
    held, stored = publication.services.store, service(first)
    assert stored is not None
    await first.until(lambda: (own := held.get(SYSTEM, SERVICE)) and own.metadata.resource_version == stored.metadata.resource_version)
    looked = 0

    def look() -> None:
        nonlocal looked
        looked += 1

    publication.registration.look = look  # type: ignore[method-assign]
    changes = first.gateway.executor.changes
    for number in range(5):
        await first.client.create(ingress_of(f"more-{number}", f"more-{number}.example"))
    await first.until(lambda: first.gateway.executor.changes > changes)
    assert not looked


async def test_each_is_an_endpoint_and_one_that_stops_is_none_any_more(tmp_path: Path, first: World) -> None:
    await first.client.create(ingress_of())
    async with published(tmp_path, "node-2", SECOND, first.api):
        await first.until(lambda: endpoints(first) == {FIRST: True, SECOND: True})
    assert endpoints(first) == {FIRST: True}


async def test_the_endpoint_of_one_that_died_is_taken_away(first: World) -> None:
    await first.client.create(ingress_of())
    await first.until(lambda: endpoints(first) == {FIRST: True})
    own = next(piece for piece in first.api.all(discovery.EndpointSlice, SYSTEM))
    dead = discovery.EndpointSlice()
    dead.CopyFrom(own)
    dead.ClearField("metadata")
    dead.metadata.namespace, dead.metadata.name = SYSTEM, f"{SERVICE}-dead"
    dead.metadata.labels.update(own.metadata.labels)
    dead.endpoints[0].addresses[:] = [SECOND]
    await first.client.create(dead)
    await first.until(lambda: endpoints(first) == {FIRST: True})


async def test_one_writes_what_objects_are_told_and_is_followed(first: World, second: World) -> None:
    await first.client.create(ingress_of())
    await first.until(lambda: endpoints(first) == {FIRST: True, SECOND: True})
    await first.until(lambda: first.gateway.leadership.standing_by != second.gateway.leadership.standing_by)
    leader, other = (first, second) if second.gateway.leadership.standing_by else (second, first)
    await give(first, {"ip": "192.0.2.80"})
    await first.until(lambda: first.addresses() == ["192.0.2.80"])
    leader.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leader.task
    await give(other, {"ip": "192.0.2.81"})
    await other.until(lambda: other.addresses() == ["192.0.2.81"])
    assert not other.gateway.leadership.standing_by
    (lease,) = (each for each in other.api.all(coordination.Lease, SYSTEM) if each.metadata.name == SERVICE)
    assert lease.spec.holder_identity == ("node-2" if leader is first else "node-1")


async def test_one_that_cannot_open_a_port_leaves_it_to_one_that_can(tmp_path: Path, first: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        async with published(tmp_path, "node-2", SECOND, first.api, http_port=taken.getsockname()[1]) as other:
            await first.client.create(ingress_of())
            await first.until(lambda: endpoints(first) == {FIRST: True, SECOND: False})
            assert other.gateway.executor.closed.keys() == {80}
            first.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await first.task
            await other.until(lambda: endpoints(other) == {SECOND: True})


async def test_a_port_that_tls_ends_at_and_is_passed_on_at_is_published_once_by_its_number(tmp_path: Path) -> None:
    async with published(tmp_path, "node-1", FIRST, gateway_api=True) as w:
        ended = {"name": "ended", "port": 443, "protocol": "HTTPS", "hostname": "ended.example"}
        taken = {"name": "passed", "port": 443, "protocol": "TLS", "hostname": "passed.example", "tls": {"mode": "Passthrough"}}
        listeners = [{**ended, "tls": {"certificateRefs": [{"name": "pair"}]}}, taken]
        await w.client.create(ingress_of())
        await w.certificate("pair", keypair("ended.example"))
        await w.put("Gateway", "edge", {"gatewayClassName": "knarr", "listeners": listeners})
        await w.until(lambda: passed(443) in w.gateway.executor.listeners)
        await w.until(lambda: endpoints(w) == {FIRST: True})
        assert ports(w) == {80: w.settings.http_port, 443: w.settings.https_port}
        (piece,) = w.api.all(discovery.EndpointSlice, SYSTEM)
        assert sorted(port.port for port in piece.ports) == sorted((w.settings.http_port, w.settings.https_port))


async def test_one_is_asked_only_when_its_proxy_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reload = Haproxy.reload

    async def refused(proxy: Haproxy, change: Reload) -> None:
        raise ProxyError("it is not installed")

    monkeypatch.setattr(Haproxy, "reload", refused)
    async with published(tmp_path, "node-1", FIRST) as w:
        await w.client.create(ingress_of())
        await w.until(lambda: endpoints(w) == {FIRST: False})
        monkeypatch.setattr(Haproxy, "reload", reload)
        await w.until(lambda: endpoints(w) == {FIRST: True})
        assert w.gateway.executor.process.pid


async def test_one_whose_proxy_cannot_be_started_again_is_asked_no_more(first: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await first.client.create(ingress_of())
    await first.until(lambda: endpoints(first) == {FIRST: True})
    started = Haproxy._started

    async def refused(proxy: Haproxy, folder: Path, before: Any) -> Any:
        raise ProxyError("there is no memory")

    monkeypatch.setattr(Haproxy, "_started", refused)
    os.kill(first.gateway.executor.process.pid, signal.SIGKILL)
    await first.until(lambda: endpoints(first) == {FIRST: False})
    monkeypatch.setattr(Haproxy, "_started", started)
    await first.until(lambda: endpoints(first) == {FIRST: True})


async def test_a_service_that_is_there_stays_as_it_is_but_for_its_ports(first: World) -> None:
    made = core.Service()
    made.metadata.namespace, made.metadata.name = SYSTEM, SERVICE
    made.metadata.annotations["knarr.io/load-balancer-ip"] = "192.0.2.90"
    made.spec.type = "LoadBalancer"
    for name, port in (("web", 80), ("old", 8080)):
        made.spec.ports.add(name=name, port=port)
    await first.client.create(made)
    await first.client.create(ingress_of())
    await first.until(lambda: set(ports(first)) == {80, 443})
    found = service(first)
    assert found is not None and found.spec.external_traffic_policy == "Cluster"
    assert found.metadata.annotations == made.metadata.annotations
    await first.until(
        lambda: {port.name for piece in first.api.all(discovery.EndpointSlice, SYSTEM) for port in piece.ports} == {"web", "port-443"}
    )


async def test_a_service_that_leads_to_pods_is_told_of(first: World) -> None:
    made = core.Service()
    made.metadata.namespace, made.metadata.name = SYSTEM, SERVICE
    made.spec.selector["app"] = "web"
    made.spec.ports.add(name="web", port=80)
    await first.client.create(made)
    await first.client.create(ingress_of())
    await first.until(lambda: any("has a selector" in words for words in first.gateway.problems()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--publish-service=gateway"], "'gateway' is not NAMESPACE/NAME of a Service, like kube-system/knarr-gateway"),
        (["--publish-service=kube-system/g"], "--publish-service needs one --address of this machine"),
        (["--publish-service=kube-system/g", "--address=0.0.0.0"], "--publish-service needs one --address of this machine"),
        (
            ["--publish-service=kube-system/g", "--address=192.0.2.1", "--status-address=192.0.2.2"],
            "--publish-service and --status-address",
        ),
        (["--leader-elect", "--leader-elect-lease-duration=1"], "--leader-elect-lease-duration (1 s or more) must exceed"),
    ],
)
async def test_options_that_do_not_fit_are_named(
    options: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("server.crt", "server.key", "ca.crt"):
        (tmp_path / name).touch()
    given = [
        "gateway",
        f"--trust={tmp_path}",
        "--credential=certificate",
        f"--client-ca-file={tmp_path}/ca.crt",
        "--apiserver=192.0.2.9:6445",
    ]
    monkeypatch.setattr("sys.argv", [*given, *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and words in capsys.readouterr().err
