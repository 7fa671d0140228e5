"""What the public specification of Ingress demands, one test a feature: hosts, paths, default backend, balance, classes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from knarr.api.networking.v1 import networking_pb2 as networking
from tests.gateway.certificates import keypair, subject
from tests.gateway.world import ADDRESS, World, ingress_of, needs_haproxy, pods, world

pytestmark = [pytest.mark.asyncio, needs_haproxy]


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


def ingress(name: str, *rules: tuple[str, str, str, str], tls: str = "") -> networking.Ingress:
    """``rules``: host, kind of path, path, Service."""
    made = ingress_of(name, *rules[0][:1], rules[0][2], rules[0][3], kind=rules[0][1])
    del made.spec.rules[:]
    for host, kind, path, service in rules:
        rule = next((each for each in made.spec.rules if each.host == host), None) or made.spec.rules.add(host=host)
        entry = rule.ingress_rule_value.http.paths.add(path=path, path_type=kind)
        entry.backend.service.name = service
        entry.backend.service.port.number = 80
    if tls:
        made.spec.tls.add(hosts=[tls], secret_name="pair")
    return made


def default_backend(service: str) -> networking.Ingress:
    made = ingress_of("default")
    del made.spec.rules[:]
    made.spec.default_backend.service.name = service
    made.spec.default_backend.service.port.number = 80
    return made


async def test_a_default_backend_takes_every_host_path_and_method(w: World) -> None:
    async with pods("x") as (x,), w.browser() as browser:
        await w.service("web", [x])
        await w.client.create(default_backend("web"))
        await w.until(lambda: w.addresses("default") == [ADDRESS])
        await w.until_answer(browser, "any", text="x")
        for method, host, path in (
            ("GET", "my-host", "/"), ("GET", "my-host", "/sub-path"), ("POST", "some-host", "/"),
            ("PUT", "127.0.0.1", "/resource"), ("DELETE", "some-host", "/resource"), ("PATCH", "my-host", "/resource"),
        ):  # fmt: skip
            answer = await browser.ask(host, path, method, headers={"User-Agent": "tests"})
            assert (answer.status, answer.text, x.requests[-1][0], x.requests[-1][1]) == (200, "x", method, path)
            assert x.requests[-1][2]["User-Agent"] == "tests" and x.requests[-1][2]["Host"] == host
            assert {"Content-Length", "Content-Type", "Date", "Server"} <= set(answer.headers)


async def test_hosts_are_taken_whole_and_a_wildcard_is_one_label(w: World) -> None:
    await w.certificate("pair", keypair("foo.bar.com"))
    async with pods("wild", "exact") as (wild, exact), w.browser() as browser, w.browser("https") as secure:
        await w.service("wild", [wild])
        await w.service("exact", [exact])
        await w.client.create(
            ingress("hosts", ("*.foo.com", "Prefix", "/", "wild"), ("foo.bar.com", "Prefix", "/", "exact"), tls="foo.bar.com")
        )
        await w.until_answer(secure, "foo.bar.com", text="exact")
        assert await asyncio.to_thread(subject, w.settings.https_port, "foo.bar.com") == "CN=foo.bar.com"
        answer = await browser.ask("foo.bar.com", "/x")
        assert (answer.status, answer.headers["Location"]) == (308, f"https://foo.bar.com:{w.settings.https_port}/x")
        assert (await browser.ask("bar.foo.com")).text == "wild"
        assert [(await browser.ask(host)).status for host in ("subdomain.bar.com", "baz.bar.foo.com", "foo.com")] == [404] * 3


async def test_paths_are_exact_or_prefixes_of_whole_parts(w: World) -> None:
    names = ("exact", "prefix", "long", "slash")
    rules = (
        ("exact", "Exact", "/foo", "exact"),
        ("prefix", "Prefix", "/foo", "prefix"), ("prefix", "Prefix", "/aaa/bbb", "long"), ("prefix", "Prefix", "/aaa", "exact"),
        ("mixed", "Prefix", "/foo", "prefix"), ("mixed", "Exact", "/foo", "exact"),
        ("slash", "Prefix", "/aaa/bbb/", "slash"), ("slash", "Exact", "/foo/", "exact"),
    )  # fmt: skip
    wanted = {
        ("exact", "/foo"): "exact", ("exact", "/foo/"): "", ("exact", "/FOO"): "", ("exact", "/bar"): "",
        ("prefix", "/foo"): "prefix", ("prefix", "/foo/"): "prefix", ("prefix", "/FOO"): "", ("prefix", "/aaa/bbb"): "long",
        ("prefix", "/aaa/bbb/ccc"): "long", ("prefix", "/aaa/ccc"): "exact", ("prefix", "/aaaccc"): "",
        ("mixed", "/foo"): "exact", ("slash", "/aaa/bbb"): "slash", ("slash", "/aaa/bbb/"): "slash", ("slash", "/foo"): "",
    }  # fmt: skip
    async with pods(*names) as found, w.browser() as browser:
        for pod in found:
            await w.service(pod.name, [pod])
        await w.client.create(ingress("paths", *rules))
        await w.until_answer(browser, "mixed", "/foo", text="exact")
        answers = {(host, path): await browser.ask(host, path) for host, path in wanted}
        seen = {place: answer.text if answer.status == 200 else "" for place, answer in answers.items()}
        assert seen == wanted and {answer.status for answer in answers.values()} == {200, 404}


async def test_every_pod_gets_as_much_as_the_others(w: World) -> None:
    names = [f"pod-{number}" for number in range(10)]
    async with pods(*names) as found, w.browser() as browser:
        await w.service("web", found)
        await w.client.create(default_backend("web"))
        await w.until_answer(browser, "any")
        counted = Counter([(await browser.ask("load-balancing")).text for _ in range(100)])
        assert set(counted) == set(names) and max(counted.values()) - min(counted.values()) <= 1


async def test_who_names_a_class_that_is_not_ours_is_not_served(w: World) -> None:
    await w.client.create(ingress_of("strange", class_name="some-invalid-class-name"))
    await w.client.create(ingress_of("ours", "ours.example"))
    await w.until(lambda: w.addresses("ours") == [ADDRESS])
    async with w.browser() as browser:
        await w.until_answer(browser, "ours.example", status=503)
        assert (await browser.ask("web.example")).status == 404 and not w.addresses("strange")
