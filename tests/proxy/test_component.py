"""The component: from watch events to the datapath."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.proxy.v1 import proxy_service_pb2 as messages
from knarr.client.backoff import Backoff
from knarr.machinery.errors import status_error
from knarr.objects.labels import ZONE
from services.proxy.component import Proxy, make_datapath
from services.proxy.datapath.port import Counters, Datapath, DatapathError
from services.proxy.programmer import REST_SECONDS
from services.proxy.routing.table import Change, Route, RouteKey, RoutingTable, patch
from services.proxy.routing.wishes import routes_of
from services.proxy.servicer import ProxyServicer
from services.proxy.settings import ProxySettings
from tests.proxy.objects import service, slice_of
from tests.support.api import FaultyApi
from tests.support.rights import PROXY

WEB = RouteKey("default", "web", "http")


class RecordingDatapath(Datapath):
    """Keeps what it was told; each change waits for ``gate`` and fails as often as ``failures`` says."""

    name = "recording"
    limitations = ("only a record",)
    missing: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.table: RoutingTable = {}
        self.changes: list[Change] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures = 0
        # Names of Services whose routes it does not take.
        self.guilty: set[str] = set()
        self.entered = asyncio.Event()
        self.closed = False
        self.applied = asyncio.Condition()

    async def start(self) -> None:
        pass

    async def apply(self, change: Change) -> None:
        self.entered.set()
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise DatapathError("not now")
        if any(route.key.service in self.guilty for route in change.after):
            raise DatapathError("Invalid argument")
        async with self.applied:
            self.table = dict(self.table)
            patch(self.table, change)
            self.changes.append(change)
            self.applied.notify_all()

    def limits_of(self, route: Route) -> tuple[str, ...]:
        return self.missing if route.key == WEB else ()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10), self.applied:
            await self.applied.wait_for(condition)

    def addresses(self) -> list[str]:
        return [endpoint.address for endpoint in self.table[WEB].endpoints] if WEB in self.table else []

    async def check(self) -> None:
        pass

    async def counters(self, keys: Collection[RouteKey]) -> Counters:
        return {(WEB, endpoint): 7 for endpoint in self.table[WEB].endpoints} if WEB in keys else {}

    async def close(self) -> None:
        self.closed = True


@contextlib.asynccontextmanager
async def running(api: FaultyApi, datapath: RecordingDatapath) -> AsyncIterator[Proxy]:
    proxy = Proxy(api.client(PROXY), ProxySettings(retry_first_seconds=0.001, node_name="node-a"), datapath)
    task = asyncio.create_task(proxy.run())
    try:
        yield proxy
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert datapath.closed


async def test_the_first_table_is_complete_and_later_ones_follow() -> None:
    api, datapath = FaultyApi(), RecordingDatapath()
    client = api.client()
    api.seed(service(), slice_of("web", ["10.244.0.2"]))
    async with running(api, datapath) as proxy:
        await datapath.until(lambda: datapath.addresses() == ["10.244.0.2"])
        assert len(datapath.changes) == 1 and proxy.ready
        await client.update(slice_of("web", ["10.244.0.2", "10.244.0.3"]))
        await datapath.until(lambda: datapath.addresses() == ["10.244.0.2", "10.244.0.3"])
        await client.delete(discovery.EndpointSlice, "web-1", "default")
        await datapath.until(lambda: datapath.addresses() == [])
        assert WEB in datapath.table


async def test_endpoints_of_the_nodes_zone_are_taken_once_it_is_known() -> None:
    api, datapath = FaultyApi(), RecordingDatapath()
    client = api.client()
    near = slice_of("web", ["10.244.0.2", "10.244.0.3"])
    for endpoint, zone in zip(near.endpoints, ("here", "there"), strict=True):
        endpoint.hints.for_zones.add(name=zone)
    own = core.Node()
    own.metadata.name = "node-a"
    api.seed(service(), near, own)
    async with running(api, datapath):
        await datapath.until(lambda: datapath.addresses() == ["10.244.0.2", "10.244.0.3"])
        own.metadata.labels[ZONE] = "there"
        await client.update(own)
        await datapath.until(lambda: datapath.addresses() == ["10.244.0.3"])
        await client.delete(core.Node, "node-a")
        await datapath.until(lambda: datapath.addresses() == ["10.244.0.2", "10.244.0.3"])


def pod_with_host_port(name: str, address: str, node: str = "node-a") -> core.Pod:
    made = core.Pod()
    made.metadata.name, made.metadata.namespace = name, "default"
    made.spec.node_name = node
    made.status.phase, made.status.pod_ip = "Running", address
    made.spec.containers.add(name="c", image="x").ports.add(container_port=8080, host_port=18080, protocol="TCP")
    return made


async def test_host_ports_of_this_nodes_pods_are_in_the_first_table_and_go_with_their_pods() -> None:
    api, datapath = FaultyApi(), RecordingDatapath()
    api.seed(pod_with_host_port("srv", "10.244.0.2"), pod_with_host_port("elsewhere", "10.244.1.2", "node-b"))
    async with running(api, datapath):
        await datapath.until(lambda: bool(datapath.changes))
        [route] = [route for key, route in datapath.table.items() if key.service.startswith("pod/")]
        assert (str(route.key), route.node_port) == ("default/pod/srv:tcp-18080", 18080)
        assert len(datapath.changes) == 1
        await api.client().delete(core.Pod, "srv", "default", grace_period_seconds=0)
        await datapath.until(lambda: route.key not in datapath.table)


async def test_a_pod_whose_host_port_is_taken_is_told() -> None:
    api, datapath = FaultyApi(), RecordingDatapath()
    # Of two that are as old the first by name has it.
    api.seed(service(node_port=18080), pod_with_host_port("xylophone", "10.244.0.2"))
    async with running(api, datapath):
        await datapath.until(lambda: bool(datapath.changes))
        async with asyncio.timeout(10):
            while not any(event.involved_object.kind == "Pod" for event in api.all(core.Event)):  # noqa: ASYNC110
                await asyncio.sleep(0)
        [event] = [event for event in api.all(core.Event) if event.involved_object.kind == "Pod"]
    assert (event.reason, event.involved_object.name) == ("NotFullyServed", "xylophone")
    assert "NodePort 18080 belongs to default/web" in event.message


async def test_changes_that_come_during_one_are_taken_together() -> None:
    api, datapath = FaultyApi(), RecordingDatapath()
    client = api.client()
    api.seed(service())
    async with running(api, datapath):
        await datapath.until(lambda: len(datapath.changes) == 1)
        datapath.gate.clear()
        datapath.entered.clear()
        await client.create(slice_of("web", ["10.244.0.1"]))
        async with asyncio.timeout(10):
            await datapath.entered.wait()
        for last in range(2, 30):
            await client.update(slice_of("web", [f"10.244.0.{last}"]))
        for _ in range(200):
            await asyncio.sleep(0)
        datapath.gate.set()
        await datapath.until(lambda: datapath.addresses() == ["10.244.0.29"])
        assert len(datapath.changes) <= 4


async def test_flapping_endpoints_cost_a_bounded_number_of_changes() -> None:
    api, datapath = FaultyApi(), RecordingDatapath()
    client, loop = api.client(), asyncio.get_running_loop()
    api.seed(service(), slice_of("web", ["10.244.0.1"]))
    async with running(api, datapath):
        await datapath.until(lambda: len(datapath.changes) == 1)
        started = loop.time()
        for flap in range(500):
            await client.update(slice_of("web", [f"10.244.0.{flap % 200 + 2}"]))
            if flap % 5 == 0:
                await asyncio.sleep(0.001)
        await datapath.until(lambda: datapath.addresses() == ["10.244.0.101"])
        assert len(datapath.changes) <= (loop.time() - started) / REST_SECONDS + 3


async def test_the_table_stays_while_the_api_server_is_away() -> None:
    api, datapath = FaultyApi(), RecordingDatapath()
    api.seed(service(), slice_of("web", ["10.244.0.2"]))
    async with running(api, datapath):
        await datapath.until(lambda: len(datapath.changes) == 1)
        api.break_watches()
        api.compact()
        await api.client().update(slice_of("web", ["10.244.0.9"]))
        await datapath.until(lambda: datapath.addresses() == ["10.244.0.9"])
        assert all(not change.removed for change in datapath.changes)


async def test_a_change_that_failed_is_tried_again() -> None:
    api, datapath = FaultyApi(), RecordingDatapath()
    datapath.failures = 2
    api.seed(service(), slice_of("web", ["10.244.0.2"]))
    async with running(api, datapath):
        await datapath.until(lambda: datapath.addresses() == ["10.244.0.2"])
        assert datapath.failures == 0


async def messages_of_events(api: FaultyApi, name: str) -> list[str]:
    """Of a Service, once there are any."""

    def found() -> list[str]:
        return [event.message for event in api.all(core.Event) if event.involved_object.name == name]

    await eventually(lambda: bool(found()))
    return found()


async def test_a_route_that_is_refused_holds_up_no_other_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first table already, and when more Services come; it comes into force once it is taken."""
    monkeypatch.setattr("services.proxy.programmer.ONCE_MORE", Backoff(first_seconds=0.01, limit_seconds=0.05))
    api, datapath = FaultyApi(), RecordingDatapath()
    datapath.guilty = {"s3", "s5"}
    names = [f"s{number}" for number in range(8)]
    api.seed(*(service(name, cluster_ip=f"10.96.1.{number}") for number, name in enumerate(names)))
    async with running(api, datapath) as proxy:
        await datapath.until(lambda: {key.service for key in datapath.table} == {*names} - datapath.guilty)
        await api.client().create(service("late", cluster_ip="10.96.1.99"))
        await datapath.until(lambda: "late" in {key.service for key in datapath.table})
        assert proxy.ready
        assert await messages_of_events(api, "s3") == ["Node node-a: recording refuses it: Invalid argument"]
        assert not [event for event in api.all(core.Event) if event.involved_object.name == "s4"]
        servicer = ProxyServicer(proxy._programmer, datapath)
        datapath.counters = no_counters  # type: ignore[method-assign]
        (route,) = (await servicer.GetRoutes(messages.GetRoutesRequest(service="s5"), None)).routes
        assert list(route.limitations) == ["recording refuses it: Invalid argument"]
        datapath.guilty = set()
        await datapath.until(lambda: {key.service for key in datapath.table} == {*names, "late"})
        assert not proxy._programmer.refused


