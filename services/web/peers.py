"""Whose process is at the other end of a connection over loopback, as Linux tells it: a machine's other users reach its ports, too, see
in its list of processes which link a browser is given, and may listen at a port to which a browser brings the cookies of all.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

Address = tuple[str, int]
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
ROOT = 0
# Whose end is closed belongs to nobody any more; the kernel writes root's number there.
NOBODY = -1
ESTABLISHED = b"01"
LOOKS = 3


def user_of(peer: Address, here: Address) -> int | None:
    """The uid of the process that holds ``peer``'s end of an IPv4 connection to ``here``, NOBODY where that is closed; None where it cannot
    be told: not on Linux, and not of what others than processes of this machine bring here."""
    # A table that changes while it is read may be told without one of its lines.
    return next((user for _ in range(LOOKS) if (user := _look(peer, here)) is not None), None)


def _look(peer: Address, here: Address) -> int | None:
    # A socket of IPv6 connects to addresses of IPv4, too, and is then in the other table.
    for table, prefix in zip(TABLES, (b"", b"%016X" % 0 + _word(b"\0\0\xff\xff")), strict=True):
        ends = [prefix + _word(socket.inet_aton(host)) + b":%04X" % port for host, port in (peer, here)]
        with suppress(OSError):
            for line in table.read_bytes().splitlines():
                # Number, its own end, the other, state, three pairs of queues and timers, uid.
                fields = line.split(maxsplit=8)
                if fields[1:3] == ends:
                    return int(fields[7]) if fields[3] == ESTABLISHED else NOBODY
    return None


def _word(of: bytes) -> bytes:
    """Four bytes of an address as the tables have them: a number in the order of the machine."""
    return b"%08X" % int.from_bytes(of, sys.byteorder)


def own_users(environment: Mapping[str, str], user: int) -> frozenset[int] | None:
    """Who may come to what a ``user`` serves: he himself, root, who may do all, and whoever became root by sudo. None where root serves and
    nobody knows for whom: anybody."""
    if user != ROOT:
        return frozenset({ROOT, user})
    behind = environment.get("SUDO_UID", "")
    return frozenset({ROOT, int(behind)}) if behind.isdecimal() else None


def of_this_process() -> frozenset[int] | None:
    return own_users(os.environ, os.geteuid())
