"""Channels to the kubelets, each to the one node that it is for.

The address is what the Node object says, and whoever runs a node may say anything there. So the certificate must be of the node's own
name, and what is shown there opens nothing elsewhere: a certificate does not give its key away, and a token, for kubelets that know callers
by those, is good for that kubelet alone.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict

import grpc.aio

from knarr.client.channel import open_channel
from knarr.service.authentication import bound_token
from knarr.service.keypair import KeptPair, KeyPair
from knarr.service.node_calls import naming
from knarr.service.tls import client_context
from services.apiserver.node_streams import KubeletCredentials

# So many are kept open; of more nodes those that were not asked for the longest time are connected to anew.
KEPT = 1024
GRACE_SECONDS = 600.0


class KubeletChannels:
    """``ca`` is the cluster's certificate, ``token`` the API server's own, which is shown to nobody; empty: it has none."""

    def __init__(self, ca: bytes, token: str = "", pairs: KeptPair | None = None) -> None:
        """``pairs`` is the certificate that is shown to kubelets that ask for one, as it is when a connection is made."""
        self._ca = ca
        self._token = token
        self._pairs, self._shown = pairs, pairs.latest() if pairs is not None else None
        self._channels: OrderedDict[str, tuple[str, grpc.aio.Channel]] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()
        # That of HTTPS, with the pair that it was made for.
        self._context: tuple[KeyPair | None, ssl.SSLContext] | None = None

    def __call__(self, node: str, address: str) -> grpc.aio.Channel:
        """An open channel to the kubelet of ``node`` at ``host:port``."""
        if self._pairs is not None and (latest := self._pairs.latest()) is not self._shown:
            self._shown = latest
            for _, channel in self._channels.values():
                self._let_go(channel)
            self._channels.clear()
        known = self._channels.pop(node, None)
        if known is not None and known[0] != address:
            self._let_go(known[1])
            known = None
        if known is None:
            token = bound_token(self._token, node) if self._token else ""
            channel = open_channel(address, self._ca, token, pair=self._shown, server_name=node, metadata=naming(node))
            known = address, channel
        self._channels[node] = known
        if len(self._channels) > KEPT:
            self._let_go(self._channels.popitem(last=False)[1][1])
        return known[1]

    def credentials(self, node: str) -> KubeletCredentials:
        """For one request to the kubelet of ``node`` by HTTPS: who it must be, and what this server shows it, and it alone."""
        pair = self._pairs.latest() if self._pairs is not None else None
        if self._context is None or self._context[0] is not pair:
            self._context = pair, client_context(self._ca, pair)
        token = bound_token(self._token, node) if self._token else ""
        headers = ((b"authorization", f"Bearer {token}".encode()),) if token else ()
        return KubeletCredentials(self._context[1], node, headers)

    def _let_go(self, channel: grpc.aio.Channel) -> None:
        """Closes it once its streams have ended, or had time to."""
        closing = asyncio.ensure_future(channel.close(GRACE_SECONDS))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        channels, self._channels = [channel for _, channel in self._channels.values()], OrderedDict()
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        for channel in channels:
            await channel.close(0)
