"""Hears of nftables changes that others make to our table, over the kernel's own notifications."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Collection

from knarr.netlink.messages import messages, only
from services.proxy.datapath.nftables.netlink import GENERIC_BYTES, NETLINK_NETFILTER, SUBSYSTEM

NETLINK_ADD_MEMBERSHIP = 1
SOL_NETLINK = 270
GROUP_NFTABLES = 7
# DELTABLE, DELCHAIN, DELRULE, DELSETELEM, DELSET: what takes something away.
DELETIONS = frozenset({2, 5, 8, 11, 14})
NEW_TABLE = 0
TABLE_NAME = 1
BUFFER_BYTES = 4 << 20


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
            for news in messages(data):
                if news.kind >> 8 == SUBSYSTEM:
                    about_us = only(news.body[GENERIC_BYTES:], TABLE_NAME) == self._table
                    found.append((news.kind & 0xFF, news.port, about_us))
