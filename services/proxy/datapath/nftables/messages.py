"""The operations of a transaction as netlink messages. Formats: linux/netfilter/nf_tables.h."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network

from knarr.netlink.messages import attribute
from services.proxy.datapath.nftables.attributes import expression, nest, number, text
from services.proxy.datapath.nftables.operations import (
    SHARES,
    STICKY_CLIENTS,
    AddChain,
    AddDeal,
    AddElement,
    AddMap,
    AddRemember,
    AddReturn,
    AddShares,
    AddStickySet,
    AddVerdict,
    DeleteChain,
    DeleteElement,
    DeleteSet,
    Destination,
    FlushChain,
    Lead,
    Operation,
)

CREATE, APPEND = 0x400, 0x800
NEW_CHAIN, DELETE_CHAIN, NEW_RULE, DELETE_RULE, NEW_SET, DELETE_SET = 3, 5, 6, 8, 9, 11
NEW_ELEMENT, DELETE_ELEMENT = 12, 14
IPV4 = 2
VERDICTS = {"jump": -3, "goto": -4, "return": -5}
PROTOCOLS = {"tcp": 6, "udp": 17}
META_L4PROTO = 16
DESTINATION_NAT = 1
# What sets are, and of what: nft's numbers.
MAP_FLAG, TIMEOUT_FLAG, EVALUATED_FLAG = 0x8, 0x10, 0x20
INTEGER, ADDRESS, ADDRESS_AND_PORT = 4, 7, 7 << 6 | 13
UPDATE = 1
# By which nft lists a map from slots to destinations as `typeof numgen inc mod 2 : ip daddr . th dport`, as it keeps that itself.
MAP_TYPES = bytes.fromhex(
    "000401000000010400000000031a000417000000011200040000000001040200"
    "0000020400000000043400040d000000012c0014000407000000010c00040c00"
    "000001040c0000000114000407000000010c00040b0000000104020000000604"
    "00000000"
)
NETWORK_HEADER, SOURCE_OFFSET = 1, 12
# The first register, of 16 bytes; its second word is where a destination's port comes to lie.
VERDICT_REGISTER, REGISTER, SECOND_WORD = 0, 1, 9


def _verdict(kind: int, verdict: str, target: str) -> bytes:
    return nest(kind, nest(2, number(1, VERDICTS[verdict]), text(2, target) if target else b""))


def _client() -> bytes:
    """Loads the packet's source."""
    return expression("payload", number(1, REGISTER), number(2, NETWORK_HEADER), number(3, SOURCE_OFFSET), number(4, 4))


def _from(source: str) -> bytes:
    """Expressions that only packets from a range pass."""
    network = IPv4Network(source)
    mask = (nest(4, attribute(1, network.netmask.packed)), nest(5, attribute(1, bytes(4))))
    return (
        _client()
        + expression("bitwise", number(1, REGISTER), number(2, REGISTER), number(3, 4), *mask)
        + expression("cmp", number(1, REGISTER), number(2, 0), nest(3, attribute(1, network.network_address.packed)))
    )


def _to(verdict: str, target: str) -> bytes:
    return expression("immediate", number(1, VERDICT_REGISTER), _verdict(2, verdict, target))


def _turn(turns: int, offset: int) -> bytes:
    return expression("numgen", number(1, REGISTER), number(2, turns), number(3, 0), number(4, offset))


def _lookup(name: str, *result: int) -> bytes:
    return expression("lookup", text(1, name), number(2, REGISTER), *(number(3, register) for register in result))


def _word(part: str | int) -> bytes:
    """One part of a key: an address, a protocol's number or a port, each filled to 4 bytes."""
    if isinstance(part, int):
        return struct.pack(">H2x", part)
    return struct.pack("B3x", PROTOCOLS[part]) if part in PROTOCOLS else socket.inet_aton(part)


def _key(key: Sequence[str | int]) -> bytes:
    """A lone number is a slot, which `numgen` makes in the machine's order."""
    if len(key) == 1 and isinstance(key[0], int):
        return struct.pack("=I", key[0])
    return b"".join(map(_word, key))


