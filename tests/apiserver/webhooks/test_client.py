"""The call of a webhook: where it goes, whom it trusts, what it bears."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError, status_error
from knarr.service.certificates import CertificateAuthority
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.node_streams import NoNodeStreams
from services.apiserver.ways import Ways
from services.apiserver.webhooks import client as limits
from services.apiserver.webhooks.client import HookFailed, WebhookClient
from services.apiserver.webhooks.hook import Hook, hook_of
from tests.apiserver.rest.streams.backend import LeadingNode
from tests.support.connect_proxy import connect_proxy
from tests.support.webhook import Webhook, running_webhook

SECONDS = 5.0
POD_IP = "10.1.2.3"


async def echo(body: Any) -> Any:
    return body


@asynccontextmanager
async def calling(api: ApiInMemory | None = None, node: Any = None) -> AsyncIterator[WebhookClient]:
    client = WebhookClient(Ways((api or ApiInMemory()).server.backend, node))
    try:
        yield client
    finally:
        await client.close()


def by_url(webhook: Webhook, **changed: Any) -> Hook:
    return hook_of(apiextensions.WebhookClientConfig(**{"url": webhook.url, "ca_bundle": webhook.ca_bundle, **changed}), SECONDS)


def by_service(webhook: Webhook, port: int | None = 8443, name: str = "hook") -> Hook:
    service = apiextensions.ServiceReference(namespace="default", name=name, path="/convert", port=port)
    return hook_of(apiextensions.WebhookClientConfig(service=service, ca_bundle=webhook.ca_bundle), SECONDS)


@pytest.fixture
def with_service() -> ApiInMemory:
    """A Service with one ready pod, one endpoint that is no pod's, and no others."""
    api = ApiInMemory()
    service = core.Service(metadata=meta.ObjectMeta(name="hook", namespace="default"))
    service.spec.ports.add(name="web", port=8443)
    node = core.Node(metadata=meta.ObjectMeta(name="node-1"))
    pod = core.Pod(metadata=meta.ObjectMeta(name="hook-1", namespace="default"), spec=core.PodSpec(node_name="node-1"))
    pod.spec.containers.add(name="c", image="busybox")
    pod.status.pod_ip = POD_IP
    endpoints = core.Endpoints(metadata=meta.ObjectMeta(name="hook", namespace="default"))
    subset = endpoints.subsets.add()
    subset.ports.add(name="web", port=9443)
    subset.addresses.add(ip=POD_IP, target_ref=core.ObjectReference(kind="Pod", name="hook-1", namespace="default"))
    api.seed(service, node, pod, endpoints)
    return api


async def test_connections_are_used_again() -> None:
    async with running_webhook(echo) as webhook, calling() as client:
        for number in range(3):
            assert await client.post(by_url(webhook), b'{"n":%d}' % number, SECONDS) == b'{"n":%d}' % number
        assert len(webhook.connections) == 1


async def test_a_webhook_gets_so_many_at_once() -> None:
    full = asyncio.Event()

    async def slow(body: Any) -> Any:
        if webhook.open == limits.CONNECTIONS_OF_A_HOOK:
            full.set()
        await full.wait()
        return body

    async with running_webhook(slow) as webhook, calling() as client:
        await asyncio.gather(*(client.post(by_url(webhook), b"{}", SECONDS) for _ in range(limits.CONNECTIONS_OF_A_HOOK + 8)))
        assert webhook.most_open == limits.CONNECTIONS_OF_A_HOOK


async def test_a_kept_connection_that_has_ended_is_no_failure() -> None:
    async with running_webhook(echo) as webhook, calling() as client:
        await client.post(by_url(webhook), b"{}", SECONDS)

        async def hang_up(body: Any) -> Any:
            webhook.answer = echo
            for connection in webhook.connections:
                connection.abort()
            await asyncio.sleep(SECONDS)

        webhook.answer = hang_up
        assert await client.post(by_url(webhook), b"{}", SECONDS) == b"{}"
        assert len(webhook.asked) == 3


