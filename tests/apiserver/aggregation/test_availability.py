"""The condition of an APIService, and what is answered while its server is away: others are not affected."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from knarr.api.apiregistration.v1 import apiregistration_pb2 as apiregistration
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.backoff import Backoff
from knarr.objects.copies import copy_of
from services.apiserver.aggregation import fetch, keeper
from services.apiserver.aggregation.keeper import DISCOVERY_BYTES
from tests.apiserver.aggregation.conftest import NAME, Cluster, api_service, endpoints_of
from tests.support.extension import ROOT, ExtensionServer, running_extension

FLUNDERS = f"{ROOT}/namespaces/default/flunders"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks again after a moment."""
    monkeypatch.setattr(keeper, "RETRY", Backoff(first_seconds=0.02, limit_seconds=0.05))


async def test_without_a_service(cluster: Cluster) -> None:
    await cluster.register(None)
    found = await cluster.condition("False", "ServiceNotFound")
    assert found.message == 'service/api in "wardle" is not present'
    answer = await cluster.rest.get(FLUNDERS)
    assert (answer.status, answer.body) == (503, b"service unavailable\n")
    assert (await cluster.rest.get("/api/v1/namespaces")).status == 200
    assert (await cluster.rest.get("/apis")).status == 200


async def test_until_it_is_there_and_gone_again(cluster: Cluster, extension: ExtensionServer) -> None:
    cluster.node.ports = {8443: extension.port}
    await cluster.register(extension)
    await cluster.condition("False", "ServiceNotFound")
    await cluster.place(endpoints=False)
    found = await cluster.condition("False", "EndpointsNotFound")
    assert found.message == 'cannot find endpoints for service/api in "wardle"'
    endpoints = await cluster.client.create(endpoints_of(8443))
    found = await cluster.condition("True", "Passed")
    assert found.message == "all checks passed"
    assert (await cluster.rest.get(FLUNDERS)).status == 200
    empty = copy_of(endpoints)
    del empty.subsets[:]
    await cluster.client.update(empty)
    found = await cluster.condition("False", "MissingEndpoints")
    assert found.message == 'endpoints for service/api in "wardle" have no addresses with port name "https"'

    async def refused() -> bool:
        return (await cluster.rest.get(FLUNDERS)).status == 503

    await cluster.until(refused)
    await cluster.client.delete(core.Service, "api", "wardle")
    await cluster.condition("False", "ServiceNotFound")
    await cluster.client.delete(apiregistration.APIService, NAME)

    async def unknown() -> bool:
        return (await cluster.rest.get(FLUNDERS)).status == 404

    await cluster.until(unknown)


async def test_a_port_that_the_service_has_not(cluster: Cluster, extension: ExtensionServer) -> None:
    await cluster.place(port=444)
    await cluster.register(extension)
    found = await cluster.condition("False", "ServicePortError")
    assert found.message == 'service/api in "wardle" is not listening on port 443'


async def test_nobody_listens(cluster: Cluster, extension: ExtensionServer) -> None:
    await cluster.place()
    await cluster.register(extension)
    found = await cluster.condition("False", "FailedDiscoveryCheck")
    words = "dial tcp 10.1.2.3:8443: connect: connection refused"
    assert found.message == f"failing or missing response from https://api.wardle.svc{ROOT}: {words}"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        ({"ca_bundle": b"nonsense"}, "spec.caBundle holds no certificates that can be read"),
    ],
)
async def test_a_certificate_of_somebody_else(cluster: Cluster, extension: ExtensionServer, spec: dict[str, bytes], words: str) -> None:
    cluster.node.ports = {8443: extension.port}
    await cluster.place()
    await cluster.client.create(api_service(spec.get("ca_bundle", b"")))
    found = await cluster.condition("False", "FailedDiscoveryCheck")
    assert words in found.message
    assert (await cluster.rest.get(FLUNDERS)).status == 503
    assert not extension.requests(FLUNDERS)


