"""How a client asks for SPDY/3.1, and which protocol is spoken on its streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from knarr.machinery.errors import bad_request
from services.apiserver.rest.request import Request
from services.apiserver.rest.response import Response, switching, text

SPDY = "SPDY/3.1"
VERSION = b"x-stream-protocol-version"


@dataclass(frozen=True, slots=True)
class Offer:
    """What the client speaks, and what of it is taken: empty for one that names nothing, None where nothing is served."""

    offered: Sequence[str]
    protocol: str | None

    @property
    def head(self) -> bytes:
        """The answer that upgrades the connection."""
        return switching(SPDY, [(b"X-Stream-Protocol-Version", self.protocol.encode())] if self.protocol else [])


def negotiate(request: Request, served: Sequence[str]) -> Offer:
    """The first protocol of the client's that is served. Raises BadRequest for a request that asks for no SPDY."""
    if request.upgrade_to != SPDY.lower():
        raise bad_request("Upgrade request required")
    values = [value.decode("latin-1") for name, value in request.scope["headers"] if name == VERSION]
    offered = [protocol.strip() for value in values for protocol in value.split(",") if protocol.strip()]
    if not offered:
        return Offer(offered, "")
    return Offer(offered, next((protocol for protocol in offered if protocol in served), None))


def no_protocol(offer: Offer, served: Sequence[str]) -> Response:
    """403 with what is served, as Kubernetes answers."""
    words = (
        f"unable to upgrade: unable to negotiate protocol: client supports [{' '.join(offer.offered)}], server accepts [{' '.join(served)}]"
    )
    answer = text(words, 403)
    answer.headers = [(b"x-accepted-stream-protocol-versions", protocol.encode()) for protocol in served]
    return answer
