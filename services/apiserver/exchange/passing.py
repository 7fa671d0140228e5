"""What is passed on of a request and of its answer, and what is not. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from services.apiserver.exchange.reply import Headers

# They speak of one connection, not of the request.
HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
# What says who the caller is is for this server alone, and what says for whom somebody acts is not for a caller to say.
CREDENTIALS = frozenset((b"authorization", b"x-remote-user", b"x-remote-group", b"x-remote-uid"))
CREDENTIAL_PREFIXES = (b"impersonate-", b"x-remote-extra-")
BEARER_PROTOCOL = b"base64url.bearer.authorization.k8s.io."
# Answered by this server, or written anew.
OWN = frozenset((b"expect", b"content-length", b"x-forwarded-for", b"x-forwarded-uri"))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request came from and goes to: the path before what is passed on, that itself, and the host it is asked of there.

    ``whole`` is for one whose path is the same here and there: nothing in its answer is rewritten. ``host`` is told to the other side then,
    and ``caller`` says to it who asks.
    """

    prefix: str
    path: str
    host: str
    whole: bool = False
    caller: tuple[tuple[bytes, bytes], ...] = ()


def named_in_connection(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Further headers that speak of the connection, as it says itself."""
    return frozenset(token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b","))


def request_headers(headers: Iterable[tuple[bytes, bytes]], client: str, place: Place, *, upgrade: bool) -> Headers:
    """Those of the request that is passed on; with ``upgrade`` those that ask for it, too."""
    found = list(headers)
    dropped = HOP_BY_HOP | CREDENTIALS | OWN | named_in_connection(found)
    result: Headers = []
    if place.whole:
        dropped |= {b"host"}
        result.append((b"host", place.host.encode("latin-1")))
    forwarded = [value for name, value in found if name == b"x-forwarded-for"]
    for name, value in found:
        # Some servers take an underscore for a hyphen.
        plain = name.replace(b"_", b"-")
        if name in dropped or plain in CREDENTIALS or plain.startswith(CREDENTIAL_PREFIXES):
            continue
        if name == b"sec-websocket-protocol":
            value = b", ".join(protocol for protocol in map(bytes.strip, value.split(b",")) if not protocol.startswith(BEARER_PROTOCOL))
        result.append((name, value))
    if upgrade:
        result += [(b"connection", b"Upgrade"), *((name, value) for name, value in found if name == b"upgrade")]
    else:
        result.append((b"connection", b"close"))
    result.append((b"x-forwarded-for", b", ".join([*forwarded, client.encode("latin-1")])))
    if not place.whole:
        result.append((b"x-forwarded-uri", f"{place.prefix}{place.path}".encode("latin-1")))
    return [*result, *place.caller]


def response_headers(headers: Headers, place: Place, asked_host: str) -> Headers:
    """Those of the answer that is passed on."""
    dropped = HOP_BY_HOP | named_in_connection(headers)
    result: Headers = []
    for name, value in headers:
        if name in dropped or name.startswith(b"access-control-"):
            continue
        if name == b"location" and not place.whole:
            value = rewritten(value.decode("latin-1"), place, asked_host).encode("latin-1")
        result.append((name, value))
    return result


def rewritten(url: str, place: Place, asked_host: str) -> str:
    """A link of the other side's as it is to be followed through this server. One to another host, or a relative one, stays as it is."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if parts.netloc and parts.netloc not in (place.host, asked_host):
        return url
    if not parts.path.startswith("/"):
        return url
    path = parts.path
    if not path.startswith(place.prefix):
        joined = posixpath.normpath(f"{place.prefix}/{path}")
        path = f"{joined}/" if path.endswith("/") and not joined.endswith("/") else joined
    return urlunsplit(("", "", path, parts.query, parts.fragment))
