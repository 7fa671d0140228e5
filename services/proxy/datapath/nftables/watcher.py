"""Hears of nftables changes that others make to our table, over the kernel's own notifications."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Collection

NETLINK_NETFILTER = 12
NETLINK_ADD_MEMBERSHIP = 1
SOL_NETLINK = 270
GROUP_NFTABLES = 7
SUBSYSTEM_NFTABLES = 10
# DELTABLE, DELCHAIN, DELRULE, DELSETELEM, DELSET: what takes something away.
DELETIONS = frozenset({2, 5, 8, 11, 14})
NEW_TABLE = 0
TABLE_NAME = 1
BUFFER_BYTES = 4 << 20
HEADER = struct.Struct("=IHHII")


class TableWatcher:
    """Notifications about one table. ``fileno`` is readable when there is news."""

    def __init__(self, table: str) -> None:
        self._table = table.encode() + b"\0"
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_NETFILTER)
        try:
            self._socket.bind((0, 0))
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, GROUP_NFTABLES)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def learn_port(self) -> int:
        """The netlink port of whoever made the table last; 0 when nothing was heard."""
        port = 0
        for kind, sender, about_us in self._messages():
            if kind == NEW_TABLE and about_us:
                port = sender
        return port

    def taken_by_others(self, own_ports: Collection[int]) -> bool:
        """Reads all news; whether someone else took something from our table (or news were lost)."""
        return any((kind in DELETIONS and about_us and sender not in own_ports) or kind < 0 for kind, sender, about_us in self._messages())

    def _messages(self) -> list[tuple[int, int, bool]]:
        """(message type, sender's port, whether it is about our table); type -1 stands for news that were lost."""
        found: list[tuple[int, int, bool]] = []
        while True:
            try:
                data = self._socket.recv(1 << 17)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                found.append((-1, 0, True))
                continue
            offset = 0
            while offset + HEADER.size <= len(data):
                length, kind, _, _, sender = HEADER.unpack_from(data, offset)
                if kind >> 8 == SUBSYSTEM_NFTABLES:
                    found.append((kind & 0xFF, sender, self._is_about_us(data[offset + HEADER.size + 4 : offset + length])))
                offset += max((length + 3) & ~3, HEADER.size)

    def _is_about_us(self, attributes: bytes) -> bool:
        offset = 0
        while offset + 4 <= len(attributes):
            length, kind = struct.unpack_from("=HH", attributes, offset)
            if kind & 0x3FFF == TABLE_NAME:
                return attributes[offset + 4 : offset + length] == self._table
            offset += max((length + 3) & ~3, 4)
        return False
