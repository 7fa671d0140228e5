"""Gateway API: each feature that docs/gateway.md says is done, on a real HAProxy, and what objects are told."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.gateway.gateway_reporter import FEATURES
from tests.gateway import test_own_addresses
from tests.gateway.certificates import keypair, subject
from tests.gateway.servers import Browser
from tests.gateway.world import ADDRESS, NAMESPACE, WAIT_SECONDS, World, needs_haproxy, pods, world
from tests.support.ports import free_port

pytestmark = [pytest.mark.asyncio, needs_haproxy]
DOCS = Path(__file__).parents[2] / "docs/gateway.md"
# Of v1.5, without those of meshes: https://github.com/kubernetes-sigs/gateway-api/tree/v1.5.0/pkg/features
ALL_FEATURES = {
    *FEATURES, "GatewayInfrastructurePropagation", "ListenerSet", "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback", "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayBackendClientCertificate", "TLSRouteModeTerminate", "TLSRouteModeMixed", "BackendTLSPolicy", "BackendTLSPolicySANValidation",
    "TCPRoute", "UDPRoute", "HTTPRouteRetry", "HTTPRouteRetryBackendTimeout", "HTTPRouteRetryConnectionError", "Mesh",
}  # fmt: skip
LISTENER = {"name": "web", "port": 80, "protocol": "HTTP"}


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, gateway_api=True) as made:
        await made.kind("GatewayClass")
        yield made


async def test_the_features_that_are_told_are_those_that_the_docs_say_and_test() -> None:
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith("| ") and " yes " in line]
    assert set(FEATURES) == {name for row in rows for name in re.findall(r"`([A-Z]\w+)`", row) if name in FEATURES or "Route" in name}
    tests = [name for row in rows for name in re.findall(r"`(test_\w+)`", row)]
    assert len(tests) >= len(rows) and set(tests) <= globals().keys() | vars(test_own_addresses).keys()


async def gateway(w: World, *listeners: dict[str, Any], name: str = "edge") -> None:
    await w.put("Gateway", name, {"gatewayClassName": "knarr", "listeners": list(listeners or [LISTENER])})


def to(*names: str, **more: Any) -> list[dict[str, Any]]:
    return [{"name": name, "port": 80, **more} for name in names]


async def route(
    w: World, *rules: dict[str, Any], name: str = "r", kind: str = "HTTPRoute", hosts: tuple[str, ...] = (), parent: Any = None
) -> None:
    spec = {"parentRefs": [parent or {"name": "edge"}], "rules": list(rules)}
    await w.put(kind, name, {**spec, "hostnames": list(hosts)} if hosts else spec)


def path(value: str, kind: str = "PathPrefix", **more: Any) -> dict[str, Any]:
    return {"path": {"type": kind, "value": value}, **more}


async def test_the_class_and_its_gateways_say_that_they_are_served(w: World) -> None:
    async with pods("x") as (x,), w.browser() as browser:
        await w.service("web", [x])
        await gateway(w)
        await route(w, {"backendRefs": to("web")})
        await w.until_answer(browser, "any.example", text="x")
        await w.until_reasons("GatewayClass", "knarr", Accepted="Accepted")
        await w.until_reasons("Gateway", "edge", Accepted="Accepted", Programmed="Programmed")
        await w.until_reasons("HTTPRoute", "r", Accepted="Accepted", ResolvedRefs="ResolvedRefs")
        status = await w.status("Gateway", "edge")
        assert status["addresses"] == [{"type": "IPAddress", "value": ADDRESS}]
        (listener,) = status["listeners"]
        assert listener["attachedRoutes"] == 1 and {kind["kind"] for kind in listener["supportedKinds"]} == {"HTTPRoute", "GRPCRoute"}
        await w.remove("HTTPRoute", "r")
        await w.until_answer(browser, "any.example", status=404)
        await w.remove("Gateway", "edge")
        await w.until(lambda: w.gateway.executor.process.pid == 0)


async def test_matches_by_path_header_query_and_method(w: World) -> None:
    header = {"headers": [{"name": "version", "value": "two"}]}
    query = {"queryParams": [{"name": "animal", "value": "whale"}]}
    rules = [
        {"matches": [path("/")], "backendRefs": to("a")},
        {"matches": [path("/two")], "backendRefs": to("b")},
        {"matches": [path("/two", "Exact")], "backendRefs": to("c")},
        {"matches": [{**header}, {**query}], "backendRefs": to("d")},
        {"matches": [path("/", method="POST")], "backendRefs": to("e")},
        {"matches": [path("/[a-z]{3}[0-9]+$", "RegularExpression")], "backendRefs": to("f")},
    ]
    async with pods("a", "b", "c", "d", "e", "f") as found, w.browser() as browser:
        for pod in found:
            await w.service(pod.name, [pod])
        await gateway(w)
        await route(w, *rules)
        await w.until_answer(browser, "x", "/two", text="c")
        seen = [(await browser.ask("x", where)).text for where in ("/", "/two/x", "/twos", "/?animal=whale", "/abc12")]
        assert seen == ["a", "b", "a", "d", "f"]
        assert (await browser.ask("x", "/", headers={"version": "two"})).text == "d"
        assert (await browser.ask("x", "/y", "POST")).text == "e"


async def test_hosts_are_those_that_listener_and_route_have_in_common(w: World) -> None:
    listeners = [{**LISTENER, "hostname": "*.wide.example"}, {**LISTENER, "name": "narrow", "hostname": "very.specific.example"}]
    async with pods("x") as (x,), w.browser() as browser:
        await w.service("web", [x])
        await gateway(w, *listeners)
        await route(w, {"backendRefs": to("web")}, hosts=("a.wide.example", "b.c.wide.example", "elsewhere.example", "*.specific.example"))
        await w.until_answer(browser, "a.wide.example", text="x")
        statuses = [
            (await browser.ask(name)).status
            for name in ("b.c.wide.example", "very.specific.example", "elsewhere.example", "z.wide.example")
        ]
        assert statuses == [200, 200, 404, 404]
        await route(w, {"backendRefs": to("web")}, name="none", hosts=("elsewhere.example",))
        await w.until_reasons("HTTPRoute", "none", Accepted="NoMatchingListenerHostname")
        await route(w, {"backendRefs": to("web")}, name="lost", parent={"name": "edge", "sectionName": "nowhere"})
        await w.until_reasons("HTTPRoute", "lost", Accepted="NoMatchingParent")


async def test_filters_of_headers_and_rewrites_and_redirects(w: World) -> None:
    request = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-Set", "value": "a b"}], "remove": ["X-Gone"]}}
    response = {
        "type": "ResponseHeaderModifier",
        "responseHeaderModifier": {"add": [{"name": "X-More", "value": "1"}], "remove": ["X-Body"]},
    }
    into = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}
    rewrite = {"type": "URLRewrite", "urlRewrite": {"hostname": "inner.example", "path": into}}
    whole = {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/whole"}}}
    redirect = {
        "type": "RequestRedirect",
        "requestRedirect": {"scheme": "https", "hostname": "b.example", "port": 8443, "path": into, "statusCode": 301},
    }
    kept = {"type": "RequestRedirect", "requestRedirect": {"hostname": "c.example"}}
    cors = {"type": "CORS", "cors": {"allowOrigins": ["https://*.page.example"], "allowMethods": ["PUT"], "exposeHeaders": ["x-a", "x-b"]}}
    every = {"allowOrigins": ["*"], "allowMethods": ["*"], "allowHeaders": ["*"], "allowCredentials": True}
    rules = [
        {"matches": [path("/headers")], "filters": [request, response], "backendRefs": to("web")},
        {"matches": [path("/old")], "filters": [rewrite], "backendRefs": to("web")},
        {"matches": [path("/full")], "filters": [whole], "backendRefs": to("web")},
        {"matches": [path("/moved")], "filters": [redirect]},
        {"matches": [path("/kept")], "filters": [kept]},
        {"matches": [path("/cors")], "filters": [cors], "backendRefs": to("web")},
        {"matches": [path("/every")], "filters": [{"type": "CORS", "cors": every}], "backendRefs": to("web")},
        {"matches": [path("/inner")], "backendRefs": to("web", filters=[request])},
    ]
    async with pods("x") as (x,), w.browser() as browser:
        await w.service("web", [x])
        await gateway(w)
        await route(w, *rules)
        answer = await w.until_answer(browser, "a.example", "/headers", headers={"X-Gone": "1"}, text="x")
        assert answer.headers["X-More"] == "1" and "X-Body" not in answer.headers
        assert x.requests[-1][2]["X-Set"] == "a b" and "X-Gone" not in x.requests[-1][2]
        await browser.ask("a.example", "/old/path?q=1")
        assert (x.requests[-1][1], x.requests[-1][2]["Host"]) == ("/new/path?q=1", "inner.example")
        await browser.ask("a.example", "/full/path")
        assert x.requests[-1][1] == "/whole"
        await browser.ask("a.example", "/inner")
        assert x.requests[-1][2]["X-Set"] == "a b"
        answer = await browser.ask("a.example", "/moved/x?q=1")
        assert (answer.status, answer.headers["Location"]) == (301, "https://b.example:8443/new/x?q=1")
        assert (await browser.ask("a.example", "/kept/x")).headers["Location"] == "http://c.example/kept/x"
        preflight = {"Origin": "https://a.page.example", "Access-Control-Request-Method": "PUT"}
        answer = await browser.ask("a.example", "/cors", "OPTIONS", headers=preflight)
        assert (answer.status, answer.headers["Access-Control-Allow-Methods"]) == (204, "PUT")
        assert answer.headers["Access-Control-Expose-Headers"] == "x-a, x-b"
        asked = {"Origin": "https://b.example", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-a, x-b"}
        # Who is not allowed is answered too, and told nothing; with credentials a star would mean nothing.
        seen = len(x.requests)
        answer = await browser.ask("a.example", "/cors", "OPTIONS", headers=asked)
        assert answer.status == 204 and not any(name.startswith("Access-Control") for name in answer.headers)
        answer = await browser.ask("a.example", "/every", "OPTIONS", headers=asked)
        told = ("Allow-Origin", "Allow-Methods", "Allow-Headers", "Allow-Credentials")
        assert [answer.headers[f"Access-Control-{name}"] for name in told] == ["https://b.example", "PUT", "x-a, x-b", "true"]
        assert len(x.requests) == seen


async def test_weights_timeouts_and_backends_that_are_not_there(w: World) -> None:
    split = [{"name": "a", "port": 80, "weight": 3}, {"name": "b", "port": 80, "weight": 1}, {"name": "off", "port": 80, "weight": 0}]
    rules: list[dict[str, Any]] = [
        {"matches": [path("/split")], "backendRefs": split},
        {"matches": [path("/slow")], "backendRefs": to("a"), "timeouts": {"backendRequest": "200ms"}},
        {"matches": [path("/lost")], "backendRefs": to("nowhere")},
        {"matches": [path("/empty")], "backendRefs": to("empty")},
        {"matches": [path("/none")]},
    ]
    async with pods("a", "b") as (a, b), w.browser() as browser:
        for name, found in (("a", [a]), ("b", [b]), ("off", [a]), ("empty", [])):
            await w.service(name, found)
        await gateway(w)
        await route(w, *rules)
        await w.until_answer(browser, "x", "/split")
        counted = Counter([(await browser.ask("x", "/split")).text for _ in range(40)])
        assert abs(counted["a"] - 30) <= 1 and counted["a"] + counted["b"] == 40
        assert [(await browser.ask("x", where)).status for where in ("/slow?sleep=2", "/lost", "/empty", "/none")] == [504, 500, 503, 500]
        await w.until_reasons("HTTPRoute", "r", Accepted="Accepted", ResolvedRefs="BackendNotFound")
        await w.service("nowhere", [b])
        await w.until_answer(browser, "x", "/lost", text="b")
        await w.until_reasons("HTTPRoute", "r", ResolvedRefs="ResolvedRefs")


async def test_copies_of_requests(w: World) -> None:
    def mirror(name: str, **part: Any) -> dict[str, Any]:
        return {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": name, "port": 80}, **part}}

    change = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-Set", "value": "1"}]}}
    async with pods("main", "copy", "more") as (main, copy, more), w.browser() as browser:
        for pod in (main, copy, more):
            await w.service(pod.name, [pod])
        await gateway(w)
        none = mirror("copy", percent=0)
        await route(
            w,
            {"matches": [path("/all")], "backendRefs": to("main"), "filters": [change, mirror("copy"), mirror("more")]},
            {
                "matches": [path("/half")],
                "backendRefs": to("main"),
                "filters": [mirror("copy", fraction={"numerator": 1, "denominator": 2})],
            },
            {"matches": [path("/none")], "backendRefs": to("main"), "filters": [none, mirror("nowhere")]},
        )
        await w.until_answer(browser, "x", "/none", text="main")
        await w.until_reasons("HTTPRoute", "r", Accepted="Accepted", ResolvedRefs="BackendNotFound")
        for method, data in (("GET", None), ("PATCH", b"x" * 20_000), ("DELETE", None)):
            seen = len(copy.requests)
            answer = await browser.ask("x", "/all?n=1", method, data=data, headers={"X-Twice": "a b"})
            assert answer.text == "main"
            await w.until(lambda: len(copy.requests) > seen and len(more.requests) > seen)  # noqa: B023
            for pod in (copy, more):
                found, target, headers = pod.requests[-1]
                assert (found, target, headers["Host"], headers["X-Set"], headers["X-Twice"]) == (method, "/all?n=1", "x", "1", "a b")
                assert headers.get("Content-Length", "0") == str(len(data or b"")) and "X-Knarr-Mirror" not in headers
        # What does not fit is not copied in part; nobody waits for a copy that hangs.
        seen = len(copy.requests)
        assert (await browser.ask("x", "/all", "POST", data=b"x" * 500_000)).headers["X-Body"] == "500000"
        assert (await browser.ask("x", "/none?n=1")).text == "main"
        for _ in range(60):
            await browser.ask("x", "/half")
        await browser.ask("x", "/all?last")
        await w.until(lambda: copy.requests[-1][1] == "/all?last")
        assert 10 < len(copy.requests) - seen - 1 < 50 and len(main.requests) >= 60


async def test_filters_of_one_backend_among_several(w: World) -> None:
    def named(name: str) -> dict[str, Any]:
        return {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-Backend", "value": name}]}}

    async with pods("a", "b") as (a, b), w.browser() as browser:
        for pod in (a, b):
            await w.service(pod.name, [pod])
        await gateway(w)
        references = [{"name": pod.name, "port": 80, "weight": weight, "filters": [named(pod.name)]} for pod, weight in ((a, 9), (b, 3))]
        await route(w, {"backendRefs": references})
        await w.until_answer(browser, "x")
        for _ in range(60):
            await browser.ask("x")
        assert len(a.requests) > len(b.requests) > 0
        for pod in (a, b):
            assert {headers["X-Backend"] for _, _, headers in pod.requests} == {pod.name}


async def test_what_is_not_done_is_told(w: World) -> None:
    foreign = {"type": "ExtensionRef", "extensionRef": {"group": "example.org", "kind": "Limit", "name": "some"}}
    async with pods("x") as (x,), w.browser() as browser:
        await w.service("web", [x])
        await gateway(w)
        await route(w, {"backendRefs": to("web"), "filters": [foreign]})
        await w.until_reasons("HTTPRoute", "r", Accepted="UnsupportedValue")
        await route(w, {"backendRefs": [{"group": "example.org", "kind": "Bucket", "name": "web"}]}, name="bucket")
        await w.until_reasons("HTTPRoute", "bucket", ResolvedRefs="InvalidKind")
        assert (await browser.ask("x")).status == 500
        # What is no word of a configuration is seen only when it is written.
        bad = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x", "value": "\u00e9"}]}}
        await route(w, {"backendRefs": to("web"), "filters": [bad]}, name="bad")
        await w.until_reasons("HTTPRoute", "bad", Accepted="UnsupportedValue")


async def test_every_feature_of_the_conformance_tests_has_a_row() -> None:
    said = set(re.findall(r"`([A-Z]\w+)`", DOCS.read_text()))
    assert said >= ALL_FEATURES, ALL_FEATURES - said


async def test_references_into_other_namespaces_need_a_grant(w: World) -> None:
    await w.client.create(core.Namespace(metadata={"name": "other"}))
    await gateway(w)
    async with pods("x") as (x,), w.browser() as browser:
        await w.service("web", [x])
        spec = {"parentRefs": [{"name": "edge", "namespace": NAMESPACE}], "rules": [{"backendRefs": to("web", namespace=NAMESPACE)}]}
        await w.put("HTTPRoute", "far", spec, "other")
        await w.until_reasons("HTTPRoute", "far", "other", Accepted="NotAllowedByListeners", ResolvedRefs="RefNotPermitted")
        await gateway(
            w,
            {
                **LISTENER,
                "allowedRoutes": {
                    "namespaces": {"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}
                },
            },
        )
        await w.until_reasons("HTTPRoute", "far", "other", Accepted="Accepted", ResolvedRefs="RefNotPermitted")
        await w.until_answer(browser, "x", status=500)
        grant = {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "other"}],
            "to": [{"group": "", "kind": "Service"}],
        }
        await w.put("ReferenceGrant", "them", grant)
        await w.until_answer(browser, "x", text="x")
        await w.until_reasons("HTTPRoute", "far", "other", ResolvedRefs="ResolvedRefs")
        await w.remove("ReferenceGrant", "them")
        await w.until_answer(browser, "x", status=500)


async def test_certificates_of_listeners(w: World) -> None:
    tls = {"name": "tls", "port": 443, "protocol": "HTTPS", "hostname": "safe.example", "tls": {"certificateRefs": [{"name": "pair"}]}}
    async with pods("x") as (x,), w.browser("https") as browser:
        await w.service("web", [x])
        await gateway(w, tls)
        await route(w, {"backendRefs": to("web")})
        await w.until_reasons("Gateway", "edge", Accepted="ListenersNotValid", Programmed="Invalid")
        (listener,) = (await w.status("Gateway", "edge"))["listeners"]
        assert {each["reason"] for each in listener["conditions"] if each["type"] == "ResolvedRefs"} == {"InvalidCertificateRef"}
        await w.certificate("pair", keypair("safe.example"))
        await w.until_answer(browser, "safe.example", text="x")
        assert await asyncio.to_thread(subject, w.settings.https_port, "safe.example") == "CN=safe.example"
        await w.until_reasons("Gateway", "edge", Accepted="Accepted", Programmed="Programmed")
        assert (await browser.ask("other.example")).status == 404


async def test_conflicts_of_listeners_and_protocols_that_are_not_served(w: World) -> None:
    await gateway(w, LISTENER, {**LISTENER, "name": "again"}, {"name": "udp", "port": 81, "protocol": "UDP"})
    await w.until_reasons("Gateway", "edge", Accepted="ListenersNotValid", Programmed="Invalid")
    found = {
        each["name"]: {one["type"]: one["reason"] for one in each["conditions"]}
        for each in (await w.status("Gateway", "edge"))["listeners"]
    }
    assert (
        found["web"]["Conflicted"] == found["again"]["Conflicted"] == "HostnameConflict"
        and found["udp"]["Accepted"] == "UnsupportedProtocol"
    )


async def test_what_a_gateway_as_a_whole_asks_for(w: World) -> None:
    async def ask_for(**spec: Any) -> None:
        await w.put("Gateway", "edge", {"gatewayClassName": "knarr", "listeners": [LISTENER], **spec})

    async with pods("x") as (x,), w.browser() as browser:
        await w.service("web", [x])
        await ask_for(infrastructure={"parametersRef": {"group": "example.org", "kind": "Wish", "name": "more"}})
        await route(w, {"backendRefs": to("web")})
        await w.until_reasons("Gateway", "edge", Accepted="InvalidParameters", Programmed="Invalid")
        assert (await w.until_answer(browser, "x", status=404)).status == 404
        await w.remove("Gateway", "edge")
        await ask_for(addresses=[{"type": "Hostname", "value": "web.example"}])
        await w.until_reasons("Gateway", "edge", Accepted="UnsupportedAddress")
        await ask_for(addresses=[{"type": "IPAddress", "value": "192.0.2.9"}])
        await w.until_reasons("Gateway", "edge", Accepted="Accepted", Programmed="AddressNotUsable")
        await w.until_answer(browser, "x", text="x")
        await ask_for(addresses=[{"type": "IPAddress", "value": ADDRESS}, {"type": "IPAddress"}])
        await w.until_reasons("Gateway", "edge", Accepted="Accepted", Programmed="Programmed")


async def test_nobody_is_let_in_where_certificates_of_clients_are_asked_for(w: World) -> None:
    await w.certificate("pair", keypair("safe.example"))
    tls = {"name": "tls", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "pair"}]}}
    validation = {"validation": {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]}}
    await w.put("Gateway", "edge", {"gatewayClassName": "knarr", "listeners": [tls], "tls": {"frontend": {"default": validation}}})
    await w.until_reasons("Gateway", "edge", Accepted="ListenersNotValid", Programmed="Invalid")
    (listener,) = (await w.status("Gateway", "edge"))["listeners"]
    assert "UnsupportedValue" in {each["reason"] for each in listener["conditions"]}


async def test_a_listener_keeps_its_requests_from_the_routes_of_a_wider_one(w: World) -> None:
    hosts = {"any": "", "example": "*.example", "foo": "*.foo.example", "abc": "abc.foo.example"}
    listeners = [{**LISTENER, "name": name, **({"hostname": host} if host else {})} for name, host in hosts.items()]
    async with pods("x") as (x,), w.browser() as browser:
        await w.service("web", [x])
        await gateway(w, *listeners)
        for name in hosts:
            parent = {"name": "edge", "sectionName": name}
            await route(w, {"matches": [path(f"/{name}")], "backendRefs": to("web")}, name=name, parent=parent)
        await route(w, {"backendRefs": to("web")}, name="late", parent={"name": "edge", "sectionName": "any"}, hosts=("other.foo.example",))
        for host, name in (("elsewhere", "any"), ("a.example", "example"), ("other.foo.example", "foo"), ("abc.foo.example", "abc")):
            await w.until_answer(browser, host, f"/{name}", text="x")
            others = [(await browser.ask(host, f"/{other}")).status for other in hosts if other != name]
            assert others == [404] * 3
        counted = {each["name"]: each["attachedRoutes"] for each in (await w.status("Gateway", "edge"))["listeners"]}
        assert counted == {"any": 2, "example": 1, "foo": 1, "abc": 1}


async def test_tls_that_is_passed_on_and_tls_that_ends_here_share_a_port(w: World, tmp_path: Path) -> None:
    context = server_context(tmp_path, "passed.example")
    await w.certificate("pair", keypair("ended.example"))
    port = w.settings.https_port
    ended = {"name": "ended", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "pair"}]}}
    async with pods("s", ssl_context=context) as (s,), pods("x") as (x,), w.browser("https") as browser:
        await w.service("safe", [s])
        await w.service("web", [x])
        await gateway(w, ended)
        await gateway(w, {"name": "pass", "port": 443, "protocol": "TLS", "tls": {"mode": "Passthrough"}}, name="other")
        await route(w, {"backendRefs": to("web")})
        await route(w, {"backendRefs": to("safe")}, name="t", kind="TLSRoute", hosts=("passed.example",), parent={"name": "other"})
        for name in ("edge", "other"):
            await w.until_reasons("Gateway", name, Accepted="Accepted", Programmed="Programmed")
        await until_subject(port, "passed.example", "CN=passed.example")
        await until_subject(port, "ended.example", "CN=ended.example")
        assert (await browser.ask("passed.example", server_hostname="passed.example")).text == "s"
        assert (await browser.ask("ended.example", server_hostname="ended.example")).text == "x"
        # Who asks for no name that is passed on is not lost, and pods hear who a client is.
        assert (await browser.ask("other.example", server_hostname="other.example")).text == "x"
        assert x.requests[-1][2]["X-Forwarded-For"] == "127.0.0.1"
        await w.remove("TLSRoute", "t")
        await w.remove("Gateway", "other")
        await until_subject(port, "passed.example", "CN=ended.example")


def server_context(folder: Path, host: str) -> ssl.SSLContext:
    pair = keypair(host)
    (folder / "crt").write_bytes(pair["tls.crt"])
    (folder / "key").write_bytes(pair["tls.key"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "crt", folder / "key")
    return context


async def until_subject(port: int, name: str, wanted: str) -> None:
    """Until a certificate is shown to who asks for a name."""

    async def shown() -> str:
        try:
            return await asyncio.to_thread(subject, port, name)
        except OSError as error:
            return str(error)

    async with asyncio.timeout(WAIT_SECONDS):
        while await shown() != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_tls_is_passed_on_by_its_name(w: World, tmp_path: Path) -> None:
    context = server_context(tmp_path, "passed.example")
    port = free_port()
    async with pods("s", ssl_context=context) as (s,), Browser(port, "https") as browser:
        await w.service("web", [s])
        await gateway(w, {"name": "pass", "port": port, "protocol": "TLS", "tls": {"mode": "Passthrough"}})
        await route(w, {"backendRefs": to("web")}, kind="TLSRoute", hosts=("passed.example",))
        await w.until_reasons("TLSRoute", "r", Accepted="Accepted", ResolvedRefs="ResolvedRefs")
        await w.until_reasons("Gateway", "edge", Programmed="Programmed")

        await until_subject(port, "passed.example", "CN=passed.example")
        answer = await browser.ask("passed.example", server_hostname="passed.example")
        assert answer.text == "s"
        with pytest.raises(OSError):
            await asyncio.to_thread(subject, port, "unknown.example")


async def test_methods_of_grpc_are_led_by_their_names(w: World) -> None:
    import grpc.aio

    async def echo(request: bytes, context: Any) -> bytes:
        return b"echo " + request

    from tests.gateway.world import machine_address

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", {"Say": handler, "Shout": handler}),))
    port = server.add_insecure_port(f"{machine_address()}:0")
    await server.start()
    from tests.gateway.servers import Pod

    try:
        await w.service("grpc", [Pod("g", port)])
        await gateway(w)
        await route(w, {"matches": [{"method": {"service": "echo.Echo", "method": "Say"}}], "backendRefs": to("grpc")}, kind="GRPCRoute")
        await w.until_reasons("GRPCRoute", "r", Accepted="Accepted", ResolvedRefs="ResolvedRefs")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{w.settings.http_port}") as channel:
            say, shout = (channel.unary_unary(f"/echo.Echo/{name}") for name in ("Say", "Shout"))
            assert await say(b"hi", wait_for_ready=True, timeout=WAIT_SECONDS) == b"echo hi"
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await shout(b"hi", timeout=5)
            assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
    finally:
        await server.stop(0)


async def test_websockets_and_http2_to_pods(w: World) -> None:
    async with pods("x") as (x,), w.browser() as browser:
        await w.service("web", [x], app_protocol="kubernetes.io/ws")
        await gateway(w)
        await route(w, {"backendRefs": to("web")})
        await w.until_answer(browser, "x", text="x")
        assert browser._session is not None
        async with browser._session.ws_connect(f"http://127.0.0.1:{w.settings.http_port}/", headers={"Host": "x"}) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str(timeout=WAIT_SECONDS) == "x: hello"
            # A new configuration leaves it alone.
            before = w.gateway.executor.reloads
            await route(w, {"matches": [{"headers": [{"name": "a", "value": "b"}]}], "backendRefs": to("web")}, name="more")
            await w.until(lambda: w.gateway.executor.reloads > before)
            await socket.send_str("still")
            assert await socket.receive_str(timeout=WAIT_SECONDS) == "x: still"
