"""Gateways with an address each: a Service of its own beside the one of Ingresses, and routes that no other Gateway's requests meet."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.gateway.v1 import gateway_service_pb2 as messages
from knarr.machinery.errors import status_error
from services.gateway.entrances import GATEWAY_ANNOTATION, GATEWAY_LABEL, Entrance, changed_service, made_service, own_name
from services.gateway.routing.table import Origin
from services.gateway.servicer import GatewayServicer
from tests.gateway.servers import Browser
from tests.gateway.test_publication import FIRST, SECOND, SERVICE, SYSTEM, published
from tests.gateway.world import ADDRESS, Aborted, FakeContext, World, ingress_of, needs_haproxy, pods
from tests.support.api import FaultyApi

LISTENER = {"name": "web", "port": 80, "protocol": "HTTP"}


def apart(folder: Path, name: str, address: str, api: FaultyApi | None = None) -> contextlib.AbstractAsyncContextManager[World]:
    first = random.Random(str(folder)).randrange(22_000, 29_000)
    return published(folder, name, address, api, gateway_api=True, apart=True, first_own_port=first)


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with apart(tmp_path, "node-1", FIRST) as made:
        yield made


async def gateway(w: World, name: str, *listeners: dict[str, Any], **more: Any) -> None:
    await w.put("Gateway", name, {"gatewayClassName": "knarr", "listeners": list(listeners or (LISTENER,)), **more})


async def route(w: World, name: str, parent: str, service: str, kind: str = "HTTPRoute") -> None:
    rules = [{"backendRefs": [{"name": service, "port": 80}]}]
    await w.put(kind, name, {"parentRefs": [{"name": parent}], "hostnames": ["same.example"], "rules": rules})


def services(w: World) -> dict[str, core.Service]:
    """Of Gateways, by their names."""
    found = [each for each in w.api.all(core.Service, SYSTEM) if GATEWAY_ANNOTATION in each.metadata.annotations]
    return {each.metadata.annotations[GATEWAY_ANNOTATION].partition("/")[2]: each for each in found}


def endpoints(w: World, service: str) -> dict[str, dict[int, bool]]:
    """By address, whether each port of a Service may be asked there."""
    return {
        endpoint.addresses[0]: {port.port: endpoint.conditions.ready for port in piece.ports}
        for piece in w.api.all(discovery.EndpointSlice, SYSTEM)
        if piece.metadata.labels["kubernetes.io/service-name"] == service
        for endpoint in piece.endpoints
    }


async def opened(w: World, name: str) -> int:
    """What a Gateway's only port is opened as."""
    await w.until(lambda: name in services(w) and any(endpoints(w, services(w)[name].metadata.name).get(FIRST, {}).values()))
    return next(iter(endpoints(w, services(w)[name].metadata.name)[FIRST]))


