"""Messages: from bytes to a question, from an answer to bytes. The codec is dnspython's; plain messages go a shorter way."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from services.dns.query.plain import Plain, read, write
from services.dns.zone.records import Answer, Record

HEADER_BYTES = 12
# Both in the third byte.
RESPONSE_BIT = 0x80
TRUNCATED_BIT = 0x02
# Payload that every client takes over UDP, and the most a TCP answer may have.
PLAIN_UDP_BYTES = 512
TCP_BYTES = 65535
REMEMBERED_RDATA = 8192
# A record whose name is a pointer, without its data; and data of one length.
LEAST_RECORD_BYTES = 12
LEAST_DATA_BYTES = {"A": 4, "AAAA": 16, "PTR": 2, "CNAME": 2}


class Unanswerable(Exception):
    """Silence is the answer: the bytes are no query at all."""


class Refusal(Exception):
    """The query is answered with a code and nothing else. ``wire`` is that answer."""

    def __init__(self, code: str, wire: bytes) -> None:
        super().__init__(code)
        self.code = code
        self.wire = wire


@dataclass(frozen=True)
class Question:
    """One question. ``name`` is lower-case and without a dot at its end; ``wire`` keeps the client's letters."""

    name: str
    type: str
    wire: bytes
    # Where the query is a plain one.
    plain: Plain | None = None

    @functools.cached_property
    def message(self) -> dns.message.Message:
        """The query as dnspython has it."""
        return dns.message.from_wire(self.wire, keyring=False)

    @property
    def edns_payload(self) -> int:
        """What the client takes over UDP, bytes."""
        if self.plain is not None:
            return max(self.plain.payload or 0, PLAIN_UDP_BYTES)
        return max(self.message.payload, PLAIN_UDP_BYTES) if self.message.edns >= 0 else PLAIN_UDP_BYTES

    def answered(self, answer: Answer, *, authoritative: bool, limit: int, payload: int) -> bytes:
        """The answer in at most ``limit`` bytes; see ``to_wire``."""
        made = None
        if self.plain is not None:
            made = write(self.wire, self.plain, answer, authoritative=authoritative, limit=limit, payload=payload)
        return made or to_wire(self.message, answer.code, answer, authoritative=authoritative, limit=limit, payload=payload)


def parse(wire: bytes) -> Question:
    """The question of a query. Raises Unanswerable for what is no query, Refusal for one that cannot be answered."""
    plain = read(wire)
    if plain is not None:
        return Question(plain.name, plain.type, wire, plain)
    if len(wire) < HEADER_BYTES or wire[2] & RESPONSE_BIT:
        raise Unanswerable
    if (wire[2] >> 3) & 0x0F != dns.opcode.QUERY:
        raise Refusal("NOTIMP", bare(wire, dns.rcode.NOTIMP))
    try:
        message = dns.message.from_wire(wire, keyring=False)
    except dns.exception.DNSException:
        raise Refusal("FORMERR", bare(wire, dns.rcode.FORMERR)) from None
    if len(message.question) != 1 or message.answer or message.authority:
        raise Refusal("FORMERR", bare(wire, dns.rcode.FORMERR))
    if message.edns > 0:
        raise Refusal("BADVERS", _bad_version(message))
    asked = message.question[0]
    kind = dns.rdatatype.to_text(asked.rdtype)
    if asked.rdclass != dns.rdataclass.IN or kind in ("AXFR", "IXFR"):
        raise Refusal("REFUSED", to_wire(message, "REFUSED", limit=PLAIN_UDP_BYTES))
    if dns.rdatatype.is_metatype(asked.rdtype) and kind != "ANY":
        raise Refusal("NOTIMP", to_wire(message, "NOTIMP", limit=PLAIN_UDP_BYTES))
    return Question(text_of(asked.name), kind, wire)


def bare(wire: bytes, code: int) -> bytes:
    """An answer that is only a header: of a query whose rest is not to be trusted."""
    flags = RESPONSE_BIT | wire[2] & 0x79
    return wire[:2] + bytes((flags, code)) + bytes(8)


