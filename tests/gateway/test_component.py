"""The component: from the API's objects to answers over real sockets, and what objects are told."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.gateway.v1 import gateway_service_pb2 as messages
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.machinery.errors import status_error
from services.gateway.servicer import GatewayServicer
from tests.gateway.certificates import keypair, subject
from tests.gateway.world import ADDRESS, NAMESPACE, WAIT_SECONDS, Aborted, FakeContext, World, ingress_of, needs_haproxy, pods, world

pytestmark = [pytest.mark.asyncio, needs_haproxy]


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def test_nothing_runs_until_there_is_something_to_serve(w: World) -> None:
    assert w.gateway.executor.process.pid == 0 and not w.gateway.follower.services.synced
    await w.client.create(ingress_of(class_name="somebody-elses"))
    async with pods("x") as (x,), w.browser() as browser:
        await w.service("web", [x])
        await w.client.create(ingress_of("ours"))
        await w.until_answer(browser, "web.example", text="x")
        await w.until(lambda: w.addresses("ours") == [ADDRESS])
        assert not w.addresses("web")
        await w.client.delete(networking.Ingress, "ours", NAMESPACE)
        await w.until(lambda: w.gateway.executor.process.pid == 0)


async def test_it_makes_the_class_that_ingresses_get_by_default(w: World) -> None:
    await w.client.create(ingress_of(class_name=""))
    assert w.ingress().spec.ingress_class_name == "knarr"
    await w.until(lambda: w.addresses() == [ADDRESS])


async def test_what_changes_is_in_force_and_told(w: World) -> None:
    async with pods("x", "y") as (x, y), w.browser() as browser:
        await w.client.create(ingress_of())
        await w.until(lambda: "there is no Service default/web" in w.events().get("BackendNotFound", ""))
        await w.until_answer(browser, "web.example", status=503)
        await w.service("web", [x])
        await w.until_answer(browser, "web.example", text="x")
        await w.until(lambda: "Served" in w.events())
        await w.lead("web", [y])
        await w.until_answer(browser, "web.example", text="y")
        await w.client.create(ingress_of("other", "other.example", "/sub"))
        await w.until_answer(browser, "other.example", "/sub/x", text="y")
        await w.client.delete(networking.Ingress, "other", NAMESPACE)
        await w.until_answer(browser, "other.example", "/sub/x", status=404)


async def test_of_two_that_claim_the_same_the_older_has_it(w: World) -> None:
    async with pods("x", "y") as (x, y), w.browser() as browser:
        await w.service("web", [x])
        await w.service("late", [y])
        await w.client.create(ingress_of())
        await w.until_answer(browser, "web.example", text="x")
        await w.client.create(ingress_of("zz-late", service="late"))
        await w.until(lambda: "is Ingress default/web's already" in w.events("zz-late").get("Conflict", ""))
        assert {(await browser.ask("web.example")).text for _ in range(4)} == {"x"}
        await w.client.delete(networking.Ingress, "web", NAMESPACE)
        await w.until_answer(browser, "web.example", text="y")


async def test_certificates_by_name_and_a_self_made_one(w: World) -> None:
    def shown(host: str) -> str:
        return subject(w.settings.https_port, host)

    async def until_shown(name: str) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while await asyncio.to_thread(shown, "web.example") != name:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    def secret(name: str, data: dict[str, bytes]) -> core.Secret:
        made = core.Secret(type="Opaque", data=data)
        made.metadata.namespace, made.metadata.name = NAMESPACE, name
        return made

    async with pods("x") as (x,), w.browser("https") as browser, w.browser() as plain:
        await w.service("web", [x])
        await w.client.create(ingress_of(tls="pair"))
        await w.until(lambda: "no Secret default/pair" in w.events().get("BadCertificate", ""))
        await w.until_answer(browser, "web.example", text="x")
        assert "no certificate was given" in await asyncio.to_thread(shown, "web.example")
        await w.client.create(secret("pair", keypair("web.example")))
        reloads = w.gateway.executor.reloads
        await until_shown("CN=web.example")
        assert "no certificate was given" in await asyncio.to_thread(shown, "else.example")
        renewed = secret("pair", keypair("web.example", "renewed"))
        await w.client.update(renewed)
        await until_shown("CN=renewed")
        assert w.gateway.executor.reloads == reloads, "a certificate is exchanged at run time"
        await w.client.update(secret("pair", {"tls.crt": b"-----BEGIN", "tls.key": b"x"}))
        await w.until(lambda: "is no certificate in PEM" in w.events().get("BadCertificate", ""))
        answer = await plain.ask("web.example", "/x?y=1")
        assert (answer.status, answer.headers["Location"]) == (308, f"https://web.example:{w.settings.https_port}/x?y=1")


async def test_one_secret_that_the_proxy_would_refuse_takes_nothing_from_others(w: World) -> None:
    async with pods("x") as (x,), w.browser("https") as browser:
        await w.service("web", [x])
        await w.certificate("weak", keypair("weak.example", rsa_bits=1024))
        await w.client.create(ingress_of("weak", "weak.example", tls="weak"))
        await w.until(lambda: "is refused by OpenSSL: ee key too small" in w.events("weak").get("BadCertificate", ""))
        await w.client.create(ingress_of())
        for host in ("web.example", "weak.example"):
            await w.until_answer(browser, host, text="x")
        assert not w.gateway.executor.problem


async def test_annotations_are_honoured_or_told_by_name(w: World) -> None:
    annotations = {
        "nginx.ingress.kubernetes.io/rewrite-target": "/to/$2",
        "nginx.ingress.kubernetes.io/proxy-body-size": "1k",
        "nginx.ingress.kubernetes.io/enable-cors": "true",
        "nginx.ingress.kubernetes.io/cors-allow-origin": "https://*.page.example",
        "nginx.ingress.kubernetes.io/force-ssl-redirect": "maybe",
        "nginx.ingress.kubernetes.io/server-snippet": "deny all;",
    }
    async with pods("x") as (x,), w.browser() as browser:
        await w.service("web", [x])
        await w.client.create(ingress_of(path="/from(/|$)(.*)", kind="ImplementationSpecific", annotations=annotations))
        await w.until_answer(browser, "web.example", "/FROM/a", text="x")
        assert x.requests[-1][1] == "/to/a"
        assert (await browser.ask("web.example", "/from/a", "POST", data=b"x" * 1025)).status == 413
        headers = {"Origin": "https://a.page.example", "Access-Control-Request-Method": "PUT"}
        answer = await browser.ask("web.example", "/from/a", "OPTIONS", headers=headers)
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, "https://a.page.example")
        answer = await browser.ask("web.example", "/from/a", headers={"Origin": "https://evil.example"})
        assert answer.status == 200 and "Access-Control-Allow-Origin" not in answer.headers
        for words in ("server-snippet is not known here", "force-ssl-redirect is left out: 'maybe'"):
            await w.until(lambda words=words: any(words in event.message for event in w.api.all(core.Event)))  # type: ignore[misc]


async def test_a_canary_gets_its_part_of_what_another_takes(w: World) -> None:
    def canary(**more: str) -> networking.Ingress:
        words = {f"nginx.ingress.kubernetes.io/canary{name and '-'}{name.replace('_', '-')}": text for name, text in more.items()}
        return ingress_of("new", service="new", annotations={"nginx.ingress.kubernetes.io/canary": "true", **words})

    async def change(made: networking.Ingress) -> None:
        changes = w.gateway.executor.changes
        await w.client.update(made)
        await w.until(lambda: w.gateway.executor.changes > changes)

    async def answers(count: int = 1, **headers: str) -> set[str]:
        return {(await browser.ask("web.example", headers=headers)).text for _ in range(count)}

    async with pods("x", "y") as (x, y), w.browser() as browser:
        await w.service("web", [x])
        await w.service("new", [y])
        await w.client.create(canary(by_header="X-New", by_cookie="new", weight="25"))
        await w.until(lambda: "is a canary, and gets nothing" in w.events("new").get("NotHonoured", ""))
        await w.until_answer(browser, "web.example", status=404)
        await w.client.create(ingress_of(annotations={"nginx.ingress.kubernetes.io/rewrite-target": "/to"}))
        await w.until_answer(browser, "web.example", text="x")
        assert "Conflict" not in w.events() | w.events("new")
        counted = [(await browser.ask("web.example")).text for _ in range(40)]
        assert abs(counted.count("y") - 10) <= 1
        assert y.requests[-1][1] == "/to", "what is done to requests is the other's to say"
        assert await answers(8, **{"X-New": "always"}) == await answers(8, Cookie="a=b; new=always") == {"y"}
        assert await answers(8, **{"X-New": "never"}) == await answers(8, Cookie="new=never") == {"x"}
        assert await answers(8, **{"X-New": "never", "Cookie": "new=always"}) == {"x"}, "a header comes first"
        answer = await GatewayServicer(w.gateway).Explain(
            messages.ExplainRequest(host="web.example", headers={"cookie": "new=always"}), FakeContext()
        )
        assert [(step.route.name, step.taken) for step in answer.steps] == [("new", False), ("web", False), ("new", True)]
        await change(canary(by_header="X-New", by_header_value="me"))
        await w.until_answer(browser, "web.example", text="y", headers={"X-New": "me"})
        assert await answers(8, **{"X-New": "always"}) == await answers(8) == {"x"}
        await change(canary(by_header="X-New", by_header_pattern="^v[0-9]+$"))
        await w.until_answer(browser, "web.example", text="y", headers={"X-New": "v12"})
        assert await answers(8, **{"X-New": "me"}) == {"x"}
        await change(canary(weight="100"))
        await w.until_answer(browser, "web.example", text="y")
        assert await answers(8) == {"y"}
        await w.client.delete(networking.Ingress, "new", NAMESPACE)
        await w.until_answer(browser, "web.example", text="x")
        assert await answers(8) == {"x"}


async def test_passwords(w: World) -> None:
    annotations = {"nginx.ingress.kubernetes.io/auth-type": "basic", "nginx.ingress.kubernetes.io/auth-secret": "users"}
    async with pods("x") as (x,), w.browser() as browser:
        await w.service("web", [x])
        await w.client.create(ingress_of(annotations=annotations))
        # Who is let in is not known yet: nobody is.
        await w.until_answer(browser, "web.example", status=403)
        users = core.Secret(type="Opaque", data={"auth": b"me:$5$salt$WOnO0MHdXDEALf.twzZOIPNs3i4rCTA.NRrcK.sWAR8\nold:$apr1$x$y\n"})
        users.metadata.namespace, users.metadata.name = NAMESPACE, "users"
        await w.client.create(users)
        answer = await w.until_answer(browser, "web.example", status=401)
        assert 'realm="Authentication Required"' in answer.headers["WWW-Authenticate"]
        asked = [(await browser.ask("web.example", headers={"Authorization": f"Basic {base64.b64encode(pair).decode()}"})).status
                 for pair in (b"me:Hello world!", b"me:wrong", b"old:x")]  # fmt: skip
        assert asked == [200, 401, 401]


async def test_an_expression_or_a_word_that_would_break_out_is_refused(w: World) -> None:
    async with pods("x") as (x,), w.browser() as browser:
        await w.service("web", [x])
        await w.client.create(ingress_of())
        bad = {"nginx.ingress.kubernetes.io/rewrite-target": "/a\n  server evil 127.0.0.1:1"}
        await w.client.create(ingress_of("bad", "bad.example", annotations=bad))
        await w.client.create(ingress_of("worse", "worse.example", "/(?<=x)", kind="ImplementationSpecific", annotations={
            "nginx.ingress.kubernetes.io/use-regex": "true"}))  # fmt: skip
        await w.until(lambda: "is left out" in w.events("worse").get("NotHonoured", ""))
        await w.until_answer(browser, "web.example", text="x")
        assert (await browser.ask("worse.example", "/x")).status == 404


async def test_a_port_that_somebody_has_is_told_and_the_other_served(tmp_path: Path) -> None:
    async with world(tmp_path) as w, pods("x") as (x,), w.browser("https") as browser:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", w.settings.http_port))
            taken.listen()
            await w.service("web", [x])
            await w.client.create(ingress_of())
            await w.until_answer(browser, "web.example", text="x")
            await w.until(
                lambda: f"127.0.0.1:{w.settings.http_port} cannot be opened: Address already in use" in w.events().get("NotServed", "")
            )
        async with w.browser() as plain:
            await w.until_answer(plain, "web.example", text="x")


async def test_without_haproxy_it_says_so_and_nothing_else_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.haproxy.process.PROGRAM", "no-such-haproxy")
    async with world(tmp_path) as w:
        await w.client.create(ingress_of())
        await w.until(lambda: "install the package haproxy" in w.events().get("NotServed", ""))
        assert w.gateway.follower.synced


async def test_without_the_api_server_it_serves_what_it_knew(w: World) -> None:
    async with pods("x") as (x,), w.browser() as browser:
        await w.service("web", [x])
        await w.client.create(ingress_of())
        await w.until_answer(browser, "web.example", text="x")
        w.api.fail_next(status_error("ServiceUnavailable", "away"), times=1_000_000)
        w.api.break_watches()
        await w.until(lambda: w.gateway.away_since)
        os.kill(w.gateway.executor.process.pid, signal.SIGKILL)
        await w.until(lambda: w.gateway.executor.process.restarts == 1)
        await w.until_answer(browser, "web.example", text="x")
        status = await GatewayServicer(w.gateway).GetStatus(messages.GetStatusRequest(), FakeContext())
        assert status.stale and status.restarts == 1 and "last known routes" in status.problems[0]
        w.api.heal()


async def test_a_rolling_update_under_load_fails_no_request(w: World) -> None:
    async with pods("a", "b", "c", "d", "e", "f") as found, w.browser() as browser:
        old, new = found[:3], found[3:]
        await w.service("web", old)
        await w.client.create(ingress_of())
        await w.until_answer(browser, "web.example")
        seen: list[tuple[int, str]] = []
        going = True

        async def load() -> None:
            while going:
                answer = await browser.ask("web.example")
                seen.append((answer.status, answer.text))

        loads = [asyncio.create_task(load()) for _ in range(8)]
        serving = list(old)
        for before, after in zip(old, new, strict=True):
            serving.append(after)
            await w.lead("web", serving)
            await w.until(lambda: after.requests)  # noqa: B023
            serving.remove(before)
            await w.lead("web", serving)
            # It ends as soon as it was told, like most programs.
            await before.stop()
            count = len(seen)
            await w.until(lambda: len(seen) > count + 20)  # noqa: B023
        going = False
        await asyncio.gather(*loads)
        assert {status for status, _ in seen} == {200} and {name for _, name in seen} == {pod.name for pod in found}
        assert w.gateway.executor.reloads == 1


async def test_explain_says_who_takes_a_request_and_why_not(w: World) -> None:
    servicer = GatewayServicer(w.gateway)

    async def explain(**asked: Any) -> messages.ExplainResponse:
        return await servicer.Explain(messages.ExplainRequest(**asked), FakeContext())

    answer = await explain(host="web.example")
    assert answer.result == "404: no route takes it" and "nothing is served" in " ".join(answer.notes)
    async with pods("x") as (x,), w.browser() as browser:
        await w.service("web", [x])
        await w.client.create(ingress_of(path="/foo"))
        await w.until_answer(browser, "web.example", "/foo", text="x")
        answer = await explain(host="WEB.example:80", path="/foo/bar?x=1")
        step = answer.steps[0]
        assert (step.route.name, step.route.place, step.taken) == ("web", "spec.rules[0].http.paths[0]", True)
        assert step.route.backends[0].endpoints[0].port == x.port and answer.result == "goes to one of 1 endpoints"
        assert (await explain(host="web.example", path="/foobar")).result == "404: no route takes it"
        routes = await servicer.GetRoutes(messages.GetRoutesRequest(), FakeContext())
        assert {(route.port, route.host, route.path) for route in routes.routes} == {
            (80, "web.example", "/foo"),
            (443, "web.example", "/foo"),
        }
    for asked, words in (
        ({"host": "no host"}, "host: 'no host' is no host name"),
        ({"path": "x", "host": "a"}, "path:"),
        ({"host": "a", "port": 70000}, "port:"),
    ):
        with pytest.raises(Aborted, match=words):
            await explain(**asked)
