"""Names that others are asked for: faults of upstreams, each a fake server on the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import pytest

from services.dns.settings import DnsSettings
from services.dns.upstream.cache import STALE_TTL_SECONDS, AnswerCache
from services.dns.upstream.forwarder import Forwarder
from services.dns.upstream.resolv_conf import Choice, Server, choose, parse_server, read
from services.dns.upstream.sockets import Sockets
from services.dns.zone.records import Answer, Record
from tests.dns.upstreams import LOOPBACK, FakeUpstream, address, fake_upstream, nothing, reply

TRY_SECONDS, LIMIT_SECONDS = 0.25, 0.8
SOA = "example. 30 SOA ns.example. root.example. 1 2 3 4 20"


@contextlib.asynccontextmanager
async def forwarding(*upstreams: FakeUpstream, **changes: Any) -> AsyncIterator[Forwarder]:
    made = Forwarder(DnsSettings(LOOPBACK, **{"upstream_try_seconds": TRY_SECONDS, "upstream_limit_seconds": LIMIT_SECONDS, **changes}))
    made.use(Choice(tuple(Server(LOOPBACK, upstream.port) for upstream in upstreams), ()))
    try:
        yield made
    finally:
        await made.close()


def data(answer: Answer) -> list[str]:
    return [record.data for record in answer.answers]


async def test_an_answer_is_kept_for_its_time() -> None:
    async with fake_upstream(address) as upstream, forwarding(upstream) as forwarder:
        assert data(await forwarder.resolve("a.example", "A")) == ["192.0.2.80"]
        again = await forwarder.resolve("a.example", "A")
        assert data(again) == ["192.0.2.80"] and again.answers[0].ttl in (59, 60)
        assert len(upstream.asked) == 1 and forwarder.cache.hits == 1


async def test_a_question_is_asked_once_at_a_time_with_an_id_and_port_of_its_own() -> None:
    async with fake_upstream(address) as upstream, forwarding(upstream) as forwarder:
        upstream.delay_seconds = 0.02
        answers = await asyncio.gather(*(forwarder.resolve(f"{number % 10}.example", "A") for number in range(100)))
        assert all(answer.code == "NOERROR" for answer in answers)
        assert len(upstream.asked) == 10
        assert len(set(upstream.ids)) > 8 and len(upstream.ports) > 5


async def test_one_who_gave_up_does_not_take_the_answer_from_others() -> None:
    async with fake_upstream(address) as upstream, forwarding(upstream) as forwarder:
        upstream.delay_seconds = 0.05
        first = asyncio.create_task(forwarder.resolve("a.example", "A"))
        second = asyncio.create_task(forwarder.resolve("a.example", "A"))
        await asyncio.sleep(0)
        first.cancel()
        assert data(await second) == ["192.0.2.80"]


@pytest.mark.parametrize("turns", range(5))
async def test_a_question_that_ends_while_its_socket_is_made_leaves_none_open(turns: int) -> None:
    before, sockets = open_sockets(), Sockets()
    asking = [asyncio.create_task(sockets.make_socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(20)]
    for _ in range(turns):
        await asyncio.sleep(0)
    made = [task.result() for task in asking if task.done()]
    for task in asking:
        task.cancel()
    await asyncio.wait(asking)
    await sockets.close()
    for one in made:
        await one.close()
    # A transport is closed in the loop's next turns.
    for _ in range(3):
        await asyncio.sleep(0)
    assert open_sockets() == before and (turns or not made)


def open_sockets() -> set[str]:
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        # What the folder itself is read by is gone by now.
        with contextlib.suppress(FileNotFoundError):
            found.add(str(link.readlink()))
    return {text for text in found if text.startswith("socket:")}


async def test_the_next_is_asked_where_one_is_dead_and_it_is_asked_first_from_then_on() -> None:
    async with fake_upstream(nothing) as dead, fake_upstream(address) as alive, forwarding(dead, alive) as forwarder:
        assert data(await forwarder.resolve("a.example", "A")) == ["192.0.2.80"]
        assert data(await forwarder.resolve("b.example", "A")) == ["192.0.2.80"]
        assert len(dead.asked) == 1 and len(alive.asked) == 2
        first, second = forwarder.upstreams
        assert (first.healthy, first.failures, first.last_error) == (False, 1, "no answer in time")
        assert second.healthy and second.seconds > 0


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED", "NOTIMP"])
async def test_the_next_is_asked_where_one_cannot(code: str) -> None:
    def failing(query: dns.message.Message, transport: str) -> list[bytes]:
        return [reply(query, code=code)]

    async with fake_upstream(failing) as bad, fake_upstream(address) as good, forwarding(bad, good) as forwarder:
        assert data(await forwarder.resolve("a.example", "A")) == ["192.0.2.80"]
        assert forwarder.upstreams[0].last_error == f"answered {code}"


async def test_without_an_answer_it_fails_within_the_limit() -> None:
    async with fake_upstream(nothing) as dead, forwarding(dead, dead, dead) as forwarder:
        started = time.monotonic()
        answer = await forwarder.resolve("a.example", "A")
        assert answer.code == "SERVFAIL" and time.monotonic() - started < LIMIT_SECONDS + 1
        assert len(dead.asked) >= 3
    async with forwarding() as forwarder:
        assert (await forwarder.resolve("a.example", "A")).code == "SERVFAIL"


async def test_a_port_where_nobody_listens_is_a_dead_upstream() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((LOOPBACK, 0))
        closed = FakeUpstream(nothing, port=taken.getsockname()[1])
    async with forwarding(closed) as forwarder:
        assert (await forwarder.resolve("a.example", "A")).code == "SERVFAIL"


async def test_a_cut_answer_is_asked_for_again_over_tcp() -> None:
    def cutting(query: dns.message.Message, transport: str) -> list[bytes]:
        if transport == "tcp":
            return [reply(query, *(f"{query.question[0].name} 60 A 192.0.2.{number}" for number in range(200)))]
        cut = dns.message.make_response(query)
        cut.flags |= dns.flags.TC
        return [cut.to_wire()]

    async with fake_upstream(cutting) as upstream, forwarding(upstream) as forwarder:
        assert len((await forwarder.resolve("a.example", "A")).answers) == 200
        assert [transport for *_, transport in upstream.asked] == ["udp", "tcp"]


async def test_answers_to_something_else_are_passed_over() -> None:
    def lying(query: dns.message.Message, transport: str) -> list[bytes]:
        right = reply(query, f"{query.question[0].name} 60 A 192.0.2.80")
        wrong_id = bytes((right[0] ^ 1,)) + right[1:]
        other = dns.message.make_query("other.example.", "A", id=query.id)
        wrong_name = reply(other, "other.example. 60 A 192.0.2.66")
        return [wrong_id, wrong_name, b"\0", right[:20], query.to_wire(), right]

    async with fake_upstream(lying) as upstream, forwarding(upstream) as forwarder:
        assert data(await forwarder.resolve("a.example", "A")) == ["192.0.2.80"]


async def test_one_that_only_lies_is_a_dead_one() -> None:
    def lying(query: dns.message.Message, transport: str) -> list[bytes]:
        right = reply(query, f"{query.question[0].name} 60 A 192.0.2.66")
        return [bytes((right[0] ^ 255, right[1])) + right[2:]] * 20

    async with fake_upstream(lying) as upstream, forwarding(upstream) as forwarder:
        assert (await forwarder.resolve("a.example", "A")).code == "SERVFAIL"


async def test_questions_beyond_the_limit_fail_at_once() -> None:
    async with fake_upstream(nothing) as dead, forwarding(dead, upstream_concurrency=5) as forwarder:
        answers = await asyncio.gather(*(forwarder.resolve(f"{number}.example", "A") for number in range(50)))
        assert sum(answer.rule.startswith("too many") for answer in answers) == 45


async def test_an_answer_that_expired_is_given_while_nobody_answers() -> None:
    def brief(query: dns.message.Message, transport: str) -> list[bytes]:
        return [reply(query, f"{query.question[0].name} 1 A 192.0.2.80")]

    async with fake_upstream(brief) as upstream, forwarding(upstream) as forwarder:
        await forwarder.resolve("a.example", "A")
        upstream.behaviour = nothing
        kept = forwarder.cache._entries["a.example", "A"]
        forwarder.cache._entries["a.example", "A"] = type(kept)(kept.answer, kept.stored - 10, kept.expires - 10)
        stale = await forwarder.resolve("a.example", "A")
        assert data(stale) == ["192.0.2.80"] and stale.answers[0].ttl == STALE_TTL_SECONDS


async def test_nothing_is_kept_where_nothing_was_learned() -> None:
    async with fake_upstream(nothing) as dead, forwarding(dead) as forwarder:
        await forwarder.resolve("a.example", "A")
        assert len(forwarder.cache) == 0


async def test_an_upstream_that_asks_us_is_found_and_left_out() -> None:
    tasks: list[asyncio.Task[Answer]] = []
    async with fake_upstream(address) as loop, fake_upstream(address) as good, forwarding(loop, good) as forwarder:

        def asks_back(query: dns.message.Message, transport: str) -> list[bytes]:
            name = query.question[0].name.to_text(omit_final_dot=True)
            tasks.append(asyncio.create_task(forwarder.resolve(name, "HINFO")))
            return [reply(query, code="SERVFAIL")]

        loop.behaviour, loop.delay_seconds = asks_back, 0.02
        for upstream in forwarder.upstreams:
            await forwarder._look_for_loop(upstream)
        assert [upstream.loops for upstream in forwarder.upstreams] == [True, False]
        assert [(await task).code for task in tasks] == ["REFUSED"]
        before = len(loop.asked)
        assert data(await forwarder.resolve("a.example", "A")) == ["192.0.2.80"]
        assert len(loop.asked) == before
        assert forwarder.left_out == [f"{loop.address}: it asks this server in turn"]
        loop.behaviour = address
        await forwarder._look_for_loop(forwarder.upstreams[0])
        assert forwarder.left_out == []


def record(ttl: int, kind: str = "A", text: str = "192.0.2.1") -> Record:
    return Record("a.example", kind, ttl, text)


def test_how_long_answers_hold() -> None:
    cache = AnswerCache(10, 3600, 300, 0)
    soa = record(30, "SOA", "ns. root. 1 2 3 4 20")
    assert cache.holds(Answer(answers=(record(60), record(40)))) == 40
    assert cache.holds(Answer(answers=(record(86400),))) == 3600
    assert cache.holds(Answer("NXDOMAIN", authority=(soa,))) == 20
    assert cache.holds(Answer(authority=(record(10, "SOA", "ns. root. 1 2 3 4 20"),))) == 10
    assert cache.holds(Answer("NXDOMAIN", authority=(record(900, "SOA", "ns. root. 1 2 3 4 900"),))) == 300
    assert cache.holds(Answer("NXDOMAIN")) == 5
    assert cache.holds(Answer(answers=(record(3, "CNAME", "b."),), authority=(soa,))) == 3


def test_a_cache_forgets_by_time_and_by_number() -> None:
    cache = AnswerCache(2, 3600, 300, 0)
    for name in "abc":
        cache.keep((name, "A"), Answer(answers=(record(60),)), 0.0)
    assert cache.find(("a", "A"), 1.0) is None and len(cache) == 2
    found = cache.find(("c", "A"), 59.0)
    assert found is not None and found.answers[0].ttl == 1
    assert cache.find(("c", "A"), 60.0) is None and cache.stale(("c", "A"), 60.0) is None
    cache.keep(("b", "A"), Answer(answers=(record(0),)), 1.0)
    assert cache.find(("b", "A"), 1.0) is None


def test_servers_that_would_lead_back_are_left_out() -> None:
    own = [Server("172.17.0.2", 10053)]
    chosen = choose(
        ["172.17.0.2:10053", "10.96.0.10", "172.17.0.2", "fe80::1%eth0", "nonsense", "192.0.2.1", "192.0.2.1"], own, "10.96.0.10"
    )
    assert [str(server) for server in chosen.servers] == ["172.17.0.2:53", "[fe80::1]:53", "192.0.2.1:53"]
    assert [text.partition(": ")[0] for text in chosen.left_out] == ["172.17.0.2:10053", "10.96.0.10:53", "nonsense"]


def test_server_texts() -> None:
    assert parse_server("[::1]:5353") == Server("::1", 5353)
    assert parse_server("::1") == Server("::1", 53)
    for text in ("192.0.2.1:0", "192.0.2.1:http", "", "example.com"):
        with pytest.raises(ValueError, match=r".+"):
            parse_server(text)


def test_the_servers_behind_systemd_resolved_are_read(tmp_path: Path) -> None:
    stub, behind = tmp_path / "stub", tmp_path / "behind"
    stub.write_text("# systemd\nnameserver 127.0.0.53\noptions edns0\n")
    assert read(stub, behind) == ["127.0.0.53"]
    behind.write_text("nameserver 192.0.2.1\nnameserver\nnameserver 192.0.2.2\n")
    assert read(stub, behind) == ["192.0.2.1", "192.0.2.2"]
    stub.write_text("nameserver 127.0.0.11\n")
    assert read(stub, behind) == ["127.0.0.11"], "Docker's own answers in our container"
    assert read(tmp_path / "missing", behind) == []
