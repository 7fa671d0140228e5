"""Routes in force in a real HAProxy, before small servers on the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest

from services.gateway.haproxy.frontends import Bind
from services.gateway.haproxy.process import LOG, MOST_LOG_BYTES, Haproxy, ProxyError, most_connections
from services.gateway.haproxy.program import CONFIGURATION, Limits, Program, Reload, Runtime
from services.gateway.routing.actions import Action, Cookie, Headers, Mirror, Options, Redirect, Rewrite, Target, Weighted
from services.gateway.routing.conditions import Condition
from services.gateway.routing.table import Match, Origin, PathKind, Request, Route
from tests.gateway.configurations import refusal
from tests.gateway.servers import Browser, Pod, pods
from tests.gateway.world import needs_haproxy
from tests.support.ports import free_port

pytestmark = [pytest.mark.asyncio, needs_haproxy]
ORIGIN = Origin("Ingress", "default", "web")


class Gateway:
    """A program and the process that works by it."""

    def __init__(self, folder: Path, *, lua: bool = True) -> None:
        self.port = free_port()
        self.program = Program(Limits(connections=most_connections(2000), lua=lua), [Bind(80, (("127.0.0.1", self.port),), tls=False)])
        self.process = Haproxy(folder, self.program.restart)
        self.kinds: list[str] = []

    async def apply(self) -> None:
        change = self.program.change()
        self.kinds.append(type(change).__name__)
        if isinstance(change, Reload):
            await self.process.reload(change)
        elif isinstance(change, Runtime):
            await self.process.command(change.commands)

    async def put(self, *routes: Route, origin: Origin = ORIGIN) -> None:
        self.program.put(origin, routes)
        assert not self.program.refused
        await self.apply()

    async def lead(self, service: str, *found: Pod) -> None:
        self.program.put_endpoints(target(service), tuple(pod.server for pod in found))
        await self.apply()


@contextlib.asynccontextmanager
async def running(folder: Path, *, lua: bool = True) -> AsyncIterator[Gateway]:
    made = Gateway(folder / "haproxy", lua=lua)
    task = asyncio.create_task(made.process.run())
    try:
        yield made
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with running(tmp_path) as made:
        yield made


def target(service: str) -> Target:
    return Target("default", service, "80")


def service_of(found: Route) -> str:
    aim = found.action.targets[0].target
    assert aim is not None
    return aim.service


def to(*services: str, **rest: object) -> Action:
    return Action(targets=tuple(Weighted(target(service)) for service in services), **rest)  # type: ignore[arg-type]


def route(host: str = "a.example", path: str = "", service: str = "web", action: Action | None = None, kind: PathKind = PathKind.PREFIX,
          deep: bool = False, **match: object) -> Route:  # fmt: skip
    return Route(80, host, Match(kind, path, **match), action or to(service), ORIGIN, deep=deep)  # type: ignore[arg-type]


PRECEDENCE = [
    route(path="", service="root"),
    route(path="/foo", service="foo"),
    route(path="/foo/bar", service="posted", method="POST"),
    route(path="/foo/bar", service="marked", headers=(Condition("X-Mark", "it's 100%"),)),
    route(path="/foo/bar", service="asked", query=(Condition("v", "2"),)),
    route(path="/foo", kind=PathKind.EXACT, service="exact"),
    route(path="/v[0-9]+/.*", kind=PathKind.REGEX, service="regex"),
    route(path="/v1/deeper", service="never"),
    route("*.example", path="/one", service="one"),
    route("*.wide.example", path="", service="deep", deep=True),
    route("*.more.wide.example", path="", service="deeper", deep=True),
    route("", path="/any", service="any"),
    route("only.example", path="", service="guarded", headers=(Condition("X-Mark", "[0-9]{2}", regex=True),)),
]
REQUESTS = [
    ("a.example", "/", {}, "root"),
    ("A.example:8080", "/x", {}, "root"),
    ("a.example", "/foo", {}, "exact"),
    ("a.example", "/foo/", {}, "foo"),
    ("a.example", "/foobar", {}, "root"),
    ("a.example", "/foo/bar/x", {}, "foo"),
    ("a.example", "/foo/bar", {"X-Mark": "it's 100%"}, "marked"),
    ("a.example", "/foo/bar?v=2", {}, "asked"),
    ("a.example", "/foo/bar?v=22", {}, "foo"),
    ("a.example", "/v12/deeper", {}, "regex"),
    ("b.example", "/one/x", {}, "one"),
    ("b.example", "/two", {}, ""),
    ("b.c.example", "/one", {}, ""),
    ("b.c.wide.example", "/one", {}, "deep"),
    ("b.more.wide.example", "/one", {}, "deeper"),
    ("elsewhere", "/any", {}, "any"),
    ("a.example.", "/", {}, "root"),
    ("only.example", "/any", {}, "any"),
    ("only.example", "/any", {"X-Mark": "a12"}, "guarded"),
]


async def test_precedence_is_that_of_the_table(gateway: Gateway) -> None:
    """What the proxy does is what Explain says that it does."""
    names = sorted({service_of(each) for each in PRECEDENCE})
    async with pods(*names) as found, Browser(gateway.port) as browser:
        for pod in found:
            gateway.program.put_endpoints(target(pod.name), (pod.server,))
        await gateway.put(*PRECEDENCE)
        for host, path, headers, service in REQUESTS:
            answer = await browser.ask(host, path, headers=headers)
            assert (answer.status, answer.text if service else "") == (200 if service else 404, service), (host, path, headers)
            plain, _, query = path.partition("?")
            said = gateway.program.table.explain(
                Request(
                    80,
                    host.partition(":")[0].rstrip("."),
                    plain,
                    headers={name.lower(): value for name, value in headers.items()},
                    query=parse_qs(query),
                )
            )
            took = next((service_of(step.route) for step in said if step.taken), "")
            assert took == service, (host, path, headers)
        assert (await browser.ask("a.example", "/foo/bar", "POST")).text == "posted"


@pytest.mark.parametrize("conditional", [False, True], ids=["plain", "conditional"])
async def test_a_host_cannot_say_a_path(gateway: Gateway, conditional: bool) -> None:
    """What is led to a pod is what a rule names: the path is asked, not what a client calls its host."""
    more = (route("a.example", "/public", method="POST"),) if conditional else ()
    async with pods("x") as (x,), Browser(gateway.port) as browser:
        await gateway.put(route("a.example", "/public"), *more)
        await gateway.lead("web", x)
        answers = [(await browser.ask(host, path)).status for host, path in (("a.example", "/public"), ("a.example/public", "/secret"))]
        assert answers == [200, 400] and [asked[1] for asked in x.requests] == ["/public"]
        assert [(await browser.ask(host, "/public")).status for host in ("A.EXAMPLE", "a.example:80", "a.example.", "b.example")] == [
            200,
            200,
            200,
            404,
        ]


async def test_round_robin_is_exact(gateway: Gateway) -> None:
    async with pods("x", "y", "z") as found, Browser(gateway.port) as browser:
        await gateway.put(route())
        await gateway.lead("web", *found)
        counted = Counter([(await browser.ask("a.example")).text for _ in range(60)])
        assert counted == {"x": 20, "y": 20, "z": 20}


async def test_changes_at_run_time_need_no_new_process(gateway: Gateway) -> None:
    async with pods("x", "y") as (x, y), Browser(gateway.port) as browser:
        await gateway.put(route())
        first = gateway.process.pid
        await gateway.lead("web", x)
        assert (await browser.ask("a.example")).text == "x"
        await gateway.put(route(), route("b.example", "/;it's \\odd <", service="other"))
        await gateway.lead("other", y)
        assert (await browser.ask("b.example", "/;it's%20%5Codd%20%3C/x")).text == "y"
        await gateway.lead("web", y)
        assert {(await browser.ask("a.example")).text for _ in range(4)} == {"y"}
        await gateway.lead("web", x)
        assert {(await browser.ask("a.example")).text for _ in range(4)} == {"x"}
        await gateway.put(route())
        assert (await browser.ask("b.example", "/;it's%20%5Codd%20%3C/x")).status == 404
        await gateway.lead("web")
        assert (await browser.ask("a.example")).status == 503
        assert gateway.kinds == ["Reload"] + ["Runtime"] * 7 and gateway.process.pid == first


async def test_a_new_configuration_drops_no_connection(gateway: Gateway) -> None:
    async with pods("x") as (x,), Browser(gateway.port) as browser:
        await gateway.put(route())
        await gateway.lead("web", x)
        statuses: list[int] = []
        going = True

        async def load() -> None:
            while going:
                statuses.append((await browser.ask("a.example", "/?sleep=0.01")).status)

        loads = [asyncio.create_task(load()) for _ in range(8)]
        slow = asyncio.create_task(browser.ask("a.example", "/?sleep=1"))
        while len(statuses) < 10:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for number in range(4):
            before = gateway.process.pid
            await gateway.put(route(), route("b.example", f"/{number}", headers=(Condition("X", "y"),)))
            assert gateway.process.pid != before
            seen = len(statuses)
            while len(statuses) < seen + 20:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        going = False
        await asyncio.gather(*loads)
        assert (await slow).status == 200 and set(statuses) == {200}


async def test_one_that_dies_while_another_takes_its_place_loses_no_change(gateway: Gateway) -> None:
    async with pods("x") as (x,), Browser(gateway.port) as browser:
        await gateway.put(route())
        await gateway.lead("web", x)
        for number in range(3):
            os.kill(gateway.process.pid, signal.SIGKILL)
            await gateway.put(
                route(path=f"/{number}", action=to("web", rewrite=Rewrite(path=f"/{number}"))), origin=Origin("Ingress", "d", str(number))
            )
            assert (await browser.ask("a.example", f"/{number}")).text == "x"


async def test_killed_it_is_back_within_a_second(gateway: Gateway) -> None:
    async with pods("x", "y") as (x, y), Browser(gateway.port) as browser:
        await gateway.put(route())
        await gateway.lead("web", x)
        pid = gateway.process.pid
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        while gateway.process.restarts == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        assert time.monotonic() - began < 1 and gateway.process.pid not in (0, pid)
        await gateway.lead("web", y)
        assert gateway.kinds[-1] == "Reload", "what was changed at run time is lost with the process"
        assert (await browser.ask("a.example")).text == "y"


async def test_a_configuration_that_cannot_start_changes_nothing(gateway: Gateway) -> None:
    async with pods("x") as (x,), Browser(gateway.port) as browser:
        await gateway.put(route())
        await gateway.lead("web", x)
        gateway.program.bind([Bind(80, (("127.0.0.1", gateway.port), ("192.0.2.77", 1)), tls=False)])
        change = gateway.program.change()
        assert isinstance(change, Reload)
        with pytest.raises(ProxyError, match=r"does not start.*192\.0\.2\.77:1"):
            await gateway.process.reload(change)
        assert (await browser.ask("a.example")).text == "x"


async def test_without_haproxy_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.haproxy.process.PROGRAM", "no-such-haproxy")
    with pytest.raises(ProxyError, match="install the package haproxy"):
        await Haproxy(tmp_path).reload(Reload({}))


async def test_what_is_done_on_the_way(gateway: Gateway) -> None:
    ways = {
        "/set": to("web", rewrite=Rewrite(path="/whole%20path's")),
        "/pre": to("web", rewrite=Rewrite(prefix="/pre", replacement="/in%to")),
        "/cut": to("web", rewrite=Rewrite(prefix="/cut", replacement="/", host="other.example")),
        "/exp": to("web", rewrite=Rewrite(pattern="^/exp(/|$)(.*)", replacement="/\\2")),
        "/hdr": to("web", request=Headers(set=(("X-Set", 'it\'s "100%" \\1 %[src]'),), add=(("X-Add", "b"),), remove=("X-Gone",))),
        "/res": to("web", response=Headers(set=(("X-Pod", "hidden"),), remove=("X-Body",))),
        "/big": to("web", options=Options(body_bytes=10)),
        "/net": to("web", options=Options(allowed=("10.0.0.0/8",))),
        "/slow": to("web", options=Options(timeout_seconds=0.2)),
        "/go": Action(redirect=Redirect(301, "https", "else.example", 8443, Rewrite(prefix="/go", replacement="/gone"))),
        "/tls": Action(redirect=Redirect(308)),
        "/none": Action(targets=(Weighted(None, status=500),)),
    }
    async with pods("x") as (x,), Browser(gateway.port) as browser:
        await gateway.put(*(route(path=path, action=action) for path, action in ways.items()))
        await gateway.lead("web", x)

        async def seen(path: str, **headers: str) -> tuple[str, Any]:
            assert (await browser.ask("a.example", path, headers=headers)).status == 200
            return x.requests[-1][1], x.requests[-1][2]

        assert (await seen("/set/x?q=1"))[0] == "/whole%20path's?q=1"
        assert [(await seen(path))[0] for path in ("/pre", "/pre/", "/pre/a")] == ["/in%to", "/in%to/", "/in%to/a"]
        assert [(await seen(path))[0] for path in ("/cut", "/cut/", "/cut/a")] == ["/", "/", "/a"]
        assert (await seen("/cut"))[1]["Host"] == "other.example"
        assert (await seen("/exp/a/b"))[0] == "/a/b"
        _, headers = await seen("/hdr", **{"X-Gone": "1", "X-Add": "a", "X-Forwarded-For": "1.2.3.4"})
        assert headers["X-Set"] == 'it\'s "100%" \\1 %[src]' and "X-Gone" not in headers and headers["X-Forwarded-For"] == "127.0.0.1"
        answer = await browser.ask("a.example", "/res")
        assert answer.headers["X-Pod"] == "hidden" and "X-Body" not in answer.headers
        assert [(await browser.ask("a.example", "/big", "POST", data=b"x" * size)).status for size in (10, 11)] == [200, 413]
        assert (await browser.ask("a.example", "/net")).status == 403
        assert (await browser.ask("a.example", "/slow?sleep=2")).status == 504
        answer = await browser.ask("a.example", "/go/x?q=1")
        assert (answer.status, answer.headers["Location"]) == (301, "https://else.example:8443/gone/x?q=1")
        answer = await browser.ask("a.example", "/tls/x?q=1")
        assert (answer.status, answer.headers["Location"]) == (308, "https://a.example/tls/x?q=1")
        assert (await browser.ask("a.example", "/none")).status == 500


@pytest.mark.parametrize("lua", [True, False], ids=["lua", "no-lua"])
async def test_a_body_that_is_too_large_is_refused_also_where_nobody_says_how_large_it_is(tmp_path: Path, lua: bool) -> None:
    async def parts(size: int) -> AsyncIterator[bytes]:
        for start in range(0, size, 10_000):
            yield b"x" * min(10_000, size - start)

    async with running(tmp_path, lua=lua) as made, pods("web", "small") as (web, small), Browser(made.port) as browser:
        await made.lead("web", web)
        await made.lead("small", small)
        await made.put(
            route(action=to("web", options=Options(body_bytes=100_000))),
            route(path="/small", action=to("small", options=Options(body_bytes=10))),
            route(path="/any", action=to("web")),
        )

        async def status(path: str, size: int) -> int:
            try:
                return (await browser.ask("a.example", path, "POST", data=parts(size))).status
            except aiohttp.ClientError:
                # Answered while it still sends, it may find the connection closed before it reads the answer.
                return large

        fits, large = (200, 413) if lua else (411, 411)
        asked = [("/", 100_000), ("/", 100_002), ("/", 3_000_000), ("/small", 10), ("/small", 12), ("/any", 3_000_000)]
        assert [await status(*each) for each in asked] == [fits, large, large, fits, large, 200]
        # What was ended in the middle is no whole request to anybody.
        assert len(web.requests) + len(small.requests) == (3 if lua else 1)
        assert [(await browser.ask("a.example", "/", "POST", data=b"x" * size)).status for size in (100_000, 100_001)] == [200, 413]
        assert (await browser.ask("a.example", "/")).status == 200


async def test_what_it_says_while_it_runs_is_kept_short(gateway: Gateway) -> None:
    await gateway.put(route())
    current = gateway.process._current
    assert current is not None
    said = current.folder / LOG
    said.write_bytes(b"x" * (MOST_LOG_BYTES + 1))
    gateway.process.trim()
    assert said.stat().st_size == 0


async def test_without_lua_what_needs_it_is_refused_and_all_else_served(tmp_path: Path) -> None:
    made = Gateway(tmp_path / "haproxy", lua=False)
    copied = Origin("HTTPRoute", "default", "copied")
    made.program.put(copied, [route("b.example", action=to("web", mirrors=(Mirror(target("copy")),)))])
    assert "built without it" in made.program.refused[copied]
    made.program.put(ORIGIN, [route()])
    change = made.program.change()
    assert isinstance(change, Reload) and "lua" not in change.files[CONFIGURATION]
    assert not refusal(tmp_path, change)


async def test_weights_are_of_services_whatever_the_number_of_their_pods(gateway: Gateway) -> None:
    action = Action(targets=(Weighted(Target("default", "web", "80"), 9), Weighted(Target("default", "next", "80"), 1)))
    async with pods("x", "y", "z") as (x, y, z), Browser(gateway.port) as browser:
        await gateway.put(route(action=action))
        await gateway.lead("web", x, y)
        await gateway.lead("next", z)
        counted = Counter([(await browser.ask("a.example")).text for _ in range(100)])
        # A turn that began before the last of them came is not a whole one.
        assert all(abs(counted[name] - wanted) <= 1 for name, wanted in {"x": 45, "y": 45, "z": 10}.items())


async def test_a_client_stays_with_its_pod(gateway: Gateway) -> None:
    async with pods("x", "y", "z") as found, Browser(gateway.port) as browser:
        by_cookie, by_address = (
            to("web", options=options) for options in (Options(cookie=Cookie("SRV", 60, "Lax", secure=True)), Options(affinity_seconds=60))
        )
        await gateway.put(route(path="/c", action=by_cookie), route(path="/i", action=by_address))
        await gateway.lead("web", found[0])
        await gateway.lead("web", *found)
        for _ in found:
            first = await browser.ask("a.example", "/c")
        assert first.headers["Set-Cookie"].partition("; ")[2] == "path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=60"
        cookie = first.headers["Set-Cookie"].partition(";")[0]
        assert cookie.startswith("SRV=")
        assert {(await browser.ask("a.example", "/c", headers={"Cookie": cookie})).text for _ in range(6)} == {first.text}
        assert len({(await browser.ask("a.example", "/i")).text for _ in range(6)}) == 1
        assert gateway.kinds == ["Reload", "Runtime", "Runtime"], "a server that comes while it runs has a cookie too"
        # Whoever stayed with a pod that goes gets another.
        await gateway.lead("web", *(pod for pod in found if pod.name != first.text))
        answer = await browser.ask("a.example", "/c", headers={"Cookie": cookie})
        assert answer.status == 200 and answer.text != first.text and "SRV=" in answer.headers["Set-Cookie"]
