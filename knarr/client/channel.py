"""Opens gRPC channels to the cluster's components: TLS against the cluster's CA, a bearer token."""

from __future__ import annotations

import grpc
import grpc.aio

OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


def open_channel(endpoint: str, ca_certificate: bytes | None = None, token: str = "") -> grpc.aio.Channel:
    """A channel to ``host:port``; the caller closes it.

    Without a CA (PEM) the channel is plain text and the token is not sent; for tests only.
    """
    if ca_certificate is None:
        return grpc.aio.insecure_channel(endpoint, options=OPTIONS)
    tls = grpc.ssl_channel_credentials(ca_certificate)
    credentials = grpc.composite_channel_credentials(tls, grpc.access_token_call_credentials(token)) if token else tls
    return grpc.aio.secure_channel(endpoint, credentials, options=OPTIONS)
