"""What drivers are told that is nobody else's: Secrets that volumes name, tokens of the pods that mount them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.client.client import Client
from knarr.machinery.errors import Forbidden, NotFound
from knarr.machinery.forms import write_seconds
from knarr.machinery.times import to_time
from services.kubelet.csi.client import DriverError
from services.kubelet.csi.volume import SecretRef

TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"
DEFAULT_SECONDS = 3600

# A pod's token for an audience, good for so many seconds: itself, and when it ends.
TokenSource = Callable[[core.Pod, str, int], Awaitable[tuple[str, datetime]]]


class DriverSecrets:
    """Read whenever they are needed: a Secret may change, and is kept nowhere."""

    def __init__(self, client: Client, token: TokenSource) -> None:
        self._client, self._token = client, token

    async def read(self, wanted: SecretRef | None) -> dict[str, str]:
        """Raises DriverError for one that is not there, or that no driver can be told."""
        if wanted is None:
            return {}
        namespace, name = wanted
        try:
            found = await self._client.get(core.Secret, name, namespace)
        except (NotFound, Forbidden) as error:
            words = f'failed to find the secret {name} in the namespace {namespace} with error: secrets "{name}" not found'
            raise DriverError(words) from error
        try:
            return {key: value.decode() for key, value in found.data.items()}
        except UnicodeDecodeError as error:
            raise DriverError(f"the secret {name} in the namespace {namespace} has a value that is no text") from error

    async def tokens(self, pod: core.Pod, rules: storage.CSIDriver | None) -> dict[str, str]:
        """What a driver asks for of the pod's account, as one attribute; nothing where it asks for none."""
        if rules is None or not rules.spec.token_requests:
            return {}
        told = {}
        for wanted in rules.spec.token_requests:
            seconds = wanted.expiration_seconds if wanted.HasField("expiration_seconds") else DEFAULT_SECONDS
            text, ends = await self._token(pod, wanted.audience, seconds)
            told[wanted.audience] = {"token": text, "expirationTimestamp": write_seconds(to_time(ends).seconds)}
        return {TOKENS: json.dumps(told)}
