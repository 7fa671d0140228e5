"""The short way for plain messages: what nearly all clients ask, and what the zone mostly answers.

Both functions give None for everything else, which dnspython then takes: names with unusual letters, EDNS options, other sections, record
types that are not named here. Where they do not, they say the same as dnspython, in a tenth of the time.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

from services.dns.zone.records import NOERROR, NXDOMAIN, Answer, Record

HEADER_BYTES = 12
TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 65: "HTTPS"}
NUMBERS = {name: number for number, name in TYPES.items()}
CODES = {NOERROR: 0, NXDOMAIN: 3}
IN, OPT = 1, 41
LONGEST_LABEL, LONGEST_NAME = 63, 255
ESCAPE = "\\"
LETTERS = b"abcdefghijklmnopqrstuvwxyz0123456789-_"
# The header's flags: recursion desired; authentic data and checking disabled, which a query may have set.
RECURSION_DESIRED = 0x01
QUERY_BITS = 0x30
RESPONSE, AUTHORITATIVE, TRUNCATED, RECURSION_AVAILABLE = 0x80, 0x04, 0x02, 0x80
DNSSEC_OK = 0x8000
# Beyond it a pointer cannot lead.
POINTER_LIMIT = 0x4000
_COUNTS = struct.Struct("!4H")
_OPT = struct.Struct("!BHHBBHH")
_RECORD = struct.Struct("!HHIH")


@dataclass(frozen=True, slots=True)
class Plain:
    """A plain query. ``name`` is lower-case and without a dot at its end; ``end`` is where its name ends, the final zero byte included."""

    name: str
    type: str
    end: int
    # What the client takes over UDP, bytes; None without EDNS.
    payload: int | None
    # Whether it wants DNSSEC's records, which an answer must repeat.
    dnssec: bool


def read(wire: bytes) -> Plain | None:
    """The question of a plain query."""
    size = len(wire)
    if size < HEADER_BYTES + 5 or wire[2] > RECURSION_DESIRED or wire[3] & ~QUERY_BITS:
        return None
    questions, answers, authorities, additional = _COUNTS.unpack_from(wire, 4)
    if questions != 1 or answers or authorities or additional > 1:
        return None
    labels, position = [], HEADER_BYTES
    while length := wire[position]:
        if length > LONGEST_LABEL or position + length + 6 > size:
            return None
        labels.append(wire[position + 1 : position + 1 + length])
        position += length + 1
    end = position + 1
    if not labels or end - HEADER_BYTES > LONGEST_NAME or b"".join(labels).lower().translate(None, LETTERS):
        return None
    kind = TYPES.get(int.from_bytes(wire[end : end + 2], "big"))
    if kind is None or wire[end + 2 : end + 4] != b"\0\1":
        return None
    payload, dnssec = None, False
    if additional:
        if size != end + 4 + _OPT.size:
            return None
        root, number, payload, code, version, flags, options = _OPT.unpack_from(wire, end + 4)
        if root or number != OPT or code or version or flags & ~DNSSEC_OK or options:
            return None
        dnssec = bool(flags)
    elif size != end + 4:
        return None
    return Plain(b".".join(labels).lower().decode(), kind, end, payload, dnssec)


def write(wire: bytes, query: Plain, answer: Answer, *, authoritative: bool, limit: int, payload: int) -> bytes | None:
    """The answer to a plain query, at most ``limit`` bytes: one that is longer has as many of the answers as fit, and is marked as cut.

    ``payload`` is what we take over UDP.
    """
    code = CODES.get(answer.code)
    if code is None:
        return None
    out = bytearray(wire[: query.end + 4])
    out[2] = RESPONSE | (AUTHORITATIVE if authoritative else 0) | wire[2] & RECURSION_DESIRED
    out[3] = RECURSION_AVAILABLE | code
    places: dict[str, int] = {}
    _note(places, query.name, HEADER_BYTES)
    room = limit - (_OPT.size if query.payload is not None else 0)
    answers, end, cut = 0, len(out), False
    for record in chain(answer.answers, answer.authority, answer.additional):
        if not _append(out, places, record):
            return None
        if len(out) > room:
            cut = True
            break
        if answers < len(answer.answers):
            answers, end = answers + 1, len(out)
    counts = (answers, len(answer.authority), len(answer.additional))
    if cut:
        del out[end:]
        out[2] |= TRUNCATED
        counts = (answers, 0, 0)
    if query.payload is not None:
        out += _OPT.pack(0, OPT, payload, 0, 0, DNSSEC_OK if query.dnssec else 0, 0)
    _COUNTS.pack_into(out, 4, 1, counts[0], counts[1], counts[2] + (query.payload is not None))
    return bytes(out)


def _note(places: dict[str, int], name: str, place: int) -> None:
    """Remembers where a name and those above it begin."""
    while name and place < POINTER_LIMIT:
        places.setdefault(name, place)
        label, _, name = name.partition(".")
        place += len(label) + 1


def _append(out: bytearray, places: dict[str, int], record: Record) -> bool:
    """Whether the record is one of those that are written here."""
    writer = _WRITERS.get(record.type)
    # Others' names may hold escaped letters.
    if writer is None or ESCAPE in record.name or ESCAPE in record.data:
        return False
    _append_name(out, places, record.name)
    out += _RECORD.pack(NUMBERS[record.type], IN, record.ttl, 0)
    start = len(out)
    writer(out, places, record.data)
    struct.pack_into("!H", out, start - 2, len(out) - start)
    return True


def _append_name(out: bytearray, places: dict[str, int], name: str) -> None:
    """Appends a name, as short as it can be: the rest of one that is there already is pointed to."""
    while name:
        place = places.get(name)
        if place is not None:
            out += (0xC000 | place).to_bytes(2, "big")
            return
        if len(out) < POINTER_LIMIT:
            places[name] = len(out)
        label, _, name = name.partition(".")
        out.append(len(label))
        out += label.encode()
    out.append(0)


def _address(family: socket.AddressFamily) -> Callable[[bytearray, dict[str, int], str], None]:
    def write_address(out: bytearray, places: dict[str, int], data: str) -> None:
        out += socket.inet_pton(family, data)

    return write_address


def _name(out: bytearray, places: dict[str, int], data: str) -> None:
    _append_name(out, places, data.rstrip("."))


def _srv(out: bytearray, places: dict[str, int], data: str) -> None:
    priority, weight, port, target = data.split(" ")
    out += struct.pack("!HHH", int(priority), int(weight), int(port))
    # Its name must not be shortened (RFC 2782).
    for label in target.rstrip(".").split("."):
        out.append(len(label))
        out += label.encode()
    out.append(0)


def _soa(out: bytearray, places: dict[str, int], data: str) -> None:
    server, mailbox, *numbers = data.split(" ")
    _name(out, places, server)
    _name(out, places, mailbox)
    out += struct.pack("!5I", *map(int, numbers))


_WRITERS: dict[str, Callable[[bytearray, dict[str, int], str], None]] = {
    "A": _address(socket.AF_INET),
    "AAAA": _address(socket.AF_INET6),
    "CNAME": _name,
    "NS": _name,
    "PTR": _name,
    "SRV": _srv,
    "SOA": _soa,
}