async def no_counters(keys: Collection[RouteKey]) -> Counters:
    return {}


async def test_a_route_that_is_refused_is_forgotten_with_its_service() -> None:
    api, datapath = FaultyApi(), RecordingDatapath()
    datapath.guilty = {"bad"}
    api.seed(service(), service("bad", cluster_ip="10.96.1.1"))
    async with running(api, datapath) as proxy:
        await eventually(lambda: bool(proxy._programmer.refused))
        assert WEB in datapath.table
        await api.client().delete(core.Service, "bad", "default")
        await eventually(lambda: not proxy._programmer.refused)


async def test_a_service_that_cannot_be_read_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(found: core.Service, *rest: Any) -> list[Route]:
        if found.metadata.name == "bad":
            raise RuntimeError("a bug")
        return routes_of(found, *rest)

    monkeypatch.setattr("services.proxy.routing.build.routes_of", broken)
    api, datapath = FaultyApi(), RecordingDatapath()
    api.seed(service("bad", cluster_ip="10.96.1.1"), service(), slice_of("web", ["10.244.0.2"]))
    async with running(api, datapath):
        await datapath.until(lambda: datapath.addresses() == ["10.244.0.2"])
        assert await messages_of_events(api, "bad") == ["Node node-a: its routes could not be made: a bug"]


