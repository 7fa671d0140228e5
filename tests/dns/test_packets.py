"""What may come in a packet, and what goes out: codes, lengths, EDNS, letters; and anything at all."""

from __future__ import annotations

import asyncio
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from services.dns.query.ready import MAX_FORMS, ReadyAnswers, key_of
from services.dns.zone.records import Answer, Record
from tests.dns.laboratory import Objects, ask, in_words, put, query, responder_of
from tests.proxy.objects import service, slice_of

WEB = "web.default.svc.cluster.local"
MANY = "many.default.svc.cluster.local"


def a_responder(endpoints: int = 200) -> Any:
    zone = Objects(["default"]).zone()
    put(zone, service(cluster_ip="10.96.0.20"))
    many = service("many", cluster_ip="None")
    put(zone, many, [slice_of("many", [f"10.244.{number // 250}.{number % 250}" for number in range(endpoints)])])
    return responder_of(zone)


async def test_letters_come_back_as_they_were_sent() -> None:
    responder = a_responder()
    for name in ("wEb.DEFAULT.svc.cluster.LOCAL", "WEB.default.SVC.cluster.local"):
        answer = await ask(responder, query(name))
        assert answer is not None and in_words(answer) == ["A 10.96.0.20"]
        assert answer.question[0].name.to_text() == f"{name}."
        assert answer.answer[0].name.to_text() == f"{name}.", "owner names point to the question"
    assert responder._counters.made["NOERROR"] == 1, "the second spelling had a ready answer"


async def test_addresses_are_given_in_turn() -> None:
    responder = a_responder(3)
    first = []
    for _ in range(6):
        answer = await ask(responder, query(MANY))
        assert answer is not None
        first.append(answer.answer[0][0].to_text())
    assert set(first) == {"10.244.0.0", "10.244.0.1", "10.244.0.2"}


async def test_of_a_cut_answer_the_records_come_in_turn_too() -> None:
    responder = a_responder(60)
    first = set()
    for _ in range(9):
        answer = await ask(responder, query(MANY))
        assert answer is not None and answer.flags & dns.flags.TC
        first.add(answer.answer[0][0].to_text())
    assert len(first) > 3


@pytest.mark.parametrize(("payload", "most"), [(None, 512), (512, 512), (100, 512), (1232, 1232), (4096, 1232)])
async def test_an_answer_fits_what_the_client_takes(payload: int | None, most: int) -> None:
    responder = a_responder()
    edns: dict[str, Any] = {} if payload is None else {"use_edns": 0, "payload": payload}
    for transport in ("udp", "udp", "tcp"):
        made = responder.ready(transport).find(query(MANY, **edns)) or responder.answer(query(MANY, **edns), transport)
        assert isinstance(made, bytes)
        answer = dns.message.from_wire(made)
        cut = bool(answer.flags & dns.flags.TC)
        assert cut is (transport == "udp")
        if cut:
            number = len(answer.answer[0])
            assert most - 16 < len(made) <= most, "as many as fit"
            assert len({item.to_text() for item in answer.answer[0]}) == number < 200
        else:
            assert len(answer.answer[0]) == 200
        assert (answer.edns == 0) is (payload is not None), "EDNS is answered to those who use it"


async def test_codes_for_what_is_not_answered() -> None:
    responder = a_responder()
    status = dns.message.make_query(f"{WEB}.", "A")
    status.set_opcode(dns.opcode.STATUS)
    newer = dns.message.make_query(f"{WEB}.", "A", use_edns=1)
    chaos = dns.message.make_query("version.bind.", "TXT", "CH")
    two = dns.message.make_query(f"{WEB}.", "A")
    two.question.append(two.question[0])
    none = dns.message.make_query(f"{WEB}.", "A")
    none.question.clear()
    cases = {
        "NOTIMP": [status.to_wire(), query(WEB, "TKEY")],
        "BADVERS": [newer.to_wire()],
        "REFUSED": [chaos.to_wire(), query(WEB, "AXFR"), query("cluster.local", "IXFR")],
        "FORMERR": [two.to_wire(), none.to_wire(), query(WEB)[:-1], query(WEB) + b"x", query(WEB)[:12]],
    }
    for code, wires in cases.items():
        for wire in wires:
            answer = await ask(responder, wire)
            assert answer is not None and dns.rcode.to_text(answer.rcode()) == code, (code, wire)
            assert not answer.answer


async def test_what_is_no_query_gets_no_answer() -> None:
    responder = a_responder()
    response = dns.message.make_response(dns.message.from_wire(query(WEB))).to_wire()
    for wire in (b"", b"\0", query(WEB)[:11], response, b"\xff" * 40):
        assert await ask(responder, wire) is None, wire


async def test_a_question_that_points_elsewhere_is_not_kept() -> None:
    """The name may point into the header: what looks like its end is none."""
    responder = a_responder()
    wire = bytearray(query(WEB))
    wire[12:] = b"\xc0\x04" + b"\0\x01\0\x01"
    await ask(responder, bytes(wire))
    assert len(responder.ready("udp")) == 0


