"""A request by HTTP and its answer, as a component sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from knarr.service.client_certificates import CertifiedUser
from knarr.service.pipe import Pipe

TEXT = "text/plain; charset=utf-8"
MOST_PARAMETERS = 1000


@dataclass(frozen=True, slots=True)
class WebRequest:
    """``path`` is decoded, ``query`` as it was sent, header names are in small letters, and a header that came more than once has its
    values with commas between them; ``certified`` is whom the connection's verified certificate names; ``upgrade`` is what the connection
    is asked to become, in small letters."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    certified: CertifiedUser | None = None
    upgrade: str = ""

    def parameters(self) -> dict[str, list[str]]:
        """Those of the query."""
        return parse_qs(self.query, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)


@dataclass(slots=True)
class WebAnswer:
    """``body`` is whole, or comes in pieces until its end; one that raises breaks the connection off. ``upgrade`` makes it the answer to
    a request that asked for one: it takes the connection, until it is done; the event is set when the server stops."""

    body: bytes | AsyncIterator[bytes]
    status: int = 200
    content_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()
    upgrade: Callable[[Pipe, asyncio.Event], Awaitable[None]] | None = None


# What a component serves by HTTP beside its gRPC: answers each request; what it raises is an error of its own.
WebFace = Callable[[WebRequest], Awaitable[WebAnswer]]
