"""Transactions to nf_tables as netlink messages of our own making.

libnftables reads the chains and sets of the whole table before each command, so its cost follows the size of the table. A message
written by ourselves names only what changes. Only what is in ``operations`` is known here; the rest is left to libnftables.
Formats: linux/netfilter/nf_tables.h and nfnetlink.h.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network

from services.proxy.datapath.nftables.attributes import ATTRIBUTE
from services.proxy.datapath.nftables.attributes import attribute as _attribute
from services.proxy.datapath.nftables.attributes import expression as _expression
from services.proxy.datapath.nftables.attributes import nest as _nest
from services.proxy.datapath.nftables.attributes import number as _number
from services.proxy.datapath.nftables.attributes import text as _text
from services.proxy.datapath.nftables.operations import (
    AddChain,
    AddDeal,
    AddElement,
    AddVerdict,
    DeleteChain,
    DeleteElement,
    Destination,
    FlushChain,
    Lead,
    Operation,
)

NETLINK_NETFILTER = 12
REPLY_TIMEOUT_SECONDS = 10
RECEIVE_BYTES = 1 << 18
SEND_BYTES = 16 << 20
SO_SNDBUFFORCE = 32

REQUEST, ACK, DUMP, CREATE, APPEND = 0x1, 0x4, 0x300, 0x400, 0x800
ERROR, DONE = 2, 3
BATCH_BEGIN, BATCH_END = 0x10, 0x11
SUBSYSTEM = 10
NEW_CHAIN, DELETE_CHAIN, NEW_RULE, DELETE_RULE = 3, 5, 6, 8
NEW_ELEMENT, GET_ELEMENT, DELETE_ELEMENT = 12, 13, 14
IPV4 = 2
VERDICTS = {"jump": -3, "goto": -4, "return": -5}
PROTOCOLS = {"tcp": 6, "udp": 17}
META_L4PROTO = 16
DESTINATION_NAT = 1
NETWORK_HEADER, SOURCE_OFFSET = 1, 12
# The first register, of 16 bytes; its second word is where a destination's port comes to lie.
VERDICT_REGISTER, REGISTER, SECOND_WORD = 0, 1, 9

HEADER = struct.Struct("=IHHII")


class NetlinkRefused(OSError):
    """The kernel refused a transaction; nothing of it is in force."""


def _verdict(kind: int, verdict: str, target: str) -> bytes:
    return _nest(kind, _nest(2, _number(1, VERDICTS[verdict]), _text(2, target) if target else b""))


def _from(source: str) -> bytes:
    """Expressions that only packets from a range pass."""
    network = IPv4Network(source)
    if not network.prefixlen:
        return b""
    return (
        _expression("payload", _number(1, REGISTER), _number(2, NETWORK_HEADER), _number(3, SOURCE_OFFSET), _number(4, 4))
        + _expression(
            "bitwise",
            _number(1, REGISTER),
            _number(2, REGISTER),
            _number(3, 4),
            _nest(4, _attribute(1, network.netmask.packed)),
            _nest(5, _attribute(1, bytes(4))),
        )
        + _expression("cmp", _number(1, REGISTER), _number(2, 0), _nest(3, _attribute(1, network.network_address.packed)))
    )


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
    counted = _nest(7, _text(1, "counter"), _nest(2, _attribute(1, bytes(8)), _attribute(2, struct.pack(">Q", data.packets))))
    return _nest(2, _attribute(1, _word(data.address) + _word(data.port))) + (counted if data.packets else b"")


def _deal(rule: AddDeal) -> bytes:
    return _nest(
        4,
        _expression("meta", _number(2, META_L4PROTO), _number(1, REGISTER)),
        _expression("cmp", _number(1, REGISTER), _number(2, 0), _nest(3, _attribute(1, bytes([PROTOCOLS[rule.protocol]])))),
        _expression("numgen", _number(1, REGISTER), _number(2, rule.turns), _number(3, 0), _number(4, rule.offset)),
        _expression("lookup", _text(1, rule.map), _number(2, REGISTER), _number(3, REGISTER)),
        _expression("nat", _number(1, DESTINATION_NAT), _number(2, IPV4), _number(3, REGISTER), _number(5, SECOND_WORD)),
    )


def _elements(table: str, name: str, *elements: bytes) -> bytes:
    return _text(1, table) + _text(2, name) + _nest(3, *(_nest(1, element) for element in elements))


def _message(kind: int, flags: int, body: bytes, sequence: int, family: int = IPV4, resource: int = 0) -> bytes:
    return HEADER.pack(HEADER.size + 4 + len(body), kind, flags, sequence, 0) + struct.pack(">BBH", family, 0, resource) + body


def _encoded(table: str, operation: Operation) -> tuple[int, int, bytes]:
    """(message type, flags, attributes)."""
    match operation:
        case AddChain(chain):
            return NEW_CHAIN, CREATE, _text(1, table) + _text(3, chain)
        case DeleteChain(chain):
            return DELETE_CHAIN, 0, _text(1, table) + _text(3, chain)
        case FlushChain(chain):
            return DELETE_RULE, 0, _text(1, table) + _text(2, chain)
        case AddDeal():
            return NEW_RULE, CREATE | APPEND, _text(1, table) + _text(2, operation.chain) + _deal(operation)
        case AddVerdict(chain, verdict, target, source):
            to = _expression("immediate", _number(1, VERDICT_REGISTER), _verdict(2, verdict, target))
            return NEW_RULE, CREATE | APPEND, _text(1, table) + _text(2, chain) + _nest(4, (_from(source) if source else b"") + to)
        case AddElement(name, key, data):
            return NEW_ELEMENT, CREATE, _elements(table, name, _nest(1, _attribute(1, _key(key))) + _data(data))
        case DeleteElement(name, key):
            return DELETE_ELEMENT, 0, _elements(table, name, _nest(1, _attribute(1, _key(key))))
        case _:
            raise ValueError(f"not among the operations that are encoded: {operation}")


def encode(table: str, operations: Iterable[Operation]) -> list[tuple[int, int, bytes]]:
    """The operations as messages, for ``NetlinkConnection.commit``; ValueError for one that is left to libnftables."""
    return [_encoded(table, operation) for operation in operations]


class NetlinkConnection:
    """One netlink socket to the network namespace in which it was made. Calls must not overlap."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        with contextlib.suppress(PermissionError):
            self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BYTES)
        self._socket.settimeout(REPLY_TIMEOUT_SECONDS)
        self._sequence = 0

    @property
    def port(self) -> int:
        """By which others' notifications name us."""
        return int(self._socket.getsockname()[0])

    def close(self) -> None:
        self._socket.close()

    def commit(self, messages: Sequence[tuple[int, int, bytes]]) -> None:
        """Puts all of it in force at once. NetlinkRefused when one is refused; OSError EMSGSIZE when it is too much at once."""
        if not messages:
            return
        first = self._sequence + 1
        last = first + len(messages)
        self._sequence = last + 1
        batch = [_message(BATCH_BEGIN, REQUEST, b"", first, 0, SUBSYSTEM)]
        for sequence, (kind, flags, body) in enumerate(messages, first + 1):
            flags |= REQUEST | (ACK if sequence == last else 0)
            batch.append(_message(SUBSYSTEM << 8 | kind, flags, body, sequence))
        batch.append(_message(BATCH_END, REQUEST, b"", last + 1, 0, SUBSYSTEM))
        self._socket.send(b"".join(batch))
        for kind, sequence, body in self._replies():
            if kind != ERROR or not first <= sequence <= last:
                continue
            (code,) = struct.unpack_from("=i", body)
            if code:
                raise NetlinkRefused(-code, os.strerror(-code))
            if sequence == last:
                return

    def counts(self, table: str, name: str) -> dict[int, int]:
        """Connections counted at each slot of a map; empty when there is no such map."""
        self._sequence += 1
        body = _text(1, table) + _text(2, name)
        self._socket.send(_message(SUBSYSTEM << 8 | GET_ELEMENT, REQUEST | DUMP, body, self._sequence))
        found: dict[int, int] = {}
        for kind, sequence, reply in self._replies():
            if sequence != self._sequence:
                continue
            if kind in (DONE, ERROR):
                break
            for element in _attributes(_only(reply[4:], 3)):
                found.update(_counted(element))
        return found

    def count(self, table: str, name: str, slot: int) -> int:
        """Connections counted at one slot; 0 when there is none."""
        self._sequence += 1
        body = _elements(table, name, _nest(1, _attribute(1, _key((slot,)))))
        self._socket.send(_message(SUBSYSTEM << 8 | GET_ELEMENT, REQUEST, body, self._sequence))
        for kind, sequence, reply in self._replies():
            if sequence != self._sequence:
                continue
            if kind == ERROR:
                break
            return dict(pair for element in _attributes(_only(reply[4:], 3)) for pair in _counted(element)).get(slot, 0)
        return 0

    def _replies(self) -> Iterator[tuple[int, int, bytes]]:
        """(message type, sequence number, body), as long as they are asked for; TimeoutError when none comes."""
        while True:
            data = self._socket.recv(RECEIVE_BYTES)
            offset = 0
            while offset + HEADER.size <= len(data):
                length, kind, _, sequence, _ = HEADER.unpack_from(data, offset)
                yield kind, sequence, data[offset + HEADER.size : offset + length]
                offset += max((length + 3) & ~3, HEADER.size)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += max((length + 3) & ~3, 4)


def _only(data: bytes, wanted: int) -> bytes:
    return next((value for kind, value in _attributes(data) if kind == wanted), b"")


def _counted(element: tuple[int, bytes]) -> Iterator[tuple[int, int]]:
    """(slot, packets) of an element that counts."""
    key = _only(_only(element[1], 1), 1)
    packets = _only(_only(_only(element[1], 7), 2), 2)
    if len(key) == 4 and len(packets) == 8:
        yield struct.unpack("=I", key)[0], struct.unpack(">Q", packets)[0]
