"""The short way says what dnspython says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.dns.query import message as message_codec
from services.dns.query.message import TCP_BYTES, text_of, to_wire
from services.dns.query.plain import TYPES, read, write
from services.dns.zone.records import Answer, Record
from tests.dns.laboratory import load, query

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.yaml"))
OURS = 1232
VARIANTS: list[dict[str, Any]] = [{}, {"use_edns": 0, "payload": 4096}, {"use_edns": 0, "want_dnssec": True}, {"flags": 0}]


def said(wire: bytes) -> tuple[Any, ...]:
    """All of a message but the order of its records."""
    found = dns.message.from_wire(wire, one_rr_per_rrset=True)
    sections = [sorted(str(item) for item in section) for section in (found.question, found.answer, found.authority, found.additional)]
    return found.id, found.flags, found.rcode(), found.edns, found.ednsflags, found.payload, sections


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_answers_are_the_same_and_as_short(path: Path, options: dict[str, Any]) -> None:
    objects, answers = load(path)
    zone, written = objects.zone(), 0
    for question in answers:
        kind, _, name = question.partition(" ")
        wire = query(name.strip('"').title(), kind, **options)
        plain, found = read(wire), zone.lookup(name.strip('"').lower(), kind)
        if plain is None or found is None:
            continue
        assert (plain.name, plain.type) == (name.strip('"').lower(), kind)
        made = write(wire, plain, found, authoritative=True, limit=TCP_BYTES, payload=OURS)
        message = dns.message.from_wire(wire)
        expected = to_wire(message, found.code, found, authoritative=True, limit=TCP_BYTES, payload=OURS)
        if made is None:
            assert found.code == "SERVFAIL" or any(record.type == "TXT" for record in found.answers)
            continue
        written += 1
        assert said(made) == said(expected)
        assert len(made) <= len(expected)
        cut = write(wire, plain, found, authoritative=True, limit=len(made) - 1, payload=OURS)
        assert cut is not None
        assert len(cut) < len(made)
        assert dns.message.from_wire(cut).flags & dns.flags.TC
    assert written > 5


DATA = {
    "A": lambda number: f"10.7.{number // 250}.{number % 250}",
    "SRV": lambda number: f"0 33 8080 pod-{number:04}.peers.shop.svc.cluster.local.",
}


@pytest.mark.parametrize("limit", [512, 1232, TCP_BYTES])
@pytest.mark.parametrize("kind", ["A", "SRV"])
def test_an_answer_that_is_too_long_keeps_what_fits(kind: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By either way; and by dnspython's, which is slow, without encoding it again and again."""

    records = tuple(Record("peers.shop.svc.cluster.local", kind, 5, DATA[kind](number)) for number in range(6000))
    extra = tuple(Record(f"{number}.peers.shop.svc.cluster.local", "A", 5, "10.7.0.1") for number in range(20))
    answer = Answer(answers=records, additional=extra)
    encodings: list[int] = []
    encode = message_codec._with_answers

    def counted(*given: Any) -> Any:
        encodings.append(1)
        return encode(*given)

    monkeypatch.setattr(message_codec, "_with_answers", counted)
    wire = query("peers.shop.svc.cluster.local", kind, use_edns=0, payload=4096)
    plain = read(wire)
    assert plain is not None
    short = write(wire, plain, answer, authoritative=True, limit=limit, payload=OURS)
    long = to_wire(dns.message.from_wire(wire), "NOERROR", answer, authoritative=True, limit=limit, payload=OURS)
    for made in (short, long):
        assert made is not None
        assert limit - 100 < len(made) <= limit
        found = dns.message.from_wire(made)
        assert found.flags & dns.flags.TC
        assert not found.additional
    assert len(encodings) < 12


def test_what_is_not_plain_is_left_to_others() -> None:
    wire = query("web.example")
    plain = read(wire)
    assert plain is not None
    for record in (Record("web.example", "CNAME", 60, "a\\.b.example."), Record("web.example", "MX", 60, "10 mail.example.")):
        assert write(wire, plain, Answer(answers=(record,)), authoritative=False, limit=TCP_BYTES, payload=OURS) is None
    assert write(wire, plain, Answer("SERVFAIL"), authoritative=False, limit=TCP_BYTES, payload=OURS) is None
    for other in (
        query("."),
        query("a\\.b.example"),
        query("web.example", "TYPE300"),
        query("web.example", use_edns=1),
        wire + b"x",
        wire[:-1],
    ):
        assert read(other) is None


mutated = st.builds(
    lambda wire, place, octet: wire[: place % len(wire)] + bytes((octet,)) + wire[place % len(wire) + 1 :],
    st.sampled_from([query("web.example"), query("web.example", use_edns=0), query("a.b", "SRV", use_edns=0, want_dnssec=True)]),
    st.integers(0, 100),
    st.integers(0, 255),
)


@settings(max_examples=500, deadline=None)
@given(st.one_of(mutated, st.builds(lambda wire, rest: wire + rest, mutated, st.binary(max_size=12)), st.binary(max_size=60)))
def test_a_plain_query_is_what_it_is_taken_for(wire: bytes) -> None:
    plain = read(wire)
    if plain is None:
        return
    message = dns.message.from_wire(wire)
    (asked,) = message.question
    assert text_of(asked.name) == plain.name and dns.rdatatype.to_text(asked.rdtype) == plain.type
    assert (message.edns == 0) is (plain.payload is not None) and message.edns <= 0
    assert bool(message.ednsflags & dns.flags.DO) is plain.dnssec
    assert not message.flags & dns.flags.QR and message.opcode() == 0


def test_the_types_are_called_as_everywhere() -> None:
    assert {number: dns.rdatatype.to_text(dns.rdatatype.RdataType(number)) for number in TYPES} == TYPES