def _data(data: Destination | Lead | None) -> bytes:
    if data is None:
        return b""
    if isinstance(data, Lead):
        return _verdict(2, data.verdict, data.chain)
    counted = nest(7, text(1, "counter"), nest(2, attribute(1, bytes(8)), attribute(2, struct.pack(">Q", data.packets))))
    return nest(2, attribute(1, _word(data.address) + _word(data.port))) + (counted if data.packets else b"")


def _deal(rule: AddDeal) -> tuple[bytes, ...]:
    return (
        expression("meta", number(2, META_L4PROTO), number(1, REGISTER)),
        expression("cmp", number(1, REGISTER), number(2, 0), nest(3, attribute(1, bytes([PROTOCOLS[rule.protocol]])))),
        _turn(rule.turns, rule.offset),
        _lookup(rule.map, REGISTER),
        expression("nat", number(1, DESTINATION_NAT), number(2, IPV4), number(3, REGISTER), number(5, SECOND_WORD)),
    )


def _map(table: str, name: str) -> bytes:
    counter = nest(17, text(1, "counter"), nest(2))
    kinds = ((3, MAP_FLAG), (4, INTEGER), (5, 4), (6, ADDRESS_AND_PORT), (7, 8), (10, 1))
    return text(1, table) + text(2, name) + b"".join(number(*kind) for kind in kinds) + attribute(13, MAP_TYPES) + counter


def _sticky_set(table: str, name: str, seconds: int) -> bytes:
    kinds = ((3, TIMEOUT_FLAG | EVALUATED_FLAG), (4, ADDRESS), (5, 4), (10, 1))
    timeout = attribute(11, struct.pack(">Q", seconds * 1000))
    return text(1, table) + text(2, name) + b"".join(number(*kind) for kind in kinds) + timeout + nest(9, number(1, STICKY_CLIENTS))


def _rule(table: str, chain: str, *expressions: bytes) -> tuple[int, int, bytes]:
    return NEW_RULE, CREATE | APPEND, text(1, table) + text(2, chain) + nest(4, *expressions)


def _elements(table: str, name: str, *elements: bytes) -> bytes:
    return text(1, table) + text(2, name) + nest(3, *(nest(1, element) for element in elements))


def _encoded(table: str, operation: Operation) -> tuple[int, int, bytes]:
    """(message type, flags, attributes)."""
    match operation:
        case AddChain(chain):
            return NEW_CHAIN, CREATE, text(1, table) + text(3, chain)
        case DeleteChain(chain):
            return DELETE_CHAIN, 0, text(1, table) + text(3, chain)
        case FlushChain(chain):
            return DELETE_RULE, 0, text(1, table) + text(2, chain)
        case AddMap(name):
            return NEW_SET, CREATE, _map(table, name)
        case AddStickySet(name, seconds):
            return NEW_SET, CREATE, _sticky_set(table, name, seconds)
        case DeleteSet(name):
            return DELETE_SET, 0, text(1, table) + text(2, name)
        case AddDeal():
            return _rule(table, operation.chain, *_deal(operation))
        case AddReturn(chain, name, target):
            return _rule(table, chain, _client(), _lookup(name), _to("goto", target))
        case AddRemember(chain, name):
            return _rule(table, chain, _client(), expression("dynset", text(1, name), number(3, UPDATE), number(4, REGISTER)))
        case AddShares(chain, turns, offset):
            return _rule(table, chain, _turn(turns, offset), _lookup(SHARES, VERDICT_REGISTER))
        case AddVerdict(chain, verdict, target, source):
            return _rule(table, chain, _from(source) if source else b"", _to(verdict, target))
        case AddElement(name, key, data):
            return NEW_ELEMENT, CREATE, _elements(table, name, nest(1, attribute(1, _key(key))) + _data(data))
        case DeleteElement(name, key):
            return DELETE_ELEMENT, 0, _elements(table, name, nest(1, attribute(1, _key(key))))


def encode(table: str, operations: Iterable[Operation]) -> list[tuple[int, int, bytes]]:
    """The operations as messages, for ``NetlinkConnection.commit``."""
    return [_encoded(table, operation) for operation in operations]


def slot_elements(table: str, name: str, slot: int) -> bytes:
    """Names one slot of a map, to be asked for."""
    return _elements(table, name, nest(1, attribute(1, _key((slot,)))))
