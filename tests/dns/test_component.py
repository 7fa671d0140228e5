"""The component: from the API's objects to answers over real sockets, its registration, and what it says of itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import dns.asyncquery
import dns.message
import dns.rcode
import grpc
import pytest

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.dns.v1 import dns_service_pb2 as messages
from knarr.machinery.errors import status_error
from knarr.objects.labels import SERVICE_NAME, SLICE_MANAGED_BY
from knarr.service.errors import CommandError
from services.dns.__main__ import main
from services.dns.component import Dns
from services.dns.registration import MANAGER
from services.dns.servicer import DnsServicer
from services.dns.settings import DnsSettings
from tests.dns.laboratory import in_words, query
from tests.dns.upstreams import LOOPBACK, address, fake_upstream, nothing
from tests.proxy.objects import service, slice_of
from tests.support.api import FaultyApi, FaultyClient
from tests.support.rights import DNS

CLUSTER_IP = "10.96.0.10"
# No API server takes a loopback address as an endpoint.
ADVERTISED = "192.0.2.53"
WAIT_SECONDS = 10.0
WEB = "web.default.svc.cluster.local"
DB = "db.default.svc.cluster.local"


@dataclass
class Running:
    dns: Dns
    api: FaultyApi
    client: FaultyClient
    task: asyncio.Task[None]

    async def ask(self, name: str, kind: str = "A", *, tcp: bool = False) -> Any:
        """As the scenario files have answers."""
        asked = dns.message.from_wire(query(name, kind))
        send = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
        return in_words(await send(asked, LOOPBACK, timeout=WAIT_SECONDS, port=self.dns.port))

    async def until(self, condition: Callable[[], Any]) -> Any:
        async with asyncio.timeout(WAIT_SECONDS):
            while not (found := condition()):  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            return found

    async def until_answer(self, name: str, expected: Any) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while await self.ask(name) != expected:  # noqa: ASYNC110
                await asyncio.sleep(0.002)

    def names(self) -> list[str]:
        """Of the endpoints of kube-dns."""
        return sorted(piece.metadata.name for piece in self.api.all(discovery.EndpointSlice, "kube-system"))

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


def namespace(name: str) -> core.Namespace:
    made = core.Namespace()
    made.metadata.name = name
    return made


def seeded() -> FaultyApi:
    api = FaultyApi()
    headless = service("db", cluster_ip="None")
    api.seed(namespace("default"), namespace("kube-system"), service(cluster_ip="10.96.0.20"), headless, slice_of("db", ["10.244.0.5"]))
    return api


@contextlib.asynccontextmanager
async def running(api: FaultyApi, *, wait: bool = True, **changes: Any) -> AsyncIterator[Running]:
    quick = {
        "port": 0,
        "cluster_ip": CLUSTER_IP,
        "advertise_address": ADVERTISED,
        "renew_seconds": 0.02,
        "lease_seconds": 1.0,
        "drain_seconds": 0.05,
        "upstreams": ("192.0.2.1",),
    }
    component = Dns(api.client(DNS), DnsSettings(LOOPBACK, **{**quick, **changes}))
    found = Running(component, api, api.client(), asyncio.create_task(component.run()))
    try:
        await found.until(lambda: component.ready or found.task.done() or (not wait and component.port))
        yield found
    finally:
        await found.stop()


async def test_names_are_answered_over_udp_and_tcp() -> None:
    async with running(seeded()) as found:
        for tcp in (False, True):
            assert await found.ask(WEB, tcp=tcp) == ["A 10.96.0.20"]
            assert await found.ask(f"nope.{WEB}", tcp=tcp) == "NXDOMAIN"
            assert await found.ask(DB, tcp=tcp) == ["A 10.244.0.5"]
        assert found.dns.instance.counters.udp == 3 and found.dns.instance.counters.tcp == 3


async def test_a_changed_endpoint_is_answered_within_a_tenth_of_a_second() -> None:
    """The machine may be busy: a few of ten changes count."""
    async with running(seeded()) as found:
        assert await found.ask(DB) == ["A 10.244.0.5"]
        took = []
        for last in range(6, 16):
            await found.client.update(slice_of("db", [f"10.244.0.{last}"]))
            started = time.monotonic()
            await found.until_answer(DB, [f"A 10.244.0.{last}"])
            took.append(time.monotonic() - started)
        assert sorted(took)[2] < 0.1, took
        await found.client.delete(core.Service, "db", "default")
        await found.until_answer(DB, "NXDOMAIN")
        await found.client.create(namespace("new"))
        await found.until_answer("new.svc.cluster.local", "NODATA")


async def test_what_is_no_address_keeps_no_other_name_from_being_served() -> None:
    """The API refuses it; what is stored may be older than the check."""
    api = seeded()
    api.seed(service("odd", cluster_ip="None"), slice_of("odd", ["fd00::1%eth0"]), checked=False)
    async with running(api) as found:
        assert await found.ask(DB) == ["A 10.244.0.5"]
        api.seed(slice_of("odd", ["fd00::2%eth0"]), checked=False)
        await found.client.update(slice_of("db", ["10.244.0.6"]))
        await found.until_answer(DB, ["A 10.244.0.6"])
        await found.client.update(slice_of("odd", ["10.244.0.7"]))
        await found.until_answer("odd.default.svc.cluster.local", ["A 10.244.0.7"])


async def test_changes_that_come_fast_are_taken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(seeded()) as found:
        await found.ask(DB)
        taken = 0
        put = found.dns.instance.zone.put_service

        def counted(*arguments: Any) -> set[str]:
            nonlocal taken
            taken += 1
            return put(*arguments)

        monkeypatch.setattr(found.dns.instance.zone, "put_service", counted)
        for last in range(200):
            await found.client.update(slice_of("db", [f"10.244.1.{last}"]))
        await found.until_answer(DB, ["A 10.244.1.199"])
        assert taken < 100


async def test_nothing_of_the_cluster_is_answered_before_all_is_known() -> None:
    api = seeded()
    api.fail_next(status_error("ServiceUnavailable", "not yet"), verb="list", message_type=discovery.EndpointSlice, times=10_000)
    async with running(api, wait=False) as found:
        await found.until(lambda: found.dns.instance.follower.services.synced)
        assert await found.ask(WEB) == "SERVFAIL"
        assert not found.dns.ready and not found.names()
        status = await DnsServicer(found.dns.instance).GetStatus(messages.GetStatusRequest(), None)
        assert not status.synced and "not complete yet" in status.problems[0]
        api.heal()
        await found.until(lambda: found.dns.ready)
        assert await found.ask(WEB) == ["A 10.96.0.20"]


async def test_the_last_names_are_answered_while_the_api_server_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.dns.heartbeat.HEARTBEAT_SECONDS", 0.02)
    api = seeded()
    async with running(api) as found:
        await found.until(lambda: found.dns.instance.heartbeat.reachable)
        gone = status_error("ServiceUnavailable", "away")
        for verb in ("get", "list", "watch", "update", "create"):
            api.fail_next(gone, verb=verb, times=100_000)
        api.break_watches()
        await found.until(lambda: not found.dns.instance.heartbeat.reachable and found.dns.instance.registration.problem)
        assert await found.ask(WEB) == ["A 10.96.0.20"]
        assert found.dns.ready
        status = await DnsServicer(found.dns.instance).GetStatus(messages.GetStatusRequest(), None)
        assert status.synced and not status.api_reachable and status.last_heard.seconds
        assert [problem.partition(":")[0] for problem in status.problems] == [
            "this instance cannot be registered",
            "the API server cannot be reached",
        ]
        api.heal()
        await found.until(lambda: found.dns.instance.heartbeat.reachable and not found.dns.instance.problems())


async def test_an_instance_is_an_endpoint_of_kube_dns_until_it_stops() -> None:
    api = seeded()
    async with running(api, instance="one", node_name="node-1") as found:
        (made,) = [found for found in api.all(core.Service, "kube-system") if found.metadata.name == "kube-dns"]
        assert made.spec.cluster_ip == CLUSTER_IP and not made.spec.selector
        assert [(port.name, port.protocol, port.port) for port in made.spec.ports] == [("dns", "UDP", 53), ("dns-tcp", "TCP", 53)]
        (piece,) = api.all(discovery.EndpointSlice, "kube-system")
        assert piece.metadata.name == "kube-dns-one" and piece.metadata.labels[SLICE_MANAGED_BY] == MANAGER
        assert [port.port for port in piece.ports] == [found.dns.port] * 2
        assert list(piece.endpoints[0].addresses) == [ADVERTISED] and piece.endpoints[0].node_name == "node-1"
        await found.until_answer("kube-dns.kube-system.svc.cluster.local", [f"A {CLUSTER_IP}"])
        await api.client().delete(discovery.EndpointSlice, "kube-dns-one", "kube-system")
        await found.until(lambda: found.names() == ["kube-dns-one"])
        stopping = asyncio.create_task(found.stop())
        await found.until(lambda: not found.names())
        assert await found.ask(WEB) == ["A 10.96.0.20"], "it answers on while others hear that it goes"
        await stopping
    assert not api.all(coordination.Lease, "kube-system")


async def test_living_instances_take_away_the_endpoints_of_dead_ones() -> None:
    api = seeded()
    orphan = discovery.EndpointSlice(address_type="IPv4")
    orphan.metadata.namespace, orphan.metadata.name = "kube-system", "kube-dns-orphan"
    orphan.metadata.labels.update({SERVICE_NAME: "kube-dns", SLICE_MANAGED_BY: MANAGER})
    foreign = slice_of("kube-dns", ["192.0.2.9"], suffix="foreign")
    foreign.metadata.namespace = "kube-system"
    api.seed(orphan, foreign)
    async with running(api, instance="one") as first, running(api, instance="two") as second:
        await second.until(lambda: {"kube-dns-one", "kube-dns-two"} <= set(second.names()))
        # Dies without a word.
        first.dns.instance.registration.leave = _nothing  # type: ignore[method-assign]
        await first.stop()
        await second.until(lambda: second.names() == ["kube-dns-foreign", "kube-dns-two"])
        assert second.dns.ready


async def _nothing() -> None:
    pass


async def test_nobody_is_taken_for_dead_after_a_time_in_which_nobody_could_renew() -> None:
    api = seeded()
    async with running(api, instance="one", lease_seconds=1.0) as first, running(api, instance="two", lease_seconds=1.0) as second:
        await second.until(lambda: {"kube-dns-one", "kube-dns-two"} <= set(second.names()))
        api.fail_next(status_error("ServiceUnavailable", "away"), verb="update", message_type=coordination.Lease, times=100_000)
        before = len(api.writes)
        # Longer than a Lease holds: each of them tries every 0.02 s.
        await second.until(lambda: len(api.writes) - before > 2 * 60)
        assert first.dns.instance.registration.problem and second.dns.instance.registration.problem
        api.heal()
        await second.until(lambda: not second.dns.instance.registration.problem)
        deletes = [write for write in api.writes if write.verb == "delete"]
        assert not deletes


async def test_a_service_with_another_address_is_told() -> None:
    api = seeded()
    other = service("kube-dns", cluster_ip="10.96.0.99")
    other.metadata.namespace = "kube-system"
    api.seed(other)
    async with running(api) as found:
        await found.until(lambda: found.dns.instance.registration.problem)
        assert "has address 10.96.0.99, not 10.96.0.10" in found.dns.instance.problems()[0]


async def test_upstreams_and_aliases_over_sockets() -> None:
    async with fake_upstream(address) as upstream:
        api = seeded()
        alias = service("far", cluster_ip="")
        alias.spec.type, alias.spec.external_name = "ExternalName", "example.com"
        api.seed(alias)
        async with running(api, upstreams=(upstream.address,)) as found:
            assert await found.ask("example.com") == ["A 192.0.2.80"]
            assert await found.ask("example.com", tcp=True) == ["A 192.0.2.80"]
            assert await found.ask("far.default.svc.cluster.local") == ["CNAME example.com.", "example.com A 192.0.2.80"]
            status = await DnsServicer(found.dns.instance).GetStatus(messages.GetStatusRequest(), None)
            assert status.cache_entries >= 1 and status.cache_hits >= 2
            assert status.upstreams[0].address == upstream.address and status.upstreams[0].healthy


async def test_the_answer_of_others_is_ready_for_a_second() -> None:
    async with fake_upstream(address) as upstream, running(seeded(), upstreams=(upstream.address,)) as found:
        for _ in range(3):
            assert await found.ask("example.com") == ["A 192.0.2.80"]
        assert found.dns.instance.counters.ready_hits == 2
        await found.until(lambda: len(found.dns.instance.responder.ready("udp")) == 0)
        assert await found.ask("example.com") == ["A 192.0.2.80"]
        assert [name for name, kind, _ in upstream.asked if kind == "A"] == ["example.com."]


async def test_a_dead_upstream_does_not_touch_the_clusters_names() -> None:
    patient: dict[str, Any] = {"upstream_try_seconds": 60.0, "upstream_limit_seconds": 60.0}
    async with fake_upstream(nothing) as dead, running(seeded(), upstreams=(dead.address,), **patient) as found:
        outside = [asyncio.create_task(found.ask(f"{number}.example.com")) for number in range(100)]
        await found.until(lambda: dead.asked)
        for _ in range(20):
            assert await found.ask(WEB) == ["A 10.96.0.20"]
        assert not any(task.done() for task in outside)
        for task in outside:
            task.cancel()
        await asyncio.wait(outside)


async def test_a_dead_upstream_is_told_of() -> None:
    quick: dict[str, Any] = {"upstream_try_seconds": 0.1, "upstream_limit_seconds": 0.2}
    async with fake_upstream(nothing) as dead, running(seeded(), upstreams=(dead.address,), **quick) as found:
        assert set(await asyncio.gather(*(found.ask(f"{number}.example.com") for number in range(20)))) == {"SERVFAIL"}


async def test_queries_of_one_connection_are_answered_as_they_are_ready() -> None:
    async with fake_upstream(address) as upstream:
        upstream.delay_seconds = 0.1
        async with running(seeded(), upstreams=(upstream.address,)) as found:
            reader, writer = await asyncio.open_connection(LOOPBACK, found.dns.port)
            for number, name in enumerate(("slow.example.com", WEB, DB)):
                wire = query(name, id=number)
                writer.write(len(wire).to_bytes(2, "big") + wire)
            writer.write_eof()
            ids = []
            async with asyncio.timeout(WAIT_SECONDS):
                for _ in range(3):
                    length = int.from_bytes(await reader.readexactly(2), "big")
                    ids.append(dns.message.from_wire(await reader.readexactly(length)).id)
                assert await reader.read() == b""
            assert ids == [1, 2, 0]
            writer.close()
            await writer.wait_closed()


async def test_connections_are_bounded_in_number_and_time() -> None:
    async with running(seeded(), tcp_connections=5, tcp_idle_seconds=0.3) as found:
        opened = [await asyncio.open_connection(LOOPBACK, found.dns.port) for _ in range(5)]
        await found.until(lambda: found.dns._tcp.connections == 5)
        reader, writer = await asyncio.open_connection(LOOPBACK, found.dns.port)
        opened.append((reader, writer))
        async with asyncio.timeout(WAIT_SECONDS):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            assert await found.ask(WEB) == ["A 10.96.0.20"]
            # The others are idle, one of them in the middle of a message.
            opened[0][1].write(b"\0")
            for other, _ in opened[:5]:
                assert await other.read() == b""
        await found.until(lambda: found.dns._tcp.connections == 0)
        assert await found.ask(WEB, tcp=True) == ["A 10.96.0.20"]
        for _, writer in opened:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def test_garbage_does_not_stop_the_servers() -> None:
    async with running(seeded()) as found:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(LOOPBACK, found.dns.port))
        for size in range(200):
            transport.sendto(bytes((size * 7 + place * 13) % 256 for place in range(size)))
        transport.close()
        reader, writer = await asyncio.open_connection(LOOPBACK, found.dns.port)
        writer.write(b"\xff\xff" + bytes(65535))
        async with asyncio.timeout(WAIT_SECONDS):
            await reader.read(100)
        writer.close()
        await writer.wait_closed()
        assert await found.ask(WEB) == ["A 10.96.0.20"]
        assert not found.task.done()


async def test_explain_says_which_step_object_and_rule() -> None:
    async with running(seeded()) as found:
        servicer = DnsServicer(found.dns.instance)
        answer = await servicer.Explain(messages.ExplainRequest(name="web.default"), None)
        assert [(step.name, step.code) for step in answer.steps] == [
            ("web.default.default.svc.cluster.local", "NXDOMAIN"),
            (WEB, "NOERROR"),
        ]
        assert answer.steps[0].rule == "there is no Service default in namespace default"
        assert list(answer.steps[1].objects) == ["Service default/web"]
        assert [record.data for record in answer.answers] == ["10.96.0.20"]
        assert {record.type for record in answer.records} == {"A", "SRV"}
        missing = await servicer.Explain(messages.ExplainRequest(name=f"nope.{DB}."), None)
        assert missing.steps[0].rule == "Service default/db has no such ready endpoint, or is not headless"
        ready = await servicer.Explain(messages.ExplainRequest(name="db"), None)
        assert list(ready.notes) == ["Service default/db has 1 ready endpoints of 1"]
        resolved = await servicer.Resolve(messages.ResolveRequest(name="_http._tcp.db", type="srv"), None)
        assert resolved.code == "NOERROR" and len(resolved.answers) == 1 and len(resolved.additional) == 1


class Refused(Exception):
    pass


class Context:
    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise Refused(f"{code.name} {details}")


@pytest.mark.parametrize(
    ("name", "kind", "words"), [("", "", "name"), ("a..b", "", "name"), ("x" * 64, "", "name"), ("web", "NOPE", "type")]
)
async def test_questions_that_are_none(name: str, kind: str, words: str) -> None:
    async with running(seeded()) as found:
        with pytest.raises(Refused, match=f"INVALID_ARGUMENT {words}: "):
            await DnsServicer(found.dns.instance).Resolve(messages.ResolveRequest(name=name, type=kind), Context())


async def test_a_port_that_is_taken_is_told_in_a_line() -> None:
    async with running(seeded()) as found:
        other = Dns(seeded().client(), DnsSettings(LOOPBACK, port=found.dns.port))
        with pytest.raises(CommandError, match=f"cannot serve DNS on {LOOPBACK}:{found.dns.port}: Address already in use"):
            await other.run()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--address=0.0.0.0"], "argument --address: '0.0.0.0' is no address that pods can reach"),
        (["--address=127.0.0.1", "--upstream=example.com"], "argument --upstream: 'example.com' is not IP or IP:PORT"),
        (["--address=127.0.0.1", "--cluster-domain=a..b"], "argument --cluster-domain: 'a..b' is not a domain name"),
        (["--address=127.0.0.1", "--port=0"], "argument --port: '0' is not a number from 1 to 65535"),
    ],
)
def test_wrong_options_are_answered_in_one_line(
    options: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["dns", "--apiserver=127.0.0.1:6444", "--trust=/nowhere", *options])
    with pytest.raises(SystemExit, match="2"):
        main()
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


async def test_a_service_that_was_deleted_comes_back() -> None:
    async with running(seeded()) as found:
        await found.client.delete(core.Service, "kube-dns", "kube-system")
        await found.until(lambda: "kube-dns" in [made.metadata.name for made in found.api.all(core.Service, "kube-system")])
