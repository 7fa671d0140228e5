"""The largest body of requests: of those that say their length by a rule, of the others by a few lines of Lua that count what comes. Where
HAProxy has no Lua, others are refused. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import resources

SCRIPT, ANSWER = "limit.lua", "too-large.http"
# Instead of what a request is answered that is ended in the middle.
TOO_LARGE = "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@cache
def script() -> str:
    return resources.files(__package__).joinpath(SCRIPT).read_text(encoding="utf-8")


def files() -> dict[str, str]:
    """What the configuration refers to."""
    return {SCRIPT: script(), ANSWER: TOO_LARGE}


def lines_of(most: int, *, lua: bool) -> Iterator[str]:
    """What stands in the backend of an action. ``most``: bytes."""
    if not lua:
        yield "http-request return status 411 if { req.hdr(transfer-encoding) -m found }"
        # In HTTP/2 a request may have a body, and nothing says so before.
        yield "http-request return status 411 if { req.ver -m beg 2 } !{ req.hdr(content-length) -m found } !{ method GET HEAD OPTIONS }"
    yield f"http-request deny deny_status 413 if {{ req.body_size gt {most} }}"
    if lua:
        yield f"filter lua.limit {most}"
        yield f"http-error status 400 errorfile {ANSWER}"