async def test_a_datapath_that_takes_nothing_blames_no_route() -> None:
    api, datapath = FaultyApi(), RecordingDatapath()
    datapath.failures = 5
    api.seed(service(), service("other", cluster_ip="10.96.1.1"))
    async with running(api, datapath) as proxy:
        await datapath.until(lambda: len(datapath.table) == 2)
        assert not proxy._programmer.refused and not api.all(core.Event)


async def test_get_routes_answers_what_is_in_force() -> None:
    api, datapath = FaultyApi(), RecordingDatapath()
    api.seed(service(node_port=30080), slice_of("web", ["10.244.0.2"]))
    async with running(api, datapath) as proxy:
        await datapath.until(lambda: len(datapath.changes) == 1)
        async with asyncio.timeout(10):
            while not proxy.ready:  # noqa: ASYNC110
                await asyncio.sleep(0)
        servicer = ProxyServicer(proxy._programmer, datapath)
        answer = await servicer.GetRoutes(messages.GetRoutesRequest(namespace="default", service="web"), None)
        assert (answer.datapath, answer.changes, list(answer.limitations)) == ("recording", 1, ["only a record"])
        (route,) = answer.routes
        assert (route.cluster_ip, route.port, route.node_port, route.protocol) == ("10.96.0.10", 80, 30080, "TCP")
        assert [(e.address, e.port, e.connections) for e in route.endpoints] == [("10.244.0.2", 8080, 7)]
        assert not (await servicer.GetRoutes(messages.GetRoutesRequest(namespace="other"), None)).routes


