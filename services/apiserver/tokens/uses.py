"""When the tokens that lie in Secrets were used last: a label of the Secret, a day at a time, which lets unused ones be found."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.machinery.errors import AlreadyExists, Conflict, NotFound, StatusError
from knarr.objects.account_tokens import DAY, INVALID_SINCE, LAST_USED, SINCE, TRACKING_NAME, TRACKING_NAMESPACE, TYPE, day
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key, key_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """The Secret that a token lies in, as it was last seen."""

    key: Key
    uid: str
    last_used: str
    invalid_since: str

    @classmethod
    def of(cls, secret: core.Secret) -> Kept | None:
        """None for a Secret that is there for something else."""
        if secret.type != TYPE:
            return None
        labels = secret.metadata.labels
        return cls(key_of(secret), secret.metadata.uid, labels.get(LAST_USED, ""), labels.get(INVALID_SINCE, ""))


class Uses:
    """Notes uses at once and writes them one by one, once a day for each Secret; as many wait as there are such Secrets."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._waiting: dict[Key, str] = {}
        self._noted = asyncio.Event()

    def note(self, kept: Kept) -> None:
        """That a token was shown, taken or not."""
        now = self._clock().astimezone(UTC)
        # Another server's clock may be a little further.
        if kept.last_used not in (now.strftime(DAY), (now + timedelta(days=1)).strftime(DAY)):
            self._waiting[kept.key] = kept.uid
            self._noted.set()

    async def run(self, client: Client) -> None:
        """Until cancelled."""
        while True:
            await self._noted.wait()
            self._noted.clear()
            while self._waiting:
                await self._write(client, *self._waiting.popitem())

    async def say_since(self, client: Client) -> None:
        """Says from when on uses are noted, where nobody has said it. Raises StatusError."""
        today = self._clock().astimezone(UTC).strftime(DAY)
        try:
            found = await client.get(core.ConfigMap, TRACKING_NAME, TRACKING_NAMESPACE)
        except NotFound:
            made = core.ConfigMap(data={SINCE: today})
            made.metadata.name, made.metadata.namespace = TRACKING_NAME, TRACKING_NAMESPACE
            with suppress(AlreadyExists):  # another API server was faster
                await client.create(made)
            return
        if day(found.data.get(SINCE, "")) is None:
            changed = copy_of(found)
            changed.data[SINCE] = today
            with suppress(Conflict, NotFound):
                await client.update(changed)

    async def _write(self, client: Client, key: Key, uid: str) -> None:
        wanted = {"metadata": {"uid": uid, "labels": {LAST_USED: self._clock().astimezone(UTC).strftime(DAY)}}}
        try:
            with suppress(NotFound, Conflict):
                await client.patch(core.Secret, key.name, key.namespace, patch=wanted)
        except StatusError as error:
            # The next use notes it again.
            log.warning("the use of a token could not be noted", extra={"secret": str(key), "error": error.status.message})