@pytest.mark.parametrize(
    "names, trusted, words",
    [
        (("other.default.svc",), True, "x509: certificate is not valid for the name"),
        (("127.0.0.1",), False, "x509: certificate signed by unknown authority"),
    ],
)
async def test_the_certificate_is_looked_at(names: tuple[str, ...], trusted: bool, words: str) -> None:
    async with running_webhook(echo, names) as webhook, calling() as client:
        stranger = CertificateAuthority.create().pair.certificate
        hook = by_url(webhook) if trusted else by_url(webhook, ca_bundle=stranger)
        with pytest.raises(HookFailed, match=words):
            await client.post(hook, b"{}", SECONDS)
        assert not webhook.asked


async def test_what_is_trusted_is_read_aside_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle may have some MiB of certificates."""
    threads: list[threading.Thread] = []

    def noted(ca_bundle: bytes) -> ssl.SSLContext:
        threads.append(threading.current_thread())
        return real(ca_bundle)

    real = limits.context_of
    monkeypatch.setattr(limits, "context_of", noted)
    async with running_webhook(echo) as webhook, calling() as client:
        for _ in range(3):
            assert await client.post(by_url(webhook), b"{}", SECONDS) == b"{}"
        assert len(threads) == 1 and threads[0] is not threading.main_thread()
        monkeypatch.setattr(limits, "CONTEXTS", 2)
        for number in range(5):
            await client.post(by_url(webhook, ca_bundle=webhook.ca_bundle + b"\n" * number), b"{}", SECONDS)
            assert len(client._contexts) <= 2


async def test_a_bundle_without_certificate_is_told() -> None:
    async with running_webhook(echo) as webhook, calling() as client:
        with pytest.raises(HookFailed, match="unable to parse bytes as PEM block"):
            await client.post(by_url(webhook, ca_bundle=b"junk"), b"{}", SECONDS)


async def test_what_no_redirect_leads_to() -> None:
    async with running_webhook(echo) as other, calling() as client:

        async def elsewhere(body: Any) -> Any:
            return web.Response(status=307, headers={"Location": other.url})

        async with running_webhook(elsewhere) as webhook:
            with pytest.raises(HookFailed, match=r"answered 307 and leads elsewhere .*redirects are not followed"):
                await client.post(by_url(webhook), b"{}", SECONDS)
        assert not other.asked


@pytest.mark.parametrize(
    "response, words",
    [
        (lambda: web.Response(status=404, text="no"), "the server could not find the requested resource"),
        (lambda: web.Response(status=500, text="panic: oh"), r'an error on the server \("panic: oh"\) has prevented the request from'),
        (lambda: web.json_response({"kind": "Status", "message": "I may not"}, status=403), "^I may not$"),
        (lambda: web.Response(status=418), "the webhook answered 418"),
    ],
)
async def test_other_answers_are_none(response: Any, words: str) -> None:
    async def answer(body: Any) -> Any:
        return response()

    async with running_webhook(answer) as webhook, calling() as client:
        with pytest.raises(HookFailed, match=words):
            await client.post(by_url(webhook), b"{}", SECONDS)


async def test_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BYTES", 1000)

    async def much(body: Any) -> Any:
        return b" " * 2000

    async with running_webhook(much) as webhook, calling() as client:
        with pytest.raises(HookFailed, match="more than 1000 bytes"):
            await client.post(by_url(webhook), b"{}", SECONDS)


async def test_nothing_is_unpacked() -> None:
    async def packed(body: Any) -> Any:
        found = web.json_response({"a": "b" * 10_000})
        found.enable_compression(web.ContentCoding.gzip)
        found.headers["X-Accepted"] = "1"
        return found

    async with running_webhook(packed) as webhook, calling() as client:
        assert (await client.post(by_url(webhook), b"{}", SECONDS)).startswith(b"\x1f\x8b")


async def test_it_waits_no_longer_than_told() -> None:
    held = asyncio.Event()

    async def never(body: Any) -> Any:
        await held.wait()

    async with running_webhook(never) as webhook, calling() as client:
        with pytest.raises(HookFailed, match="context deadline exceeded"):
            await client.post(by_url(webhook), b"{}", 0.05)
        held.set()


async def test_nobody_listens() -> None:
    async with calling() as client:
        async with running_webhook(echo) as webhook:
            hook = by_url(webhook)
        with pytest.raises(HookFailed, match=r'^Post "https://127.0.0.1:\d+/convert\?timeout=5s": dial tcp 127.0.0.1:\d+: '):
            await client.post(hook, b"{}", SECONDS)


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch, with_service: ApiInMemory) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    node = LeadingNode()
    async with with_service, running_webhook(echo) as webhook, calling(with_service, node) as client:
        node.ports[9443] = webhook.port
        for hook in (by_url(webhook), by_service(webhook)):
            assert await client.post(hook, b"{}", SECONDS) == b"{}"


async def test_a_service_is_one_of_its_pods(with_service: ApiInMemory) -> None:
    node = LeadingNode()
    async with with_service, running_webhook(echo, ("hook.default.svc",)) as webhook, calling(with_service, node) as client:
        node.ports[9443] = webhook.port
        for _ in range(2):
            assert await client.post(by_service(webhook), b"{}", SECONDS) == b"{}"
        # Through the kubelet, at the pod's address, once for both.
        assert node.asked == [("hook-1", 9443, True)] and node.open == 1
    assert node.open == 0


async def test_an_endpoint_that_no_pod_has_is_dialled(with_service: ApiInMemory) -> None:
    node = LeadingNode()
    async with with_service, running_webhook(echo) as webhook, calling(with_service, node) as client:
        pod = await with_service.client().get(core.Pod, "hook-1", "default")
        await with_service.client().delete(core.Pod, pod.metadata.name, "default", grace_period_seconds=0)
        node.ports[9443] = webhook.port
        assert await client.post(by_service(webhook), b"{}", SECONDS) == b"{}"
        assert node.asked == [(POD_IP, 9443)]


async def test_a_service_must_be_who_it_should_be(with_service: ApiInMemory) -> None:
    node = LeadingNode()
    async with with_service, running_webhook(echo, ("127.0.0.1",)) as webhook, calling(with_service, node) as client:
        node.ports[9443] = webhook.port
        with pytest.raises(HookFailed, match="x509: certificate is not valid for the name"):
            await client.post(by_service(webhook), b"{}", SECONDS)
    assert node.open == 0


async def test_what_keeps_a_service_from_being_reached(with_service: ApiInMemory) -> None:
    node, api = LeadingNode(), with_service
    async with api, running_webhook(echo) as webhook, calling(api, node) as client:

        async def words(hook: Hook) -> str:
            with pytest.raises(HookFailed) as failed:
                await client.post(hook, b"{}", SECONDS)
            return str(failed.value)

        head = 'Post "https://hook.default.svc:8443/convert?timeout=5s": '
        assert await words(by_service(webhook)) == head + f"dial tcp {POD_IP}:9443: connect: connection refused"
        assert await words(by_service(webhook, None)) == (
            'Post "https://hook.default.svc:443/convert?timeout=5s": no service port 443 found for service "hook"'
        )
        assert (await words(by_service(webhook, name="none"))).endswith('services "none" not found')
        endpoints = await api.client().get(core.Endpoints, "hook", "default")
        endpoints.subsets[0].addresses[0].ip = "10.9.9.9"
        endpoints.subsets[0].addresses[0].ClearField("target_ref")
        await api.client().update(endpoints)
        assert (await words(by_service(webhook))).endswith("dial tcp 10.9.9.9:9443: connect: connection refused")
        del endpoints.subsets[:]
        endpoints.metadata.resource_version = ""
        await api.client().update(endpoints)
        assert await words(by_service(webhook)) == head + 'no endpoints available for service "hook"'


async def test_no_endpoint_leads_back_to_this_machine(with_service: ApiInMemory) -> None:
    api = with_service
    async with api, running_webhook(echo) as webhook, calling(api, LeadingNode()) as client:
        stored = core.Endpoints(metadata=meta.ObjectMeta(name="hook", namespace="default"))
        subset = stored.subsets.add()
        subset.ports.add(name="web", port=webhook.port)
        subset.addresses.add(ip="127.0.0.1")
        api.seed(stored, checked=False)
        await api.settle()
        with pytest.raises(HookFailed, match="address not allowed"):
            await client.post(by_service(webhook), b"{}", SECONDS)
        assert not webhook.asked


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "169.254.169.254", "0.0.0.0", "::ffff:127.0.0.1", "two.example"])
async def test_no_name_leads_back_to_this_machine(name: str, with_service: ApiInMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may change a Service gives it another type, and a name that is an address of this machine's own."""
    api, node = with_service, LeadingNode()
    async with api, running_webhook(echo) as webhook, calling(api, node) as client:
        names(monkeypatch, {"two.example": ["10.9.9.9", "127.0.0.1"]})
        api.seed(external(name), checked=False)
        await api.settle()
        with pytest.raises(HookFailed, match="address not allowed"):
            await client.post(by_service(webhook, webhook.port), b"{}", SECONDS)
        assert not webhook.asked and not node.asked


