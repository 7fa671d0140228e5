"""The ServiceAccounts of this node's pods, for programs that know logins to registries by them."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from services.kubelet.pod.tokens import TokenKeeper

# What the API server gives who names no time.
TOKEN_SECONDS = 3600


class PodAccounts:
    """Asked for each time an image is pulled: a node may not follow them, and pulls are few."""

    def __init__(self, client: Client, tokens: TokenKeeper) -> None:
        self._client, self._tokens = client, tokens

    async def account(self, pod: core.Pod) -> core.ServiceAccount:
        """Raises StatusError."""
        return await self._client.get(core.ServiceAccount, pod.spec.service_account_name, pod.metadata.namespace)

    async def token(self, pod: core.Pod, audience: str) -> str:
        """One that is bound to the pod, kept until it is to be renewed. Raises StatusError."""
        text, _ = await self._tokens.for_driver(pod, audience, TOKEN_SECONDS)
        return text
