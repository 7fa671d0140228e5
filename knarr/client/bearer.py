"""A channel on which every call shows a bearer token, and what else is to be said beside each.

gRPC's own way, credentials of a call, starts a thread for each of them: that takes more of the processor than the rest of the call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

AUTHORIZATION = "authorization"
Call = Callable[..., Any]
Metadata = tuple[tuple[str, str], ...]


class BearerChannel(grpc.aio.Channel):
    """All of a channel, which it owns; the token, if any, is among the metadata of its calls, beside ``metadata``. The channel must be
    one with TLS."""

    def __init__(self, channel: grpc.aio.Channel, token: str, metadata: Metadata = ()) -> None:
        self._channel = channel
        self._shown = (*metadata, *(((AUTHORIZATION, f"Bearer {token}"),) if token else ()))

    async def __aenter__(self) -> BearerChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

    def unary_unary(self, *arguments: Any, **options: Any) -> Call:
        return self._showing(self._channel.unary_unary(*arguments, **options))

    def unary_stream(self, *arguments: Any, **options: Any) -> Call:
        return self._showing(self._channel.unary_stream(*arguments, **options))

    def stream_unary(self, *arguments: Any, **options: Any) -> Call:
        return self._showing(self._channel.stream_unary(*arguments, **options))

    def stream_stream(self, *arguments: Any, **options: Any) -> Call:
        return self._showing(self._channel.stream_stream(*arguments, **options))

    def _showing(self, method: Call) -> Call:
        def call(*arguments: Any, metadata: Any = None, **options: Any) -> Any:
            return method(*arguments, metadata=(*(metadata or ()), *self._shown), **options)

        return call
