"""Asks other servers for what is not the cluster's: several in turn, each question once at a time, within a limit of time.

An upstream may ask us in turn, directly or by others. A question that comes back while it is asked joins the one that waits: it
cannot multiply, and ends with that one's time. To find such upstreams each is asked now and then for a name that nobody has; one
whose question comes back is left out until it no longer does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from knarr.service.tasks import SharedTasks
from services.dns.metrics import UPSTREAM_SECONDS
from services.dns.query.message import name_of, text_of
from services.dns.settings import DnsSettings
from services.dns.upstream.cache import AnswerCache
from services.dns.upstream.resolv_conf import Choice, Server
from services.dns.upstream.sockets import Sockets
from services.dns.zone.records import NOERROR, NXDOMAIN, SERVFAIL, Answer, Record

log = logging.getLogger(__name__)

QUERY_PAYLOAD_BYTES = 1232
AVERAGE_WEIGHT = 0.2
# A server that failed is asked after the others for this long.
AVOID_SECONDS = 10.0
# How often upstreams are looked at for a loop, and the zone of the names that are asked for it.
LOOP_CHECK_SECONDS = 60.0
LOOP_ZONE = "loop-check.knarr"
LOOPING = "REFUSED"


@dataclass(slots=True)
class Upstream:
    """One server and what became of the queries to it. ``seconds`` is a moving average."""

    server: Server
    queries: int = 0
    failures: int = 0
    seconds: float = 0.0
    last_error: str = ""
    avoid_until: float = 0.0
    # Whether what it is asked comes back to us.
    loops: bool = False

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
        self._asking: SharedTasks[tuple[str, str], Answer] = SharedTasks()
        self._sockets = Sockets()
        self.upstreams: list[Upstream] = []
        self._unwanted: Sequence[str] = ()
        # Questions that look for loops, and whether they came back.
        self._probes: dict[str, bool] = {}
        self.cache = AnswerCache(
            settings.cache_entries, settings.cache_limit_seconds, settings.cache_negative_seconds, settings.serve_stale_seconds
        )

    def use(self, choice: Choice) -> None:
        """Takes the servers to ask; those that stay keep their numbers."""
        known = {upstream.server: upstream for upstream in self.upstreams}
        self.upstreams = [known.get(server) or Upstream(server) for server in choice.servers]
        self._unwanted = choice.left_out

    @property
    def left_out(self) -> list[str]:
        """The servers that are not asked, with the reason, in words."""
        return [*self._unwanted, *(f"{found.server}: it asks this server in turn" for found in self.upstreams if found.loops)]

    async def run(self) -> None:
        """Looks for loops, until cancelled."""
        while True:
            for upstream in list(self.upstreams):
                await self._look_for_loop(upstream)
            await asyncio.sleep(LOOP_CHECK_SECONDS)

    async def _look_for_loop(self, upstream: Upstream) -> None:
        name = f"{secrets.token_hex(8)}.{LOOP_ZONE}"
        self._probes[name] = False
        try:
            with contextlib.suppress(OSError, EOFError, dns.exception.DNSException, TimeoutError):
                await self._exchange(upstream.server, dns.message.make_query(f"{name}.", "HINFO"))
        finally:
            loops = self._probes.pop(name)
        if loops is not upstream.loops:
            log.warning(
                "an upstream asks this server in turn" if loops else "an upstream no longer loops", extra={"upstream": str(upstream.server)}
            )
        upstream.loops = loops

    async def resolve(self, name: str, kind: str) -> Answer:
        """The answer to a question; never raises but when cancelled."""
        if name in self._probes:
            self._probes[name] = True
            return Answer(LOOPING, rule="this is our own question, come back by an upstream")
        key = (name, kind)
        found = self.cache.find(key, time.monotonic())
        if found is not None:
            return found
        if key not in self._asking and len(self._asking) >= self._settings.upstream_concurrency:
            return Answer(SERVFAIL, rule="too many questions wait for upstreams")
        return await self._asking.result(key, lambda: self._resolve(name, kind), f"dns/upstream/{name}/{kind}")

    async def close(self) -> None:
        await self._asking.close()
        await self._sockets.close()

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
            asked = name_of(name), dns.rdatatype.from_text(kind)
        except (dns.exception.DNSException, ValueError) as error:
            return Answer(SERVFAIL, rule=f"it cannot be asked of others: {error}")
        last = Answer(SERVFAIL, rule="no upstream answered in time")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.upstream_limit_seconds):
                for upstream in self._order():
                    answer = await self._try(upstream, *asked)
                    if answer is not None and answer.code in (NOERROR, NXDOMAIN):
                        return answer
                    last = answer or last
        return Answer(SERVFAIL, rule=last.rule)

    def _order(self) -> list[Upstream]:
        """The servers as they are listed, those that failed lately last; each may be tried again."""
        now = time.monotonic()
        once = sorted((found for found in self.upstreams if not found.loops), key=lambda upstream: upstream.avoid_until > now)
        tries = max(1, int(self._settings.upstream_limit_seconds / self._settings.upstream_try_seconds))
        return (once * (tries + 1))[: max(tries, len(once))]

    async def _try(self, upstream: Upstream, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> Answer | None:
        """One try of one server; None when it does not answer."""
        started = time.monotonic()
        upstream.queries += 1
        # Each query has an id and a port of its own: an answer cannot be guessed.
        asked = dns.message.make_query(name, kind, use_edns=0, payload=QUERY_PAYLOAD_BYTES)
        try:
            found = await self._exchange(upstream.server, asked)
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

    async def _exchange(self, server: Server, query: dns.message.Message) -> dns.message.Message:
        """The answer to this very question, over TCP where it is too long. What comes from elsewhere or answers another is passed over."""
        async with asyncio.timeout(self._settings.upstream_try_seconds):
            found, _ = await dns.asyncquery.udp_with_fallback(
                query, server.address, port=server.port, ignore_unexpected=True, ignore_errors=True, backend=self._sockets
            )
        return found


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError | dns.exception.Timeout):
        return "no answer in time"
    return str(error) or type(error).__name__


def _records(sets: Sequence[dns.rrset.RRset]) -> tuple[Record, ...]:
    return tuple(
        Record(text_of(found.name), dns.rdatatype.to_text(found.rdtype), found.ttl, item.to_text()) for found in sets for item in found
    )