async def test_a_certificate_of_another_name(cluster: Cluster, tmp_path: Path) -> None:
    async with running_extension(tmp_path, tmp_path / "front-proxy/ca.crt", ("other.wardle.svc",)) as extension:
        cluster.node.ports = {8443: extension.port}
        await cluster.place()
        await cluster.register(extension)
        found = await cluster.condition("False", "FailedDiscoveryCheck")
        assert "x509: " in found.message and "api.wardle.svc" in found.message
        # Who says that it is all the same is believed.
        stored = await cluster.client.get(apiregistration.APIService, NAME)
        stored.spec.insecure_skip_tls_verify, stored.spec.ca_bundle = True, b""
        await cluster.client.update(stored)
        await cluster.condition("True", "Passed")


async def test_one_that_does_not_know_this_server(cluster: Cluster, extension: ExtensionServer) -> None:
    """It answers 401 to whom it does not take for the front proxy."""

    async def stranger(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=401)

    extension.play[ROOT] = stranger
    cluster.node.ports = {8443: extension.port}
    await cluster.place()
    await cluster.register(extension)
    found = await cluster.condition("False", "FailedDiscoveryCheck")
    url = f"https://api.wardle.svc{ROOT}"
    assert found.message == f"failing or missing response from {url}: bad status from {url}: 401"
    asked = extension.requests(ROOT)[0]
    assert (asked["x-remote-user"], asked["x-remote-group"]) == (["system:kube-aggregator"], ["system:masters"])


async def test_one_that_never_answers(cluster: Cluster, extension: ExtensionServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "FETCH_SECONDS", 0.2)

    async def silent(request: web.BaseRequest) -> web.StreamResponse:
        await extension.held.wait()
        return web.Response()

    extension.play[ROOT] = silent
    cluster.node.ports = {8443: extension.port}
    await cluster.place()
    await cluster.register(extension)
    found = await cluster.condition("False", "FailedDiscoveryCheck")
    assert "no answer within 0 seconds" in found.message
    assert (await cluster.rest.get(FLUNDERS)).status == 503


@pytest.mark.parametrize(
    ("body", "well"),
    [
        (b"no JSON", True),
        (b"[]", True),
        (orjson.dumps({"kind": "Status"}), True),
        (orjson.dumps({"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": []}), True),
        (b"x" * (DISCOVERY_BYTES + 1), False),
    ],
)
async def test_lies_of_what_is_served(cluster: Cluster, extension: ExtensionServer, body: bytes, well: bool) -> None:
    """As in Kubernetes whoever answers is there; of what it serves nothing is told then."""

    async def lie(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=body)

    extension.play[ROOT] = lie
    cluster.node.ports = {8443: extension.port}
    await cluster.place()
    await cluster.register(extension)
    await cluster.condition(*(("True", "Passed") if well else ("False", "FailedDiscoveryCheck")))
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    groups = {item["metadata"]["name"]: item for item in (await cluster.rest.get("/apis", accept=accept)).json["items"]}
    assert groups["wardle.example.com"]["versions"] == [{"version": "v1alpha1", "freshness": "Stale"}]
    assert groups["apps"]["versions"][0]["freshness"] == "Current"


async def test_a_condition_that_somebody_else_wrote_is_written_anew(cluster: Cluster, extension: ExtensionServer) -> None:
    await cluster.register(None)
    await cluster.condition("False", "ServiceNotFound")
    stored = await cluster.client.get(apiregistration.APIService, NAME)
    stored.status.conditions[0].status = "True"
    await cluster.client.update(stored, subresource="status")
    await cluster.condition("False", "ServiceNotFound")


async def test_many_are_looked_after_up_to_a_bound(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "MAX_EXTENSIONS", 3)
    for number in range(5):
        await cluster.client.create(api_service(group=f"g{number}.example.com"))
    await asyncio.sleep(0)

    async def three() -> bool:
        return len(list(cluster.aggregation.extensions)) == 3

    await cluster.until(three)
