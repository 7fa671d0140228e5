"""Asks other servers for what is not the cluster's: several in turn, each question once at a time, within a limit of time.

A question that comes back to us while it is asked, because an upstream asks us, joins the one that waits: it cannot multiply, and ends
with that one's time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from services.dns.metrics import UPSTREAM_SECONDS
from services.dns.query.message import text_of
from services.dns.settings import DnsSettings
from services.dns.upstream.cache import AnswerCache
from services.dns.upstream.resolv_conf import Choice, Server
from services.dns.zone.records import NOERROR, NXDOMAIN, SERVFAIL, Answer, Record

log = logging.getLogger(__name__)

QUERY_PAYLOAD_BYTES = 1232
AVERAGE_WEIGHT = 0.2
# A server that failed is asked after the others for this long.
AVOID_SECONDS = 10.0


@dataclass(slots=True)
class Upstream:
    """One server and what became of the queries to it. ``seconds`` is a moving average."""

    server: Server
    queries: int = 0
    failures: int = 0
    seconds: float = 0.0
    last_error: str = ""
    avoid_until: float = 0.0

    @property
    def healthy(self) -> bool:
        return not self.last_error

    def answered(self, seconds: float) -> None:
        self.last_error, self.avoid_until = "", 0.0
        self.seconds = seconds if not self.seconds else self.seconds + AVERAGE_WEIGHT * (seconds - self.seconds)
        UPSTREAM_SECONDS.labels("ok").observe(seconds)

    def failed(self, error: str, seconds: float) -> None:
        self.failures += 1
        self.last_error, self.avoid_until = error, time.monotonic() + AVOID_SECONDS
        UPSTREAM_SECONDS.labels("error").observe(seconds)


class Forwarder:
    """``resolve`` answers from the cache or from the first upstream that answers at all; SERVFAIL within ``upstream_limit_seconds``."""

    def __init__(self, settings: DnsSettings) -> None:
        self._settings = settings
        self._asking: dict[tuple[str, str], asyncio.Task[Answer]] = {}
        self.upstreams: list[Upstream] = []
        self.left_out: Sequence[str] = ()
        self.cache = AnswerCache(
            settings.cache_entries, settings.cache_limit_seconds, settings.cache_negative_seconds, settings.serve_stale_seconds
        )

    def use(self, choice: Choice) -> None:
        """Takes the servers to ask; those that stay keep their numbers."""
        known = {upstream.server: upstream for upstream in self.upstreams}
        self.upstreams = [known.get(server) or Upstream(server) for server in choice.servers]
        self.left_out = choice.left_out

    async def resolve(self, name: str, kind: str) -> Answer:
        """The answer to a question; never raises but when cancelled."""
        key = (name, kind)
        found = self.cache.find(key, time.monotonic())
        if found is not None:
            return found
        task = self._asking.get(key)
        if task is None:
            if len(self._asking) >= self._settings.upstream_concurrency:
                return Answer(SERVFAIL, rule="too many questions wait for upstreams")
            task = asyncio.create_task(self._resolve(name, kind), name=f"dns/upstream/{name}/{kind}")
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        # Others may wait for the same answer.
        return await asyncio.shield(task)

    async def close(self) -> None:
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _resolve(self, name: str, kind: str) -> Answer:
        answer = await self._ask(name, kind)
        now = time.monotonic()
        if answer.code in (NOERROR, NXDOMAIN):
            self.cache.keep((name, kind), answer, now)
            return answer
        return self.cache.stale((name, kind), now) or answer

    async def _ask(self, name: str, kind: str) -> Answer:
        """Asks one server after the other, again and again while there is time."""
        if not self.upstreams:
            return Answer(SERVFAIL, rule="there is no upstream server to ask")
        try:
            query = dns.message.make_query(f"{name}.", kind, use_edns=0, payload=QUERY_PAYLOAD_BYTES)
        except (dns.exception.DNSException, ValueError) as error:
            return Answer(SERVFAIL, rule=f"it cannot be asked of others: {error}")
        last = Answer(SERVFAIL, rule="no upstream answered in time")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.upstream_limit_seconds):
                for upstream in self._order():
                    answer = await self._try(upstream, query)
                    if answer is not None and answer.code in (NOERROR, NXDOMAIN):
                        return answer
                    last = answer or last
        return Answer(SERVFAIL, rule=last.rule)

    def _order(self) -> list[Upstream]:
        """The servers as they are listed, those that failed lately last; each may be tried again."""
        now = time.monotonic()
        once = sorted(self.upstreams, key=lambda upstream: upstream.avoid_until > now)
        tries = max(1, int(self._settings.upstream_limit_seconds / self._settings.upstream_try_seconds))
        return [*once, *once * tries][: max(tries, len(once))]

    async def _try(self, upstream: Upstream, query: dns.message.Message) -> Answer | None:
        """One try of one server; None when it does not answer."""
        started = time.monotonic()
        upstream.queries += 1
        # Each query has an id and a port of its own: an answer cannot be guessed.
        asked = dns.message.make_query(query.question[0].name, query.question[0].rdtype, use_edns=0, payload=QUERY_PAYLOAD_BYTES)
        try:
            async with asyncio.timeout(self._settings.upstream_try_seconds):
                found, _ = await dns.asyncquery.udp_with_fallback(
                    asked, upstream.server.address, port=upstream.server.port, ignore_unexpected=True, ignore_errors=True
                )
        except (OSError, EOFError, dns.exception.DNSException, TimeoutError) as error:
            upstream.failed(_words(error), time.monotonic() - started)
            return None
        code = dns.rcode.to_text(found.rcode())
        if code not in (NOERROR, NXDOMAIN):
            upstream.failed(f"answered {code}", time.monotonic() - started)
            return Answer(code, rule=f"upstream {upstream.server} answered {code}", upstream=str(upstream.server))
        upstream.answered(time.monotonic() - started)
        rule = "others are asked for names that are not the cluster's"
        return Answer(code, _records(found.answer), _records(found.authority), rule=rule, upstream=str(upstream.server))


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError | dns.exception.Timeout):
        return "no answer in time"
    return str(error) or type(error).__name__


def _records(sets: Sequence[dns.rrset.RRset]) -> tuple[Record, ...]:
    return tuple(
        Record(text_of(found.name), dns.rdatatype.to_text(found.rdtype), found.ttl, item.to_text()) for found in sets for item in found
    )