def _bad_version(message: dns.message.Message) -> bytes:
    answer = dns.message.make_response(message)
    answer.use_edns(0, payload=PLAIN_UDP_BYTES)
    answer.set_rcode(dns.rcode.BADVERS)
    return answer.to_wire()


def text_of(name: dns.name.Name) -> str:
    """A name as the zone writes names; bytes that are not printable are escaped."""
    return name.to_text(omit_final_dot=True).lower() if len(name) > 1 else ""


def to_wire(
    query: dns.message.Message,
    code: str,
    answer: Answer | None = None,
    *,
    authoritative: bool = False,
    limit: int,
    payload: int = TCP_BYTES,
) -> bytes:
    """The answer to a query in at most ``limit`` bytes. ``payload`` is what we take over UDP.

    One that is longer has as many records as fit, and is marked as cut: there are clients that do not ask again over TCP.
    """
    made = dns.message.make_response(query, recursion_available=True, our_payload=min(payload, TCP_BYTES))
    made.set_rcode(dns.rcode.from_text(code))
    made.ednsflags |= query.ednsflags & dns.flags.DO
    if authoritative:
        made.flags |= dns.flags.AA
    if answer is None:
        return made.to_wire(max_size=limit)
    most = could_fit([*answer.answers, *answer.authority, *answer.additional], limit)
    if most == len(answer.answers) + len(answer.authority) + len(answer.additional):
        made.authority = _sets(answer.authority)
        made.additional = _sets(answer.additional)
        wire = _with_answers(made, answer.answers, limit)
        if not wire[2] & TRUNCATED_BIT:
            return wire
    made.authority = made.additional = []
    most = min(most, len(answer.answers))
    fitting = _most(most, lambda number: not _with_answers(made, answer.answers[:number], limit)[2] & TRUNCATED_BIT)
    made.flags |= dns.flags.TC
    return _with_answers(made, answer.answers[:fitting], limit)


def _with_answers(made: dns.message.Message, records: Sequence[Record], limit: int) -> bytes:
    """Bytes in the records' order; without those sets of records that make it too long, and marked then."""
    made.answer = _sets(records)
    return made.to_wire(max_size=limit, prefer_truncation=True, want_shuffle=False)


def could_fit(records: Sequence[Record], limit: int) -> int:
    """How many of the first records an answer of ``limit`` bytes has room for, were every name in it as short as can be.

    Encoding costs much more than this, and a Service may have thousands of endpoints.
    """
    left = limit - HEADER_BYTES
    for number, record in enumerate(records):
        left -= LEAST_RECORD_BYTES + _least_data(record)
        if left < 0:
            return number
    return len(records)


def _least_data(record: Record) -> int:
    if record.type == "SRV":
        # Three numbers, and a name that is not shortened: a byte more than its text has without the dot at its end.
        return 7 + len(record.data.rpartition(" ")[2].rstrip("."))
    return LEAST_DATA_BYTES.get(record.type, 0)


def _most(limit: int, fits: Callable[[int], bool]) -> int:
    """The greatest number up to ``limit`` that fits, which is thought to be not much below it; 0 always does."""
    low, high, step = limit, limit + 1, 1
    while low and not fits(low):
        low, high, step = max(low - step, 0), low, step * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _sets(records: Iterable[Record]) -> list[dns.rrset.RRset]:
    """Records of one name and type together, in the order of their first."""
    grouped: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        grouped.setdefault((record.name, record.type), []).append(record)
    return [
        dns.rrset.from_rdata_list(name_of(name), min(record.ttl for record in found), [rdata(kind, record.data) for record in found])
        for (name, kind), found in grouped.items()
    ]


@functools.lru_cache(REMEMBERED_RDATA)
def rdata(kind: str, data: str) -> dns.rdata.Rdata:
    """A record's data from the zone file's form."""
    return dns.rdata.from_text(dns.rdataclass.IN, kind, data)


@functools.lru_cache(REMEMBERED_RDATA)
def name_of(name: str) -> dns.name.Name:
    return dns.name.from_text(f"{name}.", origin=None)
