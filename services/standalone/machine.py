"""Facts about this machine that the components are told."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

# A documentation address (RFC 5737): only routed towards, never sent to.
ANYWHERE = ("192.0.2.1", 9)


def node_address() -> str:
    """The address by which others reach this machine; the loopback where it has no route out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket picks a route and sends nothing.
            probe.connect(ANYWHERE)
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


# No user has this number or a higher one: to the kernel it says that none is meant.
NOBODY = 2**32 - 1


def sudo_caller() -> tuple[int, int] | None:
    """User and group of the person for whom root works; None when that is nobody, or root."""
    user, group = (os.environ.get(name, "") for name in ("SUDO_UID", "SUDO_GID"))
    if os.geteuid() != 0 or not (user.isdecimal() and group.isdecimal()) or not 0 < int(user) < NOBODY or int(group) >= NOBODY:
        return None
    return int(user), int(group)


@contextmanager
def as_caller() -> Iterator[None]:
    """Within it, root works as the person for whom it does: what lies in his home is his, and no link there leads root astray."""
    caller = sudo_caller()
    if caller is None:
        yield
        return
    user, group = caller
    before = os.getgroups()
    os.setgroups([group])
    os.setegid(group)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)