async def test_before_the_zone_is_complete_its_names_fail() -> None:
    responder = a_responder()
    responder.synced = False
    answer = await ask(responder, query(WEB))
    assert answer is not None and in_words(answer) == "SERVFAIL"
    outside = await ask(responder, query("example.com"))
    assert outside is not None and in_words(outside) == "UPSTREAM"
    responder.synced = True
    answer = await ask(responder, query(WEB))
    assert answer is not None and in_words(answer) == ["A 10.96.0.20"], "the failure was not kept"


async def test_an_error_of_ours_is_servfail(monkeypatch: pytest.MonkeyPatch) -> None:
    responder = a_responder()
    monkeypatch.setattr(responder, "_zone", None)
    answer = await ask(responder, query(WEB))
    assert answer is not None and dns.rcode.to_text(answer.rcode()) == "SERVFAIL"


async def test_an_answer_of_others_that_cannot_be_written_is_servfail() -> None:
    """A record without data can be read from a packet, and has no text that is one."""

    async def forward(name: str, kind: str) -> Answer:
        return Answer(answers=(Record(name, kind, 60, "0 53 "),))

    answer = await ask(responder_of(Objects().zone(), forward), query("host.example.com", "SSHFP"))
    assert answer is not None and dns.rcode.to_text(answer.rcode()) == "SERVFAIL"


RESPONDER = a_responder()
labels = st.lists(
    st.sampled_from(["web", "WEB", "many", "default", "svc", "cluster", "local", "_http", "_tcp", "*", "10-0-0-1", "a\\000b"])
)
garbage = st.binary(max_size=80)
mutated = st.builds(
    lambda wire, place, octet: wire[: place % len(wire)] + bytes((octet,)) + wire[place % len(wire) + 1 :],
    st.sampled_from([query(WEB), query(WEB, use_edns=0), query(MANY, "SRV"), query("cluster.local", "SOA")]),
    st.integers(0, 100),
    st.integers(0, 255),
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(garbage, mutated, st.builds(lambda head, rest: head[:12] + rest, mutated, garbage)), st.sampled_from(["udp", "tcp"]))
def test_any_packet_is_answered_in_form_or_not_at_all(wire: bytes, transport: str) -> None:
    made = RESPONDER.ready(transport).find(wire)
    if made is None:
        made = RESPONDER.answer(wire, transport)
    if made is None:
        return
    if not isinstance(made, bytes):
        made = asyncio.run(_awaited(made))
    answer = dns.message.from_wire(made)
    assert made[:2] == wire[:2] and answer.flags & dns.flags.QR
    assert len(made) <= (1232 if transport == "udp" else 65535)


@settings(max_examples=200, deadline=None)
@given(labels, st.sampled_from(["A", "AAAA", "SRV", "PTR", "ANY", "TXT", "TYPE65", "TYPE97"]))
def test_a_ready_answer_is_the_answer(names: list[str], kind: str) -> None:
    """Twice the same question: the second answer, which is ready, says what the first one did."""
    wire = query(".".join(names) or ".", kind)
    responder = a_responder(1)
    first, second = (asyncio.run(_asked(responder, wire)) for _ in range(2))
    assert first == second


async def _asked(responder: Any, wire: bytes) -> dns.message.Message | None:
    return await ask(responder, wire)


async def _awaited(made: Any) -> bytes:
    found: bytes = await made
    return found


@given(st.lists(st.text("abcXYZ019-_", min_size=1, max_size=63), min_size=1, max_size=3))
def test_keys_are_names_as_in_packets(names: list[str]) -> None:
    name = ".".join(names)
    assert key_of(name.lower()) == dns.name.from_text(f"{name}.").canonicalize().to_wire()


def test_options_that_differ_each_time_are_not_kept() -> None:
    table = ReadyAnswers()
    cookie = query(WEB, use_edns=0, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")])
    table.keep(cookie, WEB, [bytes(100)])
    assert len(table) == 0
    table.keep(query(WEB, use_edns=0), WEB, [bytes(100)])
    assert len(table) == 1
    table.forget(WEB)
    assert len(table) == 0
    for name in (WEB, "nope.default.svc.cluster.local", "default.svc.cluster.local", "web.other.svc.cluster.local"):
        table.keep(query(name), name, [bytes(100)])
    table.forget_below("default.svc.cluster.local")
    assert len(table) == 1


def test_one_name_asked_in_many_ways_takes_little_room() -> None:
    table = ReadyAnswers()
    for payload in range(512, 512 + 10 * MAX_FORMS):
        assert table.keep(query(WEB, use_edns=0, payload=payload), WEB, [bytes(100)])
    assert sum(len(forms) for forms in table._names.values()) <= MAX_FORMS


def test_services_of_one_name_in_two_namespaces_are_apart() -> None:
    zone = Objects(["default", "other"]).zone()
    put(zone, service(cluster_ip="10.96.0.20"))
    other = core.Service()
    other.CopyFrom(service(cluster_ip="10.96.0.21"))
    other.metadata.namespace = "other"
    put(zone, other)
    found = zone.lookup("web.other.svc.cluster.local", "A")
    assert found is not None and [record.data for record in found.answers] == ["10.96.0.21"]
