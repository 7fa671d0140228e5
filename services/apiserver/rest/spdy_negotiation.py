"""The answers to a client that asks for SPDY/3.1."""

from __future__ import annotations

from collections.abc import Sequence

from knarr.service.streams.offer import ACCEPTED, SPDY, VERSION, Offer, negotiated, unspoken
from services.apiserver.rest.request import Request
from services.apiserver.rest.response import Response, switching, text

_VERSION = VERSION.lower().encode()


def negotiate(request: Request, served: Sequence[str]) -> Offer:
    """Raises BadRequest for a request that asks for no SPDY."""
    versions = [value.decode("latin-1") for name, value in request.scope["headers"] if name == _VERSION]
    return negotiated(request.upgrade_to, versions, served)


def head(offer: Offer) -> bytes:
    """The answer that upgrades the connection."""
    return switching(SPDY, [(name.encode(), value.encode()) for name, value in offer.headers])


def no_protocol(offer: Offer, served: Sequence[str]) -> Response:
    """403 with what is served, as Kubernetes answers."""
    answer = text(unspoken(offer, served), 403)
    answer.headers = [(ACCEPTED.lower().encode(), protocol.encode()) for protocol in served]
    return answer
