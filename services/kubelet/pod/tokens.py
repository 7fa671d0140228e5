"""The tokens that a node's pods see in their volumes: asked for once, kept in memory, renewed long before they expire."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from knarr.api.authentication.v1 import authentication_pb2 as authentication
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.machinery.errors import StatusError

log = logging.getLogger(__name__)

# A token is renewed after this share of its life, or so long, whichever comes first; the pods of a node not all at once.
SHARE, LONGEST = 0.8, timedelta(hours=24)
JITTER_SECONDS = 10.0
# When it is tried again to renew one that is good still.
RETRY = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a volume asks for. An empty ``audience`` is the API server's."""

    audience: str
    seconds: int

    @classmethod
    def of(cls, projection: core.ServiceAccountTokenProjection) -> Wanted:
        return cls(projection.audience, projection.expiration_seconds)


@dataclass(slots=True)
class Kept:
    """A token; times by the node's own clock."""

    text: str
    expires_at: datetime
    renew_at: datetime


class TokenKeeper:
    """Tokens of pods' accounts, each bound to its pod."""

    def __init__(self, client: Client, clock: Clock, source: random.Random | None = None) -> None:
        self._client, self._clock = client, clock
        self._source = source or random.Random()
        # By pod uid.
        self._kept: dict[str, dict[Wanted, Kept]] = {}

    async def read(self, pod: core.Pod) -> Mapping[Wanted, str]:
        """All that the pod's volumes want. Raises StatusError when one cannot be had, and none that is good is there."""
        wanted = set(wanted_tokens(pod))
        if not wanted:
            return {}
        kept = self._kept.setdefault(pod.metadata.uid, {})
        now = self._clock.now()
        due = [one for one in wanted if one not in kept or now >= kept[one].renew_at]
        await asyncio.gather(*(self._renew(pod, one, kept) for one in due))
        return {one: kept[one].text for one in wanted}

    async def for_driver(self, pod: core.Pod, audience: str, seconds: int) -> tuple[str, datetime]:
        """One that no volume of the pod shows, but its driver is told, and when it ends. Raises StatusError as ``read`` does."""
        wanted = Wanted(audience, seconds)
        kept = self._kept.setdefault(pod.metadata.uid, {})
        if wanted not in kept or self._clock.now() >= kept[wanted].renew_at:
            await self._renew(pod, wanted, kept)
        return kept[wanted].text, kept[wanted].expires_at

    def renew_at(self, uid: str) -> datetime | None:
        """When the first of a pod's tokens is to be renewed; None where it has none."""
        return min((one.renew_at for one in self._kept.get(uid, {}).values()), default=None)

    def forget(self, uid: str) -> None:
        """The pod is no more."""
        self._kept.pop(uid, None)

    async def _renew(self, pod: core.Pod, wanted: Wanted, kept: dict[Wanted, Kept]) -> None:
        asked_at = self._clock.now()
        try:
            text, life = await self._ask(pod, wanted)
        except StatusError as error:
            old = kept.get(wanted)
            if old is None or asked_at >= old.expires_at:
                raise
            log.warning("a token could not be renewed yet", extra={"pod": pod.metadata.name, "error": error.status.message})
            old.renew_at = asked_at + RETRY
            return
        wait = min(life * SHARE, LONGEST) - timedelta(seconds=self._source.uniform(0, JITTER_SECONDS))
        kept[wanted] = Kept(text, asked_at + life, asked_at + wait)

    async def _ask(self, pod: core.Pod, wanted: Wanted) -> tuple[str, timedelta]:
        """A new token, and how long it holds from now on."""
        request = authentication.TokenRequest()
        request.metadata.namespace = pod.metadata.namespace
        if wanted.audience:
            request.spec.audiences.append(wanted.audience)
        request.spec.expiration_seconds = wanted.seconds
        bound = request.spec.bound_object_ref
        bound.api_version, bound.kind, bound.name, bound.uid = "v1", "Pod", pod.metadata.name, pod.metadata.uid
        answer = await self._client.create(request, subresource="token", name=pod.spec.service_account_name)
        return answer.status.token, timedelta(seconds=answer.spec.expiration_seconds)


class UnreadTokens(TokenKeeper):
    """Of pods whose volumes nobody reads: none is asked for, and all are empty."""

    async def read(self, pod: core.Pod) -> Mapping[Wanted, str]:
        return dict.fromkeys(wanted_tokens(pod), "")


def wanted_tokens(pod: core.Pod) -> Iterator[Wanted]:
    """What the pod's volumes ask for."""
    for volume in pod.spec.volumes:
        for source in volume.volume_source.projected.sources:
            if source.HasField("service_account_token"):
                yield Wanted.of(source.service_account_token)
