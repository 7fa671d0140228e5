"""Copies of requests, which HAProxy makes by a few lines of Lua: they go through a socket of its own to the backend of whom they are for,
so that its pods get them in turns like any others. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources

from services.gateway.routing.actions import Action, Mirror

SCRIPT = "mirror.lua"
# The process's own socket for copies, and the largest body that is copied, as its environment has them.
SOCKET, MOST = "KNARR_MIRROR", "KNARR_MIRROR_BYTES"
BUFFER_BYTES, REWRITE_BYTES = 65_536, 4096
# A buffer holds the head of a request too.
MOST_BYTES = 48_000
# How long the rest of a body is waited for, so that it can be copied.
BODY_SECONDS = 1


@cache
def script() -> str:
    return resources.files(__package__).joinpath(SCRIPT).read_text(encoding="utf-8")


def globals_of() -> Iterator[str]:
    """What the process needs for them."""
    yield f"  lua-load-per-thread {SCRIPT}"
    yield f"  tune.bufsize {BUFFER_BYTES}"


def frontend() -> Iterator[str]:
    """Where copies come in. Nobody else reaches it."""
    yield from (
        "frontend mirror",
        f'  bind "unix@${{{SOCKET}}}" mode 600',
        "  http-request set-method %[req.hdr(x-knarr-method)]",
        "  http-request set-var(txn.b) req.hdr(x-knarr-mirror)",
        "  http-request del-header x-knarr-method",
        "  http-request del-header x-knarr-mirror",
        "  use_backend %[var(txn.b)]",
    )


def lines_of(mirrors: tuple[Mirror, ...], name_of: Callable[[Action], str]) -> Iterator[str]:
    """What stands in the backend of an action. ``name_of`` names that of another."""
    if mirrors:
        yield f"http-request wait-for-body time {BODY_SECONDS}s"
    for each in mirrors:
        part = "" if each.part >= each.whole else f" if {{ rand({each.whole}) lt {each.part} }}"
        yield f"http-request lua.mirror {name_of(each.action)}{part}"