async def test_it_is_told_since_when_each_endpoint_is_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    api, datapath = FaultyApi(), RecordingDatapath()
    api.seed(service(), slice_of("web", ["10.244.0.2"]))
    async with running(api, datapath) as proxy:
        await datapath.until(lambda: WEB in datapath.table)
        client, servicer = api.client(), ProxyServicer(proxy._programmer, datapath)

        async def told() -> dict[str, int]:
            await eventually(lambda: proxy._programmer.changes == len(datapath.changes))
            routes = (await servicer.GetRoutes(messages.GetRoutesRequest(service="web"), None)).routes
            return {end.address: end.in_force_since.seconds for route in routes for end in route.endpoints}

        assert await told() == {"10.244.0.2": 100}
        now[0] = 200.0
        await client.update(slice_of("web", ["10.244.0.2", "10.244.0.3"]))
        await datapath.until(lambda: datapath.addresses() == ["10.244.0.2", "10.244.0.3"])
        assert await told() == {"10.244.0.2": 100, "10.244.0.3": 200}
        # One that goes and comes again begins anew.
        for at, addresses in ((300.0, ["10.244.0.3"]), (400.0, ["10.244.0.2", "10.244.0.3"])):
            now[0] = at
            await client.update(slice_of("web", addresses))
            await datapath.until(lambda addresses=addresses: datapath.addresses() == addresses)  # type: ignore[misc]
        assert await told() == {"10.244.0.2": 400, "10.244.0.3": 200}
        await client.delete(core.Service, "web", "default")
        await datapath.until(lambda: WEB not in datapath.table)
        assert await told() == {} == proxy._programmer.since


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_what_a_service_cannot_have_is_an_event_about_it_once() -> None:
    api, datapath = FaultyApi(), RecordingDatapath()
    wanted = service()
    wanted.spec.ports.add(name="signal", port=2905, protocol="SCTP")
    api.seed(wanted, checked=False)  # no API server takes SCTP today
    api.seed(service("plain", cluster_ip="10.96.0.11"))
    async with running(api, datapath):
        await eventually(lambda: bool(api.all(core.Event)))
        await api.client().create(slice_of("web", ["10.244.0.2"]))
        await datapath.until(lambda: datapath.addresses() == ["10.244.0.2"])
        datapath.missing = ("the moon is not served",)
        await api.client().update(slice_of("web", ["10.244.0.3"]))
        await eventually(lambda: len(api.all(core.Event)) == 2)
    (first, second) = sorted(api.all(core.Event), key=lambda event: len(event.message))
    assert (first.reason, first.type, first.count, first.involved_object.name) == ("NotFullyServed", "Warning", 1, "web")
    assert first.message == "Node node-a: SCTP is not served"
    assert second.message == "Node node-a: the moon is not served; SCTP is not served"


async def test_an_api_server_that_is_away_is_said_to_be() -> None:
    api, datapath = FaultyApi(), RecordingDatapath()
    api.seed(service(), slice_of("web", ["10.244.0.2"]))
    async with running(api, datapath) as proxy:
        await datapath.until(lambda: datapath.addresses() == ["10.244.0.2"])
        servicer = ProxyServicer(proxy._programmer, datapath, away_since=lambda: proxy._away_since)
        assert not (await servicer.GetRoutes(messages.GetRoutesRequest(), None)).stale
        api.fail_next(status_error("ServiceUnavailable", "down"), verb="watch", times=6)
        api.break_watches()
        await eventually(lambda: proxy._away_since is not None)
        answer = await servicer.GetRoutes(messages.GetRoutesRequest(), None)
        assert answer.stale and answer.stale_since.seconds and len(answer.routes) == 1
        await api.client().update(slice_of("web", ["10.244.0.9"]))
        await api.client().update(service(node_port=30080))
        await eventually(lambda: proxy._away_since is None)
        await datapath.until(lambda: datapath.addresses() == ["10.244.0.9"])


def test_an_unknown_datapath_is_named() -> None:
    with pytest.raises(ValueError, match="ipvs"):
        make_datapath(ProxySettings(datapath="ipvs"))