class FewAnswer(NoNodeStreams):
    """Only one address answers: with its own name."""

    def __init__(self, answers: str) -> None:
        self.answers, self.asked = answers, list[str]()

    async def connect(self, address: str, port: int, data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self.asked.append(address)
        if address != self.answers:
            raise status_error("ServiceUnavailable", f"dial tcp {address}:{port}: connect: connection refused")
        yield address.encode()


@pytest.mark.parametrize(
    ("answers", "said", "asked"),
    [
        ("10.9.9.1", "10.9.9.1", ["10.9.9.1"]),
        ("10.9.9.2", "10.9.9.2", ["10.9.9.1", "10.9.9.2"]),
        ("10.9.9.3", "dial tcp 10.9.9.2:443: connect: connection refused", ["10.9.9.1", "10.9.9.2"]),
    ],
)
async def test_a_name_is_the_first_of_its_addresses_that_answers(
    answers: str, said: str, asked: list[str], with_service: ApiInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, {"hook.example": ["10.9.9.1", "10.9.9.2"]})
    node = FewAnswer(answers)
    async with with_service as api:
        api.seed(external("hook.example"), checked=False)
        await api.settle()
        try:
            heard = b"".join([piece async for piece in Ways(api.server.backend, node).to_service("default", "hook", 443)(nothing())])
        except StatusError as error:
            heard = error.status.message.encode()
    assert (heard.decode(), node.asked) == (said, asked)


async def test_a_name_that_means_nothing(with_service: ApiInMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, {"none.example": []})
    async with with_service as api, running_webhook(echo) as webhook, calling(api, LeadingNode()) as client:
        api.seed(external("none.example"), checked=False)
        await api.settle()
        with pytest.raises(HookFailed, match=r"lookup none\.example: no such host"):
            await client.post(by_service(webhook), b"{}", SECONDS)


async def nothing() -> AsyncIterator[bytes]:
    pieces: tuple[bytes, ...] = ()
    for piece in pieces:
        yield piece


def external(name: str) -> core.Service:
    service = core.Service(metadata=meta.ObjectMeta(name="hook", namespace="default"))
    service.spec.type, service.spec.external_name = "ExternalName", name
    return service


def names(monkeypatch: pytest.MonkeyPatch, known: dict[str, list[str]]) -> None:
    """Lets some names mean some addresses, whatever the machine's resolver says; those that mean none are not there."""

    def getaddrinfo(host: str, port: int, *options: Any, **more: Any) -> list[Any]:
        if host not in known:
            return real(host, port, *options, **more)
        if not known[host]:
            raise socket.gaierror("no such host")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host]]

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


async def test_a_url_is_reached_by_the_proxy_that_the_environment_names(monkeypatch: pytest.MonkeyPatch, with_service: ApiInMemory) -> None:
    """By its own name, which nobody here resolves; the pod of a Service never is, and neither is who is left out."""
    node = LeadingNode()
    async with running_webhook(echo, names=("hook.invalid", "hook.default.svc")) as webhook, connect_proxy(webhook.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        node.ports[9443] = webhook.port
        async with with_service, calling(with_service, node) as client:
            hook = by_url(webhook, url="https://hook.invalid/convert")
            assert await client.post(hook, b"{}", SECONDS) == b"{}"
            assert proxy.asked == ["hook.invalid:443"]
            assert await client.post(by_service(webhook), b"{}", SECONDS) == b"{}"
            monkeypatch.setenv("NO_PROXY", "invalid")
            with pytest.raises(HookFailed):
                await client.post(hook, b"{}", SECONDS)
            assert len(proxy.asked) == 1
