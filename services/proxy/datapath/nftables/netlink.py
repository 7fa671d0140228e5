"""Transactions to nf_tables as netlink messages of our own making.

libnftables reads the chains and sets of the whole table before each command, so its cost follows the size of the table. A message
written by ourselves names only what changes. Formats: linux/netfilter/nfnetlink.h.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator, Sequence

from knarr.netlink.messages import ACK, DONE, DUMP, ERROR, REQUEST, Message, NetlinkRefused, attributes, message, messages, only
from services.proxy.datapath.nftables.attributes import text
from services.proxy.datapath.nftables.messages import IPV4, encode, slot_elements

__all__ = ["NetlinkConnection", "NetlinkRefused", "encode"]

NETLINK_NETFILTER = 12
REPLY_TIMEOUT_SECONDS = 10
RECEIVE_BYTES = 1 << 18
# A first programming of 10,000 Services with 10 endpoints each is 15 MB.
SEND_BYTES = 64 << 20
SO_SNDBUFFORCE = 32

BATCH_BEGIN, BATCH_END = 0x10, 0x11
SUBSYSTEM = 10
GET_TABLE, GET_ELEMENT = 1, 13
# What stands before the attributes: the family and the like.
GENERIC_BYTES = 4


def _generic(kind: int, flags: int, body: bytes, sequence: int, family: int = IPV4, resource: int = 0) -> bytes:
    return message(kind, flags, sequence, struct.pack(">BBH", family, 0, resource) + body)


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
        """The netlink port by which the kernel's notifications name us."""
        return int(self._socket.getsockname()[0])

    def close(self) -> None:
        self._socket.close()

    def commit(self, changes: Sequence[tuple[int, int, bytes]]) -> None:
        """Puts all of it in force at once. NetlinkRefused when one is refused; OSError EMSGSIZE when it is too much at once."""
        if not changes:
            return
        first = self._sequence + 1
        last = first + len(changes)
        self._sequence = last + 1
        batch = [_generic(BATCH_BEGIN, REQUEST, b"", first, 0, SUBSYSTEM)]
        for sequence, (kind, flags, body) in enumerate(changes, first + 1):
            flags |= REQUEST | (ACK if sequence == last else 0)
            batch.append(_generic(SUBSYSTEM << 8 | kind, flags, body, sequence))
        batch.append(_generic(BATCH_END, REQUEST, b"", last + 1, 0, SUBSYSTEM))
        self._socket.send(b"".join(batch))
        for reply in self._replies():
            if reply.kind != ERROR or not first <= reply.sequence <= last:
                continue
            if reply.error:
                raise NetlinkRefused(reply.error, os.strerror(reply.error))
            if reply.sequence == last:
                return

    def ask(self, kind: int, flags: int, body: bytes) -> Iterator[bytes]:
        """The attributes of each message that answers a question about IPv4, for any subsystem; OSError when the kernel refuses.

        To be read to its end before anything else is asked.
        """
        self._sequence += 1
        asked = self._sequence
        self._socket.send(_generic(kind, flags, body, asked))
        for reply in self._replies():
            if reply.sequence != asked:
                continue
            if reply.kind in (DONE, ERROR):
                if reply.error:
                    raise OSError(reply.error, os.strerror(reply.error))
                return
            yield reply.body[GENERIC_BYTES:]

    def has_table(self, table: str) -> bool:
        """Whether there is an IPv4 table of this name."""
        try:
            return bool(list(self.ask(SUBSYSTEM << 8 | GET_TABLE, REQUEST | ACK, text(1, table))))
        except FileNotFoundError:
            return False

    def counts(self, table: str, name: str) -> dict[int, int]:
        """Connections counted at each slot of a map; empty when there is no such map."""
        found: dict[int, int] = {}
        with contextlib.suppress(FileNotFoundError):
            for reply in self.ask(SUBSYSTEM << 8 | GET_ELEMENT, REQUEST | DUMP, text(1, table) + text(2, name)):
                for element in attributes(only(reply, 3)):
                    found.update(_counted(element))
        return found

    def count(self, table: str, name: str, slot: int) -> int:
        """Connections counted at one slot; 0 when there is none."""
        with contextlib.suppress(FileNotFoundError):
            replies = list(self.ask(SUBSYSTEM << 8 | GET_ELEMENT, REQUEST | ACK, slot_elements(table, name, slot)))
            counted = (pair for reply in replies for element in attributes(only(reply, 3)) for pair in _counted(element))
            return dict(counted).get(slot, 0)
        return 0

    def _replies(self) -> Iterator[Message]:
        """The answers, for as long as they are asked for; TimeoutError when none comes."""
        while True:
            yield from messages(self._socket.recv(RECEIVE_BYTES))


def _counted(element: tuple[int, bytes]) -> Iterator[tuple[int, int]]:
    """(slot, packets) of an element that counts."""
    key = only(only(element[1], 1), 1)
    packets = only(only(only(element[1], 7), 2), 2)
    if len(key) == 4 and len(packets) == 8:
        yield struct.unpack("=I", key)[0], struct.unpack(">Q", packets)[0]