async def give(w: World, name: str, address: str) -> None:
    """As the cloud controller manager does."""
    patch = {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
    await w.client.patch(core.Service, services(w)[name].metadata.name, SYSTEM, patch=patch, subresource="status")


async def until_addresses(w: World, name: str, *wanted: str) -> None:
    found: list[str] = []
    for _ in range(2000):
        found = [each["value"] for each in (await w.status("Gateway", name)).get("addresses", [])]
        if found == list(wanted):
            return
        await w.until_reasons("Gateway", name)
    raise AssertionError(f"{name}: {found}, not {wanted}")


@needs_haproxy
@pytest.mark.asyncio
async def test_two_gateways_may_have_the_same_port_and_host(w: World) -> None:
    async with pods("a", "b", "i") as (a, b, i):
        for pod in (a, b, i):
            await w.service(pod.name, [pod])
        for name in ("one", "two"):
            await gateway(w, name)
        await route(w, "r1", "one", "a")
        await route(w, "r2", "two", "b")
        await w.client.create(ingress_of(host="same.example", service="i"))
        ports = {name: await opened(w, name) for name in ("one", "two")}
        async with Browser(ports["one"]) as one, Browser(ports["two"]) as two, w.browser() as shared:
            for browser, text in ((one, "a"), (two, "b"), (shared, "i")):
                await w.until_answer(browser, "same.example", text=text)
            assert a.requests[-1][2]["X-Forwarded-Port"] == "80"
            assert (await one.ask("other.example")).status == (await shared.ask("other.example")).status == 404
            # A route of both is served at both.
            await w.put(
                "HTTPRoute",
                "both",
                {
                    "parentRefs": [{"name": "one"}, {"name": "two"}],
                    "hostnames": ["both.example"],
                    "rules": [{"backendRefs": [{"name": "a", "port": 80}]}],
                },
            )
            for browser in (one, two):
                await w.until_answer(browser, "both.example", text="a")
            assert (await shared.ask("both.example")).status == 404
        made = services(w)
        assert all(each.spec.type == "LoadBalancer" and each.spec.external_traffic_policy == "Local" for each in made.values())
        assert [(port.port, port.name) for port in made["one"].spec.ports] == [(80, "port-80")]
        assert made["one"].metadata.labels[GATEWAY_LABEL] == "one"
        await give(w, "one", ADDRESS)
        await until_addresses(w, "one", ADDRESS)
        await w.until_reasons("Gateway", "one", Programmed="Programmed")
        await w.until_reasons("Gateway", "two", Programmed="AddressNotAssigned")
        assert not w.addresses(), "an Ingress has the other one"
        # What was given goes with the Gateway; the Service that is shared stays.
        await w.remove("Gateway", "one")
        await w.until(lambda: set(services(w)) == {"two"} and not endpoints(w, made["one"].metadata.name))
        assert any(each.metadata.name == SERVICE for each in w.api.all(core.Service, SYSTEM))


@needs_haproxy
@pytest.mark.asyncio
async def test_protocols_of_one_port_conflict_only_within_an_address(w: World) -> None:
    await gateway(w, "one", {**LISTENER, "port": 443})
    await gateway(w, "two", {"name": "pass", "port": 443, "protocol": "TLS", "tls": {"mode": "Passthrough"}})
    ports = {await opened(w, name) for name in ("one", "two")}
    assert len(ports) == 2
    for name, address in (("one", "192.0.2.81"), ("two", "192.0.2.82")):
        await give(w, name, address)
        await w.until_reasons("Gateway", name, Accepted="Accepted", Programmed="Programmed")


@needs_haproxy
@pytest.mark.asyncio
async def test_an_address_that_is_asked_for_is_told_only_where_it_was_given(w: World) -> None:
    await gateway(w, "edge", addresses=[{"type": "IPAddress", "value": "192.0.2.7"}])
    await opened(w, "edge")
    assert services(w)["edge"].spec.load_balancer_ip == "192.0.2.7"
    await w.until_reasons("Gateway", "edge", Accepted="Accepted", Programmed="AddressNotUsable")
    await give(w, "edge", "192.0.2.7")
    await w.until_reasons("Gateway", "edge", Programmed="Programmed")
    await gateway(w, "edge", addresses=[{"type": "IPAddress", "value": "192.0.2.8"}])
    await w.until(lambda: services(w)["edge"].spec.load_balancer_ip == "192.0.2.8")
    await w.until_reasons("Gateway", "edge", Programmed="AddressNotUsable")


@needs_haproxy
@pytest.mark.asyncio
async def test_one_gateway_that_cannot_be_published_leaves_the_others_as_they_are(w: World) -> None:
    await gateway(w, "bad", infrastructure={"labels": {"no label at all!": "x"}})
    await gateway(w, "good", infrastructure={"labels": {"team": "web"}, "annotations": {"example.org/pool": "small"}})
    await opened(w, "good")
    made = services(w)["good"].metadata
    assert (made.labels["team"], made.annotations["example.org/pool"]) == ("web", "small")
    await w.until_reasons("Gateway", "bad", Programmed="NoResources")
    await w.remove("Gateway", "bad")
    await gateway(w, "bad")
    await opened(w, "bad")


@needs_haproxy
@pytest.mark.asyncio
async def test_all_instances_are_endpoints_of_each_gateway_and_one_that_stops_of_none(tmp_path: Path, w: World) -> None:
    await gateway(w, "edge")
    await opened(w, "edge")
    service = services(w)["edge"].metadata.name
    async with apart(tmp_path, "node-2", SECOND, w.api):
        await w.until(lambda: set(endpoints(w, service)) == {FIRST, SECOND})
    assert set(endpoints(w, service)) == {FIRST}


@needs_haproxy
@pytest.mark.asyncio
async def test_the_service_of_the_last_gateway_goes_also_where_that_fails_at_first(w: World) -> None:
    await gateway(w, "edge")
    await opened(w, "edge")
    w.api.fail_next(status_error("ServiceUnavailable", "away"), verb="delete", message_type=core.Service, times=1)
    await w.remove("Gateway", "edge")
    await w.until(lambda: not services(w))
    assert not w.task.done()
    # The same one anew is served anew.
    await gateway(w, "edge")
    await opened(w, "edge")


@needs_haproxy
@pytest.mark.asyncio
async def test_killed_the_proxy_is_back_at_all_addresses(w: World) -> None:
    async with pods("a", "b") as (a, b):
        for name, pod in (("one", a), ("two", b)):
            await w.service(pod.name, [pod])
            await gateway(w, name)
            await route(w, name, name, pod.name)
        async with Browser(await opened(w, "one")) as one, Browser(await opened(w, "two")) as two:
            for browser, text in ((one, "a"), (two, "b")):
                await w.until_answer(browser, "same.example", text=text)
            os.kill(w.gateway.executor.process.pid, signal.SIGKILL)
            await w.until(lambda: w.gateway.executor.process.restarts == 1)
            for browser, text in ((one, "a"), (two, "b")):
                await w.until_answer(browser, "same.example", text=text)


@needs_haproxy
@pytest.mark.asyncio
async def test_a_port_of_its_own_that_somebody_has_is_another_one(w: World) -> None:
    first = w.settings.first_own_port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        await gateway(w, "edge")
        assert await opened(w, "edge") > first


@needs_haproxy
@pytest.mark.asyncio
async def test_explain_asks_the_gateway_that_is_named(w: World) -> None:
    servicer = GatewayServicer(w.gateway)
    async with pods("a") as (a,):
        await w.service("a", [a])
        await gateway(w, "edge")
        await route(w, "r", "edge", "a")
        async with Browser(await opened(w, "edge")) as browser:
            await w.until_answer(browser, "same.example", text="a")
        answer = await servicer.Explain(messages.ExplainRequest(host="same.example", gateway="default/edge"), FakeContext())
        assert answer.result == "goes to one of 1 endpoints" and answer.steps[0].route.gateway == "default/edge"
        answer = await servicer.Explain(messages.ExplainRequest(host="same.example"), FakeContext())
        assert answer.result.startswith("404") and "Gateways default/edge" in " ".join(answer.notes)
        with pytest.raises(Aborted, match="there is no Gateway"):
            await servicer.Explain(messages.ExplainRequest(host="same.example", gateway="default/none"), FakeContext())
        status = await servicer.GetStatus(messages.GetStatusRequest(), FakeContext())
        assert [(each.port, each.gateway) for each in status.listeners] == [(80, "default/edge")]


EDGE = Origin("Gateway", "default", "edge")


def test_a_service_keeps_what_others_say_and_loses_what_its_gateway_says_no_more() -> None:
    said = Entrance("s", ((80, 22000),), gateway=EDGE, labels=(("a", "1"),), annotations=(("b", "2"), ("c", "3")))
    made = made_service("kube-system", said)
    made.metadata.annotations["cloud"] = "own"
    made.spec.ports[0].name = "renamed"
    assert changed_service(made, said) == made
    less = changed_service(made, Entrance("s", ((80, 22000), (81, 22001)), gateway=EDGE, annotations=(("c", "4"),)))
    assert "a" not in less.metadata.labels and less.metadata.labels[GATEWAY_LABEL] == "edge"
    assert {key: text for key, text in less.metadata.annotations.items() if len(key) < 6} == {"c": "4", "cloud": "own"}
    assert [port.name for port in less.spec.ports] == ["renamed", "port-81"]
    none = changed_service(less, Entrance("s", ((80, 22000),), gateway=EDGE))
    assert set(none.metadata.annotations) == {"cloud", GATEWAY_ANNOTATION}
    # A name that it has itself is nobody else's to say.
    taken = Entrance("s", ((80, 22000),), gateway=EDGE, annotations=((GATEWAY_ANNOTATION, "other/one"),))
    assert changed_service(made_service("kube-system", taken), taken).metadata.annotations[GATEWAY_ANNOTATION] == "default/edge"


@pytest.mark.parametrize("name", ["edge", "a" * 253, "dots.and.more", "a.-.b", "x" * 23 + ".y"])
def test_a_name_of_a_service_is_one_and_nobody_elses(name: str) -> None:
    found = {own_name("knarr-gateway", Origin("Gateway", namespace, name)) for namespace in ("default", "other")}
    assert len(found) == 2 and all(len(each) <= 63 and each.replace("-", "").isalnum() and "--" not in each for each in found)
