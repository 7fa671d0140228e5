"""Explain says what the proxy does: over tables and requests by chance, and for what is no plain share."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import pytest

from services.gateway.explain import action_words, result_words
from services.gateway.haproxy.frontends import Bind
from services.gateway.haproxy.process import Haproxy, most_connections
from services.gateway.haproxy.program import Limits, Program, Reload
from services.gateway.routing.actions import TCP, Action, Mirror, Options, Redirect, Server, Target, Weighted
from services.gateway.routing.conditions import Condition
from services.gateway.routing.table import Match, Origin, PathKind, Request, Route, Step, Table, passed
from tests.gateway.servers import Browser, pods
from tests.gateway.world import needs_haproxy
from tests.support.ports import free_port

HOSTS = ("a.example", "b.a.example", "c.b.a.example", "*.example", "*.a.example", "*.b.a.example", "")
ASKED_HOSTS = ("a.example", "A.Example", "b.a.example", "c.b.a.example", "d.c.b.a.example", "x.example", "y.x.example", "elsewhere")
PREFIXES = ("", "/a", "/a/b", "/a/b/c", "/ab")
EXACT = ("/", "/a", "/a/", "/a/b", "/ab")
EXPRESSIONS = ("/a.*", "/[ab]+$", "^/a/b", "/(x|y)/.*", ".*b")
ASKED_PATHS = ("/", "/a", "/a/", "/A", "/a/b", "/a/b/", "/a/b/c/d", "/ab", "/abc", "/x/1", "/z")
PODS = 6


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[tuple[Program, Haproxy, int]]:
    port = free_port()
    program = Program(Limits(connections=most_connections(2000)), [Bind(80, (("127.0.0.1", port),), tls=False)])
    process = Haproxy(tmp_path / "haproxy", program.restart)
    task = asyncio.create_task(process.run())
    yield program, process, port
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def origin(name: str, kind: str = "HTTPRoute") -> Origin:
    return Origin(kind, "default", name)


def condition(chance: random.Random, name: str) -> tuple[Condition, ...]:
    value = chance.choice(("1", "2", "1 2"))
    return (Condition(name, f"^{value[0]}", regex=True) if chance.random() < 0.3 else Condition(name, value),)


def match(chance: random.Random) -> Match:
    kind = chance.choice((PathKind.PREFIX, PathKind.PREFIX, PathKind.EXACT, PathKind.REGEX))
    path = chance.choice({PathKind.PREFIX: PREFIXES, PathKind.EXACT: EXACT, PathKind.REGEX: EXPRESSIONS}[kind])
    return Match(
        kind,
        path,
        method=chance.choice(("", "", "", "GET", "POST")),
        headers=condition(chance, "X-Mark") if chance.random() < 0.2 else (),
        query=condition(chance, "q") if chance.random() < 0.2 else (),
        cookies=condition(chance, "c") if chance.random() < 0.1 else (),
        ignore_case=kind is PathKind.REGEX and chance.random() < 0.3,
    )


def routes(chance: random.Random) -> list[Route]:
    made = []
    for number in range(chance.randrange(5, 40)):
        host, target = chance.choice(HOSTS), Target("default", f"s{chance.randrange(PODS)}", "80")
        deep = host.startswith("*.") and chance.random() < 0.6
        made.append(Route(80, host, match(chance), Action((Weighted(target),)), origin(f"r{number}"), since=number, deep=deep))
    return made


@needs_haproxy
@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(8))
async def test_the_proxy_takes_the_route_that_explain_says(proxy: tuple[Program, Haproxy, int], seed: int) -> None:
    program, process, port = proxy
    chance = random.Random(seed)
    names = [f"s{number}" for number in range(PODS)]
    async with pods(*names) as found, Browser(port) as browser:
        for pod in found:
            program.put_endpoints(Target("default", pod.name, "80"), (pod.server,))
        for route in routes(chance):
            program.put(route.origin, [route])
        assert not program.refused
        change = program.change()
        assert isinstance(change, Reload)
        await process.reload(change)
        for _ in range(120):
            host, path, method = chance.choice(ASKED_HOSTS), chance.choice(ASKED_PATHS), chance.choice(("GET", "GET", "POST"))
            headers = {"X-Mark": chance.choice(("1", "2", "3"))} if chance.random() < 0.4 else {}
            if chance.random() < 0.2:
                headers["Cookie"] = f"other=1; c={chance.choice('12')}"
            query = urlencode([("q", chance.choice(("1", "2", "1 2"))) for _ in range(chance.choice((0, 0, 1, 2)))])
            asked = Request(80, host, path, method, {name.lower(): value for name, value in headers.items()}, parse_qs(query))
            steps = program.table.explain(asked)
            took = next((step.route.action.targets[0].target for step in steps if step.taken), None)
            answer = await browser.ask(host, f"{path}?{query}" if query else path, method, headers=headers)
            assert answer.text == (took.service if took else "no route leads from here"), (asked, answer.status)


WEB, NEW = Target("default", "web", "80"), Target("default", "new", "80")
ENDPOINTS = {WEB: (Server("192.0.2.1", 80), Server("192.0.2.2", 80)), NEW: (Server("192.0.2.3", 80),)}
NO_ENDPOINT = "its Service is not there, or has no endpoint that is ready"
LOST = Weighted(None, 1, 500)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (Action((Weighted(WEB),)), "goes to one of 2 endpoints"),
        (Action((Weighted(WEB, 3), Weighted(NEW))), "goes to one of 3 endpoints"),
        (Action((Weighted(WEB, 3), LOST)), "goes to one of 2 endpoints, but for 1 of 4 that are answered 500"),
        (Action((LOST,)), "500: it leads to no Service"),
        (Action((Weighted(WEB, 0),)), "500: it leads to no Service"),
        (Action((Weighted(Target("default", "empty", "80")),)), "503: its Service has no endpoint that is ready"),
        (Action(redirect=Redirect(301, host="b.example")), "redirected (301) to https://b.example"),
        (
            Action(choices=((3, Action((Weighted(WEB),))), (1, Action(redirect=Redirect(host="b.example"))))),
            "3 of 4: goes to one of 2 endpoints; 1 of 4: redirected (302) to https://b.example",
        ),
        (Action((LOST,), options=Options(protocol=TCP)), f"the connection is ended: {NO_ENDPOINT}"),
    ],
)
def test_what_a_request_comes_to(action: Action, words: str) -> None:
    assert result_words([Step(Route(80, "", Match(), action, origin("r")), taken=True, reason="")], ENDPOINTS) == words


def test_choices_and_copies_are_told() -> None:
    copied = Action((Weighted(WEB),), mirrors=(Mirror(NEW, part=1, whole=4), Mirror(WEB)))
    assert action_words(copied) == "default/web:80; a copy of 1 in 4 to default/new:80; a copy to default/web:80"
    choices = Action(choices=((3, copied), (1, Action((Weighted(NEW),)))))
    assert action_words(choices).startswith("3 of 4: default/web:80, a copy of 1 in 4") and choices.shares == ((WEB, 3), (NEW, 1))


def test_a_name_whose_tls_is_passed_on_is_taken_before_all_others() -> None:
    table = Table()
    to, own = Action((Weighted(WEB),), options=Options(protocol=TCP)), origin("t", "TLSRoute")
    table.put(own, [Route(passed(443), "*.p.example", Match(), to, own, deep=True)])

    def taken(host: str) -> list[str]:
        return [step.route.origin.name for step in table.explain(Request(443, host, "/x")) if step.taken]

    assert taken("a.b.p.example") == ["t"] and not taken("p.example") and table.passes(443)
    ended = origin("r")
    table.put(ended, [Route(443, "", Match(), Action((Weighted(WEB),)), ended)])
    assert taken("a.p.example") == ["t"] and taken("p.example") == ["r"] and not table.passes(443)
    assert result_words([], {}, passed=True).startswith("the connection is ended")
