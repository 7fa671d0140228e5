"""Scenario files: objects, questions, and what is answered. Each goes through the codec, as over a socket."""

from __future__ import annotations

import random
from pathlib import Path

import dns.flags
import dns.message
import pytest

from services.dns.zone.zone import Zone
from tests.dns.laboratory import CIDRS, DOMAIN, TTL_SECONDS, Objects, ask, in_words, load, query, responder_of

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.yaml"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
async def test_scenario(path: Path) -> None:
    objects, answers = load(path)
    assert answers
    for source in (None, random.Random(1), random.Random(2)):
        responder = responder_of(objects.zone(source))
        for question, expected in answers.items():
            kind, _, name = question.partition(" ")
            for transport in ("udp", "udp", "tcp"):
                wire = query(name.strip('"'), kind, use_edns=0)
                answer = await ask(responder, wire, transport)
                assert answer is not None
                said = in_words(answer)
                # A repeated question gets the records in another order.
                assert said == expected or (isinstance(said, list) and sorted(said) == sorted(expected)), f"{question}: {said}"
                _check(answer, wire, said)


def _check(answer: dns.message.Message, wire: bytes, said: str | list[str]) -> None:
    """What holds of every answer."""
    assert answer.question == dns.message.from_wire(wire).question
    assert answer.question[0].name.labels == dns.message.from_wire(wire).question[0].name.labels, "the client's letters"
    forwarded = "UPSTREAM" in said
    if said != "SERVFAIL":
        assert bool(answer.flags & dns.flags.AA) is (not forwarded or isinstance(said, list))
    assert answer.flags & dns.flags.RA and answer.flags & dns.flags.RD
    for found in (*answer.answer, *answer.authority, *answer.additional):
        assert found.ttl == TTL_SECONDS
    if said in ("NXDOMAIN", "NODATA"):
        (soa,) = answer.authority
        assert soa[0].minimum == TTL_SECONDS
        assert answer.question[0].name.is_subdomain(soa.name)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_zone_that_lost_everything_is_as_a_new_one(path: Path) -> None:
    objects, _ = load(path)
    zone = objects.zone()
    for service in objects.services:
        zone.put_service(service.metadata.namespace, service.metadata.name, None, ())
    for name in objects.namespaces:
        zone.put_namespace(name, exists=False)
    fresh = Zone(DOMAIN, TTL_SECONDS, CIDRS)
    assert (zone._records, zone._below, zone._services) == (fresh._records, fresh._below, fresh._services)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
async def test_what_was_answered_is_forgotten_when_it_changes(path: Path) -> None:
    """Answers of a responder that saw each change are those of one that begins with the last state."""
    objects, answers = load(path)
    zone = Objects().zone()
    responder = responder_of(zone)
    questions = [query(name.strip('"'), kind, id=1) for kind, _, name in (question.partition(" ") for question in answers)]
    source = random.Random(3)
    present: set[int] = set()
    for name in objects.namespaces:
        zone.put_namespace(name, exists=True)
    for _ in range(40):
        number = source.randrange(len(objects.services))
        service = objects.services[number]
        present ^= {number}
        gone = number not in present
        key = service.metadata.namespace, service.metadata.name
        responder.changed(zone.put_service(*key, None if gone else service, objects.of(service)))
        fresh = responder_of(Objects(objects.namespaces, [objects.services[i] for i in sorted(present)], objects.slices).zone())
        for wire in questions:
            known, anew = await ask(responder, wire), await ask(fresh, wire)
            assert known is not None and anew is not None
            said, expected = in_words(known), in_words(anew)
            assert said == expected or sorted(said) == sorted(expected), known.question
