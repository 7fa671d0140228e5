"""…/proxy: what is passed on to pods, Services and nodes, to whom, and what comes back."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import ssl
import time
import timeit
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import registry
from knarr.objects.copies import copy_of
from knarr.service.certificates import CertificateAuthority
from knarr.service.tls import client_context
from services.apiserver.api import Api
from services.apiserver.exchange.passing import Place, rewritten
from services.apiserver.node_streams import KubeletCredentials
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.rest.application import Application, create_app
from services.apiserver.rest.proxying import handler
from services.apiserver.rest.proxying.pages import PAGE_BYTES, relinked
from services.apiserver.rest.server import RestServer
from tests.apiserver.pipeline.world import World, fill, ref
from tests.apiserver.rest.conftest import TOKEN, TOKENS, Certificates
from tests.apiserver.rest.http_client import HttpClient
from tests.apiserver.rest.streams.backend import PAGE, Backend, LeadingNode, running_backend
from tests.apiserver.rest.streams.fake_node import pod

NAMESPACE = "/api/v1/namespaces/default"
WEB = f"{NAMESPACE}/pods/web/proxy"


@pytest.fixture
def node() -> LeadingNode:
    return LeadingNode()


@pytest.fixture
def kubelets() -> CertificateAuthority:
    """Signs their certificates."""
    return CertificateAuthority.create()


@pytest.fixture
def application(pipeline: Pipeline, node: LeadingNode, kubelets: CertificateAuthority) -> Application:
    def credentials(name: str) -> KubeletCredentials:
        context = client_context(kubelets.pair.certificate, None)
        return KubeletCredentials(context, name, ((b"authorization", f"Bearer for-{name}".encode()),))

    return create_app(Api(dataclasses.replace(pipeline, node_streams=node, kubelet_credentials=credentials)), TOKENS, registry())


@pytest.fixture
async def backend(node: LeadingNode) -> AsyncIterator[Backend]:
    async with running_backend() as backend:
        node.ports = {8080: backend.port}
        yield backend


def with_address(name: str, address: str, *ports: int) -> core.Pod:
    found = pod(name, "c")
    found.spec.containers[0].ports.extend(core.ContainerPort(container_port=port) for port in ports)
    found.status.pod_ip = address
    found.status.pod_ips.add(ip=address)
    return found


@pytest.fixture(autouse=True)
async def placed(world: World) -> None:
    """Pods, a Service whose Endpoints name ready and other addresses, and nodes."""
    near = core.Node(metadata=meta.ObjectMeta(name="near"))
    near.status.addresses.add(type="InternalIP", address="10.0.0.9")
    near.status.daemon_endpoints.kubelet_endpoint.port = 10250
    new = core.Node(metadata=meta.ObjectMeta(name="new"))
    new.status.addresses.add(type="InternalIP", address="10.0.0.8")
    here = core.Node(metadata=meta.ObjectMeta(name="here"))
    here.status.addresses.add(type="InternalIP", address="127.0.0.1")
    service = core.Service(metadata=meta.ObjectMeta(name="svc"))
    service.spec.ports.add(name="http", port=80, target_port={"str_val": "web", "type": 1})
    service.spec.ports.add(name="other", port=81)
    subset = core.EndpointSubset(ports=[core.EndpointPort(name="http", port=8080), core.EndpointPort(name="other", port=9)])
    for name, address in (("web", "10.0.0.1"), ("gone", "10.0.0.3"), ("loop", "10.0.0.4"), ("", "10.0.0.5")):
        reference = core.ObjectReference(kind="Pod", name=name, namespace="default") if name else None
        subset.addresses.append(core.EndpointAddress(ip=address, target_ref=reference))
    subset.not_ready_addresses.add(ip="10.0.0.2", target_ref=core.ObjectReference(kind="Pod", name="bare", namespace="default"))
    endpoints = core.Endpoints(metadata=meta.ObjectMeta(name="svc"), subsets=[subset])
    idle = core.Service(metadata=meta.ObjectMeta(name="idle"), spec=core.ServiceSpec(ports=[core.ServicePort(port=80)]))
    nothing = core.Endpoints(metadata=meta.ObjectMeta(name="idle"))
    pods = [with_address("web", "10.0.0.1", 8080), with_address("bare", "10.0.0.2"), with_address("loop", "127.0.0.1", 8080)]
    pods.append(with_address("local", "169.254.169.254", 80))
    await fill(world, [near, new, here, service, endpoints, idle, nothing, *map(copy_of, pods)])
    for found in pods:
        await world.caller.update(ref(core.Pod, found.metadata.name, "status"), found, meta.UpdateOptions())
    world.forget()


class TestRequests:
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    async def test_every_method_with_its_body_path_and_query(self, client: HttpClient, backend: Backend, world: World, method: str) -> None:
        answer = await client.request(method, f"{WEB}/a%2Fb//c/?x=1&y=%20&x=2", b"body", cookie="theirs=1")
        assert (answer.status, answer.headers["x-method"], answer.body) == (200, method, b"body")
        ((heard, target, headers, body),) = backend.heard
        assert (heard, target, body) == (method, "/a%2Fb//c/?x=1&y=%20&x=2", b"body")
        assert (headers["cookie"], headers["host"], headers["x-forwarded-for"]) == ("theirs=1", "localhost", "127.0.0.1")
        assert headers["x-forwarded-uri"] == f"{WEB}/a%2Fb//c/"
        verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
        asked = [(request.verb, request.resource.plural, request.subresource, request.name) for request in world.guard.asked]
        assert asked == [(verbs.get(method, "get"), "pods", "proxy", "web")]

    async def test_the_head_alone(self, client: HttpClient, backend: Backend) -> None:
        await client.send("HEAD", f"{WEB}/x")
        assert ((await client.head()).status, backend.heard[0][0]) == (200, "HEAD")
        assert (await client.get(f"{WEB}/nothing")).status == 204

    async def test_who_the_caller_is_is_not_passed_on(self, client: HttpClient, backend: Backend) -> None:
        secret = {"x-remote-user": "root", "x-remote-extra-a": "b", "te": "trailers"}
        await client.get(f"{WEB}/x", connection="x-mine", x_mine="1", x_theirs="2", **secret)
        assert backend.heard[0][2].keys() == {"host", "content-length", "connection", "x-theirs", "x-forwarded-for", "x-forwarded-uri"}

    async def test_a_body_in_pieces(self, client: HttpClient, backend: Backend) -> None:
        _, writer = client.streams
        head = f"POST {WEB}/x HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {TOKEN}\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head.encode() + b"3\r\nabc\r\n")
        writer.write(b"2\r\nde\r\n0\r\n\r\n")
        assert (await client.answer()).body == b"abcde"
        assert "authorization" not in backend.heard[0][2]

    async def test_a_large_body_both_ways(self, client: HttpClient, backend: Backend) -> None:
        body = bytes(range(256)) * 3000
        assert (await client.request("POST", f"{WEB}/x", body)).body == body

    async def test_an_answer_before_the_body_was_read(self, client: HttpClient, backend: Backend) -> None:
        await client.send("POST", f"{WEB}/early", None, content_length="100000000")
        assert (await client.head()).status == 413

    async def test_an_answer_is_passed_on_as_it_comes(self, client: HttpClient, backend: Backend, node: LeadingNode) -> None:
        await client.send("GET", f"{WEB}/stream")
        await client.head()
        assert await client.chunk() == b"first"
        backend.held.set()
        assert (await client.chunk(), await client.chunk()) == (b"second", b"")
        await node.left_alone()

    async def test_a_client_that_goes_away_ends_it(self, client: HttpClient, backend: Backend, node: LeadingNode) -> None:
        for path in ("stream", "silent"):
            await client.send("GET", f"{WEB}/{path}")
            async with asyncio.timeout(5):
                while not node.open:  # noqa: ASYNC110  the node has no event
                    await asyncio.sleep(0.005)
            await client.close()
            await node.left_alone()
            await client.connect()

    async def test_a_websocket(self, server: RestServer, certificates: Certificates, backend: Backend, node: LeadingNode) -> None:
        protocols: Any = ["chat", "base64url.bearer.authorization.k8s.io.c2VjcmV0"]
        url = f"wss://127.0.0.1:{server.port}{WEB}/ws?x=1"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with connect(url, ssl=certificates.client, subprotocols=protocols, additional_headers=headers) as socket:
            for word in ("one", "two"):
                await socket.send(word)
                assert await socket.recv() == f"echo {word}"
            assert socket.subprotocol == "chat"
        method, target, heard, _ = backend.heard[0]
        assert (method, target, heard["sec-websocket-protocol"]) == ("GET", "/ws?x=1", "chat")
        assert "authorization" not in heard
        await node.left_alone()

    async def test_an_upgrade_that_is_refused(self, client: HttpClient, backend: Backend) -> None:
        upgrade = {"connection": "Upgrade", "upgrade": "nonsense"}
        assert (await client.request("POST", f"{WEB}/early", None, **upgrade)).status == 413
        answer = await client.request("GET", f"{WEB}/x", None, **upgrade)
        assert (answer.status, "invalid upgrade response: status code 200" in answer.json["message"]) == (500, True)

    async def test_tls(self, client: HttpClient, node: LeadingNode, tmp_path: Path) -> None:
        CertificateAuthority.create().issue("web", hosts=["localhost"]).save(tmp_path, "web")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "web.crt", tmp_path / "web.key")
        async with running_backend(context) as backend:
            node.ports = {8443: backend.port}
            body = b"x" * 300_000
            answer = await client.request("POST", f"{NAMESPACE}/pods/https:web:8443/proxy/x", body)
            assert (answer.status, answer.body) == (200, body)
        node.ports = {}
        assert (await client.get(f"{NAMESPACE}/pods/https:web:8443/proxy/x")).status == 503


class TestAnswers:
    async def test_headers_of_the_connection_stay_behind(self, client: HttpClient, backend: Backend) -> None:
        headers = (await client.get(f"{WEB}/headers")).headers
        assert headers["x-kept"] == "1"
        assert not headers.keys() & {"x-hop", "keep-alive", "access-control-allow-origin"}

    async def test_a_page_without_a_slash_at_its_end(self, client: HttpClient, backend: Backend) -> None:
        answer = await client.get(f"{WEB}?x=1")
        assert (answer.status, answer.headers["location"], backend.heard) == (301, f"{WEB}/?x=1", [])
        assert (await client.request("POST", WEB, b"x")).status == 200
        assert backend.heard[0][1] == "/"

    @pytest.mark.parametrize(
        ("location", "told"),
        [
            ("/there?x=1#y", f"{WEB}/there?x=1#y"),
            ("/dir/", f"{WEB}/dir/"),
            ("http://10.0.0.1:8080/there", f"{WEB}/there"),
            ("https://localhost/there", f"{WEB}/there"),
            (f"{WEB}/already", f"{WEB}/already"),
            ("relative", "relative"),
            ("http://elsewhere/x", "http://elsewhere/x"),
            ("//elsewhere/x", "//elsewhere/x"),
        ],
    )
    async def test_redirects_are_the_clients_to_follow(self, client: HttpClient, backend: Backend, location: str, told: str) -> None:
        answer = await client.get(f"{WEB}/redirect?to={location.replace('#', '%23')}")
        assert (answer.status, answer.headers["location"]) == (302, told)
        assert len(backend.heard) == 1

    @pytest.mark.parametrize("query", ["", "?gzip=1"])
    async def test_links_of_pages_lead_through_here(self, client: HttpClient, backend: Backend, query: str) -> None:
        answer = await client.get(f"{WEB}/page{query}", accept_encoding="gzip")
        told = PAGE.replace("'/other?x=1&amp;y=2'", f'"{WEB}/other?x=1&amp;y=2"')
        assert answer.body.decode() == told.replace('"/i.png"', f'"{WEB}/i.png"').replace("/bare/", f'"{WEB}/bare/"')
        assert "content-encoding" not in answer.headers

    async def test_what_is_no_page_or_too_large_a_one_is_passed_on_as_it_is(self, client: HttpClient, backend: Backend) -> None:
        assert (await client.get(f"{WEB}/page.txt")).body.decode() == PAGE
        found = await client.get(f"{WEB}/page?more={PAGE_BYTES}")
        assert (len(found.body), found.body.decode().strip()) == (len(PAGE) + PAGE_BYTES, PAGE)
        packed = await client.get(f"{WEB}/page?gzip=1&more={2 * PAGE_BYTES}", accept_encoding="gzip")
        assert gzip.decompress(packed.body).decode().strip() == PAGE

    @pytest.mark.parametrize("part", ["<a ", '<a "', "<a '<a ", "<a href=", '<a href="', "<a href='/x' ", "<", '<a "x" '])
    def test_time_grows_as_the_page_does(self, part: str) -> None:
        def seconds(times: int) -> float:
            data = part.encode() * times
            return min(timeit.repeat(lambda: relinked(data, str), timer=time.process_time, number=1, repeat=3))

        assert seconds(64_000) < 100 * max(seconds(4_000), 0.0005)

    def test_a_link_that_is_none_stays_as_it_is(self) -> None:
        assert rewritten("http://[broken", Place("/p", "/", "h"), "") == "http://[broken"


class TestPlaces:
    @pytest.mark.parametrize(
        ("path", "asked"),
        [
            ("pods/web", ("web", 8080, True)),
            ("pods/web:8080", ("web", 8080, True)),
            ("pods/http:web:8080", ("web", 8080, True)),
            ("pods/bare:8080", ("bare", 8080, True)),
            ("services/svc:http", ("web", 8080, True)),
            ("services/svc:80", ("web", 8080, True)),
            ("services/http:svc:http", ("web", 8080, True)),
        ],
    )
    async def test_names(self, client: HttpClient, backend: Backend, node: LeadingNode, path: str, asked: Any) -> None:
        assert (await client.get(f"{NAMESPACE}/{path}/proxy/x")).status == 200
        assert node.asked == [asked]

    async def test_ports_of_nodes(self, client: HttpClient, backend: Backend, node: LeadingNode) -> None:
        assert (await client.get("/api/v1/nodes/near:8080/proxy/x")).status == 200
        assert node.asked == [("10.0.0.9", 8080)]

    @pytest.mark.parametrize(
        ("method", "path", "verb"),
        [
            ("GET", "/api/v1/nodes/near:8080/proxy/exec/x", "create"),
            ("PUT", "/api/v1/nodes/near:8080/proxy/x", "update"),
            ("GET", f"{WEB}/x", "get"),
        ],
    )
    async def test_who_may_look_at_a_node_may_run_nothing_there_by_a_connection_that_is_upgraded(
        self, client: HttpClient, backend: Backend, world: World, method: str, path: str, verb: str
    ) -> None:
        world.guard.asked.clear()
        await client.request(method, path, None, connection="Upgrade", upgrade="nonsense")
        await client.request("GET", path, None)
        assert [request.verb for request in world.guard.asked] == [verb, "get"]

    async def test_a_kubelet_is_spoken_to_as_this_server(
        self, client: HttpClient, node: LeadingNode, kubelets: CertificateAuthority, tmp_path: Path
    ) -> None:
        for whose, status in (("near", 200), ("far", 503)):
            kubelets.issue(whose, hosts=[whose]).save(tmp_path, whose)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tmp_path / f"{whose}.crt", tmp_path / f"{whose}.key")
            async with running_backend(context) as backend:
                node.ports = {10250: backend.port}
                for name in ("near", "near:10250", "http:near:10250"):
                    answer = await client.get(f"/api/v1/nodes/{name}/proxy/stats/summary?x=1")
                    assert answer.status == status, answer.body
                # Not what its caller has shown, and nothing at all to whoever only has the kubelet's address.
                shown = [(target, headers["authorization"]) for _, target, headers, _ in backend.heard]
                assert shown == [("/stats/summary?x=1", "Bearer for-near")] * (3 if status == 200 else 0)

    @pytest.mark.parametrize(
        ("path", "status", "words"),
        [
            ("namespaces/default/pods/none", 404, 'pods "none" not found'),
            ("namespaces/default/pods/ftp:web:80", 400, 'invalid pod request "ftp:web:80"'),
            ("namespaces/default/pods/a:b:c:d", 400, 'invalid pod request "a:b:c:d"'),
            ("namespaces/default/pods/waiting", 400, "address not allowed"),
            ("namespaces/default/pods/loop", 400, "address not allowed"),
            ("namespaces/default/pods/local", 400, "address not allowed"),
            ("namespaces/default/pods/web:9", 503, "error trying to reach service: dial tcp 10.0.0.1:9: connect: connection refused"),
            ("namespaces/default/pods/web:x", 503, "error trying to reach service: dial tcp: lookup tcp/x: unknown port"),
            ("namespaces/default/services/none:80", 404, 'services "none" not found'),
            ("namespaces/default/services/idle:80", 503, 'no endpoints available for service "idle:80"'),
            ("namespaces/default/services/svc", 503, 'no endpoints available for service "svc"'),
            ("namespaces/default/services/svc:82", 503, 'no service port 82 found for service "svc"'),
            (
                "namespaces/default/services/svc:other",
                503,
                "error trying to reach service: dial tcp 10.0.0.1:9: connect: connection refused",
            ),
            ("nodes/none", 404, 'nodes "none" not found'),
            ("nodes/here:80", 400, "address not allowed"),
            ("nodes/new", 503, "node new has not said yet where its kubelet listens"),
            ("nodes/near", 503, "error trying to reach service: dial tcp 10.0.0.9:10250: connect: connection refused"),
        ],
    )
    async def test_refusals(self, client: HttpClient, backend: Backend, path: str, status: int, words: str) -> None:
        answer = await client.get(f"/api/v1/{path}/proxy/x")
        assert (answer.status, words in answer.json["message"]) == (status, True), answer.body

    async def test_one_that_never_answers(
        self, client: HttpClient, backend: Backend, node: LeadingNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(handler, "ANSWER_SECONDS", 0.2)
        answer = await client.get(f"{WEB}/silent")
        assert (answer.status, answer.json["reason"]) == (503, "ServiceUnavailable")
        assert "error trying to reach service: no answer within 0 seconds" in answer.json["message"]
        assert (await client.get(f"{NAMESPACE}/pods/web")).status == 200
        await node.left_alone()

    @pytest.mark.parametrize("said", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 2_000_000, b"HTTP/1.1 200 OK\r\n"])
    async def test_one_that_speaks_no_http(self, client: HttpClient, node: LeadingNode, said: bytes) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said)
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            node.ports = {8080: server.sockets[0].getsockname()[1]}
            found = await client.get(f"{WEB}/x")
        assert (found.status, found.json["message"].startswith("error trying to reach service: ")) == (503, True)

    async def test_an_answer_that_breaks_off_breaks_off(self, client: HttpClient, node: LeadingNode) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun")
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            node.ports = {8080: server.sockets[0].getsockname()[1]}
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.get(f"{WEB}/x")


async def test_paths_that_only_look_like_it(client: HttpClient) -> None:
    assert (await client.get("/api/v1/namespaces/proxy/pods/proxy")).status == 404
    assert (await client.get("/apis/apps/v1/namespaces/default/deployments/d/proxy")).status == 404
    assert (await client.get(f"{NAMESPACE}/configmaps/c/proxy/x")).status == 404
