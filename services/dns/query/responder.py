"""From a query's bytes to an answer's: at once for names of the cluster, later for those that others are asked for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from services.dns.counters import Counters
from services.dns.query.message import PLAIN_UDP_BYTES, TCP_BYTES, Question, Refusal, Unanswerable, bare, parse
from services.dns.query.ready import MAX_ORDERS, ReadyAnswers
from services.dns.zone.records import NOERROR, NXDOMAIN, SERVFAIL, Answer, Record
from services.dns.zone.zone import Zone

log = logging.getLogger(__name__)

SERVFAIL_CODE = 2
# A pointer to the name, type, class, TTL, length, and an address or another pointer.
LEAST_RECORD_BYTES = 14
MOST_ORDERED_RECORDS = 100
# For how long the answer of others is given from the table of ready ones: their time to live is in seconds.
FORWARDED_SECONDS = 1.0
# Asks others for the rest of an answer: a name and a type. Raises nothing; a failure is an answer, too.
Forward = Callable[[str, str], Awaitable[Answer]]


class Responder:
    """Answers queries. ``synced`` says whether the zone is complete: before that, its names are answered SERVFAIL."""

    def __init__(self, zone: Zone, forward: Forward, counters: Counters, udp_payload: int) -> None:
        self._zone = zone
        self._forward = forward
        self._counters = counters
        self._udp_payload = udp_payload
        self._ready = {"udp": ReadyAnswers(), "tcp": ReadyAnswers()}
        self.synced = False

    def ready(self, transport: str) -> ReadyAnswers:
        """The ready answers of ``udp`` or ``tcp``."""
        return self._ready[transport]

    def changed(self, names: Iterable[str]) -> None:
        """Forgets what was answered to these names."""
        for table in self._ready.values():
            for name in names:
                table.forget(name)

    def changed_below(self, *names: str) -> None:
        """Forgets what was answered to these names and to all below them."""
        for table in self._ready.values():
            for name in names:
                table.forget_below(name)

    def answer(self, wire: bytes, transport: str) -> bytes | Awaitable[bytes] | None:
        """The answer to a query that has no ready one; None for what deserves none. Never raises."""
        try:
            return self._answer(wire, parse(wire), transport)
        except Unanswerable:
            self._counters.dropped += 1
            return None
        except Refusal as refusal:
            self._counters.made[refusal.code] += 1
            return refusal.wire
        except Exception:
            return self._failed(wire)

    def _failed(self, wire: bytes) -> bytes:
        """The answer to a query that raised."""
        log.exception("a query could not be answered", extra={"query": wire[:PLAIN_UDP_BYTES].hex()})
        self._counters.made[SERVFAIL] += 1
        return bare(wire, SERVFAIL_CODE)

    def _answer(self, wire: bytes, question: Question, transport: str) -> bytes | Awaitable[bytes]:
        if not self.synced and self._zone.holds(question.name):
            return self._made(question, transport, Answer(SERVFAIL), False)
        found = self._zone.lookup(question.name, question.type)
        if found is None:
            return self._forwarded(wire, question, transport, question.name, ())
        if found.follow:
            return self._forwarded(wire, question, transport, found.follow, found.answers)
        result = self._made(question, transport, found, True)
        # What depends on one name only may be given again until that name changes.
        if not any(record.type == "CNAME" for record in found.answers) and found.code != SERVFAIL:
            more = (self._wire(question, transport, turned, True) for turned in _orders(found))
            self._ready[transport].keep(wire, question.name, [result, *more])
        return result

    async def _forwarded(self, wire: bytes, question: Question, transport: str, name: str, chain: tuple[Record, ...]) -> bytes:
        rest = await self._forward(name, question.type)
        try:
            return self._told(wire, question, transport, rest, chain)
        except Exception:
            # Others may send what cannot be written.
            return self._failed(wire)

    def _told(self, wire: bytes, question: Question, transport: str, rest: Answer, chain: tuple[Record, ...]) -> bytes:
        """The answer that others have given, after the aliases that led to them."""
        # A chain that was begun is worth more than nothing: a client may ask for its end itself.
        answer = Answer(rest.code, (*chain, *rest.answers), rest.authority, rest.additional)
        result = self._made(question, transport, answer, bool(chain))
        if not chain and rest.code in (NOERROR, NXDOMAIN) and all(record.ttl > FORWARDED_SECONDS for record in rest.answers):
            table = self._ready[transport]
            if table.keep(wire, question.name, [result]):
                asyncio.get_running_loop().call_later(FORWARDED_SECONDS, table.forget, question.name)
        return result

    def _made(self, question: Question, transport: str, answer: Answer, authoritative: bool) -> bytes:
        self._counters.made[answer.code] += 1
        return self._wire(question, transport, answer, authoritative)

    def _wire(self, question: Question, transport: str, answer: Answer, authoritative: bool) -> bytes:
        limit = TCP_BYTES
        if transport == "udp":
            limit = min(question.edns_payload, max(self._udp_payload, PLAIN_UDP_BYTES))
            # One more than can fit: the rest need not be written to see that it is too long.
            answer = replace(answer, answers=answer.answers[: limit // LEAST_RECORD_BYTES + 1])
        return question.answered(answer, authoritative=authoritative, limit=limit, payload=self._udp_payload)


def _orders(answer: Answer) -> Iterable[Answer]:
    """The answer with its records in other orders, so that each is the first in turn; of very many the order does not matter."""
    records = answer.answers
    if len(records) > MOST_ORDERED_RECORDS:
        return
    for first in range(1, min(len(records), MAX_ORDERS)):
        yield Answer(answer.code, (*records[first:], *records[:first]), answer.authority, answer.additional)
