"""The same steps as netlink messages for ``NetlinkConnection.commit``: unlike commands, they do not cost more in a larger table."""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from knarr.netlink.messages import attribute
from services.proxy.datapath.nftables.attributes import expression, nest, number, text
from services.proxy.datapath.nftables.messages import (
    APPEND,
    CREATE,
    DELETE_CHAIN,
    DELETE_ELEMENT,
    DELETE_RULE,
    META_L4PROTO,
    NETWORK_HEADER,
    NEW_CHAIN,
    NEW_ELEMENT,
    NEW_RULE,
    REGISTER,
    SOURCE_OFFSET,
    VERDICT_REGISTER,
)
from services.proxy.policy.facts import HIGHEST_PORT, INGRESS, BlockPeer
from services.proxy.policy.model import DNS, ChainEntry, Drop, ElementEntry, Match, Rights, SetEntry, Step, Value, set_name

NEW_SET, DELETE_SET = 9, 11
INTERVAL, INTERVAL_END = 0x4, 0x1
IPV4_ADDRESS_TYPE, IPV4_ADDRESS_BYTES = 7, 4
TRANSPORT_HEADER, PORT_OFFSET = 2, 2
DESTINATION_OFFSET = 16
EQUAL, AT_MOST, AT_LEAST = 0, 3, 5
JUMP, RETURN, DROP = -3, -5, 0
ORIGINAL, CT_DESTINATION, CT_PORT = 0, 20, 12
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
HIGHEST_ADDRESS = 0xFFFFFFFF
ELEMENTS_PER_MESSAGE = 500

Message = tuple[int, int, bytes]


def encode(table: str, steps: Iterable[Step]) -> list[Message]:
    """(message type, flags, attributes) of each; neighbours that fill one set go together."""
    found: list[Message] = []
    ids = itertools.count(1)
    for (kind, verb, name), group in itertools.groupby(steps, _destination):
        if kind is ElementEntry:
            message, flags = (DELETE_ELEMENT, 0) if verb == "remove" else (NEW_ELEMENT, CREATE)
            found += [(message, flags, body) for body in _fill(table, name, map(_element, group))]
            continue
        for step in group:
            found += _set(table, step, next(ids)) if kind is SetEntry else _chain(table, step)
    return found


def _destination(step: Step) -> tuple[type, str, str]:
    return type(step.entry), step.verb, step.entry.set if isinstance(step.entry, ElementEntry) else ""


def _fill(table: str, name: str, elements: Iterable[bytes]) -> Iterator[bytes]:
    rest = iter(elements)
    while part := list(itertools.islice(rest, ELEMENTS_PER_MESSAGE)):
        yield text(1, table) + text(2, name) + nest(3, *(nest(1, element) for element in part))


def _element(step: Step) -> bytes:
    assert isinstance(step.entry, ElementEntry)
    key = nest(1, attribute(1, b"".join(map(socket.inet_aton, step.entry.key))))
    return key + (nest(2, _verdict(JUMP, str(step.value))) if step.value and step.verb != "remove" else b"")


def _set(table: str, step: Step, set_id: int) -> list[Message]:
    assert isinstance(step.entry, SetEntry)
    name = step.entry.name
    if step.verb == "remove":
        return [(DELETE_SET, 0, text(1, table) + text(2, name))]
    flags = INTERVAL if isinstance(step.value, BlockPeer) else 0
    body = text(1, table) + text(2, name) + number(3, flags) + number(4, IPV4_ADDRESS_TYPE) + number(5, IPV4_ADDRESS_BYTES)
    made: Message = (NEW_SET, CREATE, body + number(10, set_id))
    if not isinstance(step.value, BlockPeer):
        return [made]
    return [made, *((NEW_ELEMENT, CREATE, found) for found in _fill(table, name, _bounds(step.value)))]


def _bounds(block: BlockPeer) -> Iterator[bytes]:
    """The elements of ranges: where each begins, and where what is behind it does."""
    for low, high in block.ranges:
        yield nest(1, attribute(1, IPv4Address(low).packed))
        if high < HIGHEST_ADDRESS:
            yield nest(1, attribute(1, IPv4Address(high + 1).packed)) + number(3, INTERVAL_END)


def _chain(table: str, step: Step) -> list[Message]:
    assert isinstance(step.entry, ChainEntry)
    name = step.entry.name
    flush: Message = (DELETE_RULE, 0, text(1, table) + text(2, name))
    if step.verb == "remove":
        return [flush, (DELETE_CHAIN, 0, text(1, table) + text(3, name))]
    head: Message = flush if step.verb == "refill" else (NEW_CHAIN, CREATE, text(1, table) + text(3, name))
    where = text(1, table) + text(2, name)
    return [head, *((NEW_RULE, CREATE | APPEND, where + nest(4, rule)) for rule in _rules(step.value))]


def _rules(value: Value) -> list[bytes]:
    drop = _end(DROP)
    if isinstance(value, Drop):
        return [drop] if value.closed else []
    assert isinstance(value, Rights)
    return [*(_rule(value.direction, match) for match in value.matches), drop]


def _rule(direction: str, match: Match) -> bytes:
    parts: list[bytes] = []
    if match.peers is not None:
        offset = SOURCE_OFFSET if direction == INGRESS else DESTINATION_OFFSET
        parts += [_payload(NETWORK_HEADER, offset, 4), _lookup(set_name(match.peers))]
    if match.protocol:
        parts.append(expression("meta", number(2, META_L4PROTO), number(1, REGISTER)))
        parts.append(_compare(EQUAL, struct.pack("B", PROTOCOLS[match.protocol])))
    if match.dns:
        parts += [_original(CT_DESTINATION), _lookup(DNS)]
    if match.protocol and (match.low, match.high) != (1, HIGHEST_PORT):
        parts.append(_original(CT_PORT) if match.dns else _payload(TRANSPORT_HEADER, PORT_OFFSET, 2))
        low, high = struct.pack(">H", match.low), struct.pack(">H", match.high)
        parts += [_compare(EQUAL, low)] if low == high else [_compare(AT_LEAST, low), _compare(AT_MOST, high)]
    return b"".join([*parts, _end(RETURN)])


def _payload(base: int, offset: int, length: int) -> bytes:
    return expression("payload", number(1, REGISTER), number(2, base), number(3, offset), number(4, length))


def _lookup(name: str) -> bytes:
    return expression("lookup", text(1, name), number(2, REGISTER))


def _compare(operator: int, data: bytes) -> bytes:
    return expression("cmp", number(1, REGISTER), number(2, operator), nest(3, attribute(1, data)))


def _original(key: int) -> bytes:
    """Loads what is asked of the connection as it began, whatever it was translated to."""
    return expression("ct", number(2, key), number(1, REGISTER), attribute(3, struct.pack("B", ORIGINAL)))


def _verdict(code: int, chain: str = "") -> bytes:
    return nest(2, number(1, code), text(2, chain) if chain else b"")


def _end(code: int) -> bytes:
    return expression("immediate", number(1, VERDICT_REGISTER), nest(2, _verdict(code)))
