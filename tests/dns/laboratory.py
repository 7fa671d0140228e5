"""Short makers of what the tests of the DNS need: zones from YAML, questions, answers in words."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import yaml

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.machinery import codec
from knarr.objects.labels import SERVICE_NAME
from services.dns.counters import Counters
from services.dns.query.responder import Responder
from services.dns.zone.records import Answer
from services.dns.zone.zone import Zone

DOMAIN = "cluster.local"
TTL_SECONDS = 5
CIDRS = ("10.96.0.0/16", "10.244.0.0/16")
UPSTREAM = "REFUSED"
KINDS = {"Service": core.Service, "EndpointSlice": discovery.EndpointSlice, "Namespace": core.Namespace}


@dataclass
class Objects:
    namespaces: list[str] = field(default_factory=list)
    services: list[core.Service] = field(default_factory=list)
    slices: list[discovery.EndpointSlice] = field(default_factory=list)

    def of(self, service: core.Service) -> list[discovery.EndpointSlice]:
        """The slices of a Service."""
        wanted = (service.metadata.namespace, service.metadata.name)
        return [piece for piece in self.slices if (piece.metadata.namespace, piece.metadata.labels[SERVICE_NAME]) == wanted]

    def zone(self, source: random.Random | None = None) -> Zone:
        """A zone that took the objects in their order, or in any."""
        zone = Zone(DOMAIN, TTL_SECONDS, CIDRS)
        steps: list[Callable[[], Any]] = [partial(zone.put_namespace, name, exists=True) for name in self.namespaces]
        steps += [partial(put, zone, found, self.of(found)) for found in self.services]
        if source is not None:
            source.shuffle(steps)
        for step in steps:
            step()
        return zone


def put(zone: Zone, service: core.Service, slices: Iterable[discovery.EndpointSlice] = ()) -> set[str]:
    return zone.put_service(service.metadata.namespace, service.metadata.name, service, slices)


def load(path: Path) -> tuple[Objects, dict[str, Any]]:
    """The objects of a scenario, and its questions with their answers."""
    objects, answers = Objects(), {}
    for document in yaml.safe_load_all(path.read_text()):
        if "answers" in document:
            answers = document["answers"]
            continue
        found: Any = codec.from_json(KINDS[document["kind"]], document).message
        if document["kind"] == "Namespace":
            objects.namespaces.append(found.metadata.name)
        else:
            (objects.services if document["kind"] == "Service" else objects.slices).append(found)
    return objects, answers


async def refuse(name: str, kind: str) -> Answer:
    """An upstream that can be told from all else."""
    return Answer(UPSTREAM)


def responder_of(zone: Zone, forward: Callable[[str, str], Awaitable[Answer]] = refuse) -> Responder:
    made = Responder(zone, forward, Counters(), 1232)
    made.synced = True
    return made


def query(name: str, kind: str = "A", **options: Any) -> bytes:
    return dns.message.make_query(f"{name.rstrip('.')}.", kind, **options).to_wire()


async def ask(responder: Responder, wire: bytes, transport: str = "udp") -> dns.message.Message | None:
    """What a server does with a query, without a socket."""
    made: Any = responder.ready(transport).find(wire) or responder.answer(wire, transport)
    if made is not None and not isinstance(made, bytes):
        made = await made
    if made is None:
        return None
    answer = dns.message.from_wire(made)
    assert made[:2] == wire[:2] and answer.flags & dns.flags.QR
    return answer


def in_words(answer: dns.message.Message) -> str | list[str]:
    """As the scenario files have it: a code alone, or records, those of other names with their name, additional ones after a plus."""
    own = answer.question[0].name
    records = [text for found in answer.answer for text in _words(found, own)]
    records += [f"+ {text}" for found in answer.additional for text in _words(found, None)]
    code = dns.rcode.to_text(answer.rcode())
    if code == UPSTREAM:
        code = "UPSTREAM"
    elif code == "NOERROR" and answer.authority:
        code = "NODATA"
    if code == "NOERROR":
        return records
    if not records:
        return code
    return [*records, code] if code == "NODATA" else [code, *records]


def _words(found: dns.rrset.RRset, own: Any) -> list[str]:
    name = "" if found.name == own else f"{found.name.to_text(omit_final_dot=True)} "
    kind = dns.rdatatype.to_text(found.rdtype)
    texts = []
    for item in found:
        words = item.to_text().split(" ")
        if kind == "SOA":
            words[2] = "SERIAL"
        texts.append(f"{name}{kind} {' '.join(words)}")
    return texts
