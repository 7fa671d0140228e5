"""Every gRPC connection within the cluster: what its two sides agree on.

A client pings a connection on which calls run but nothing is said, so that a peer that vanished is found out. A server ends connections
that are pinged more often than it permits, so both numbers stand here, and every server takes ``server_options`` and every channel
comes from ``open_channel`` or ``open_plain_channel``. Channels lead to their target alone: a proxy that the environment names is for
what lies outside the cluster.
"""

from __future__ import annotations

from typing import Protocol

import grpc
import grpc.aio

from knarr.client.bearer import BearerChannel, Metadata

Options = list[tuple[str, int | str]]

# How often a client asks whether a silent peer is there, and how long it waits for the answer.
PING_SECONDS = 30.0
PING_ANSWER_SECONDS = 10.0
# How often our servers let themselves be asked: with room for a ping that was held up on its way and is close before the next.
PERMITTED_PING_SECONDS = PING_SECONDS / 3
# The same for servers that are not ours, which permit what gRPC does unless told otherwise: one ping in five minutes.
FOREIGN_PING_SECONDS = 330.0

# How long an attempt to connect may take, handshake included: on a busy machine that is longer than the pause before the next one.
CONNECT_SECONDS = 5.0
UNLIMITED = -1
_RECONNECT: Options = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    # gRPC calls it so; it is the time of one attempt.
    ("grpc.min_reconnect_backoff_ms", int(CONNECT_SECONDS * 1000)),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


def client_options(ping_seconds: float = PING_SECONDS, answer_seconds: float = PING_ANSWER_SECONDS) -> Options:
    """What every channel has: pings as often as told, for as long as a call runs, and no proxy."""
    return [
        ("grpc.keepalive_time_ms", int(ping_seconds * 1000)),
        ("grpc.keepalive_timeout_ms", int(answer_seconds * 1000)),
        # As many as are needed: a stream may be silent for hours.
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.enable_http_proxy", 0),
    ]


def server_options(permitted_seconds: float = PERMITTED_PING_SECONDS) -> Options:
    """What every server has: it permits pings that come no faster than so."""
    return [("grpc.http2.min_ping_interval_without_data_ms", int(permitted_seconds * 1000))]


class Pair(Protocol):
    """A certificate and its private key, both PEM."""

    @property
    def certificate(self) -> bytes: ...

    @property
    def key(self) -> bytes: ...


def open_channel(
    endpoint: str,
    ca_certificate: bytes | None = None,
    token: str = "",
    *,
    pair: Pair | None = None,
    ping_seconds: float = PING_SECONDS,
    server_name: str = "",
    metadata: Metadata = (),
) -> grpc.aio.Channel:
    """A channel to ``host:port``; the caller closes it. ``pair``: what is shown of oneself. ``ping_seconds``: longer for a server that is
    not ours. ``server_name``: whom the server's certificate must name, if that is not the endpoint's host. ``metadata`` are said beside
    each call.

    Without a CA (PEM) the channel is plain text and the token is not sent; for tests only.
    """
    options: Options = [
        ("grpc.max_receive_message_length", UNLIMITED),
        ("grpc.max_send_message_length", UNLIMITED),
        *_RECONNECT,
        *client_options(ping_seconds),
    ]
    if ca_certificate is None:
        return open_plain_channel(endpoint, options)
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    tls = grpc.ssl_channel_credentials(ca_certificate, *((pair.key, pair.certificate) if pair is not None else ()))
    channel = open_secure_channel(endpoint, tls, options)
    return BearerChannel(channel, token, metadata) if token or metadata else channel


def open_plain_channel(target: str, options: Options | None = None) -> grpc.aio.Channel:
    """A channel without TLS to whatever serves at ``target``; ``options`` beside those that every channel has, which they may replace."""
    return grpc.aio.insecure_channel(target, options=_complete(options))


def open_secure_channel(target: str, credentials: grpc.ChannelCredentials, options: Options | None = None) -> grpc.aio.Channel:
    """A channel with credentials of the caller's own; ``options`` as for ``open_plain_channel``."""
    return grpc.aio.secure_channel(target, credentials, options=_complete(options))


def _complete(options: Options | None) -> Options:
    """The least eager pings unless told: one never knows whose server answers."""
    return list({**dict(client_options(FOREIGN_PING_SECONDS)), **dict(options or [])}.items())
