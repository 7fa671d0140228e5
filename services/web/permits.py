"""Which calls of components a viewer may have made for him: what the API server says of him, as the components themselves ask it of their
callers. What is asked of them goes out by rights of the page's server."""

from __future__ import annotations

from knarr.client.clock import SYSTEM_CLOCK, Clock
from services.web.api import Api
from services.web.parts import Unanswered

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
# What the API server said of a right holds so long: traffic is asked for every other second, and each question would be two.
PERMITTED_SECONDS = 10.0


class Permits:
    """Of whom ``api`` is."""

    def __init__(self, api: Api, clock: Clock = SYSTEM_CLOCK) -> None:
        self._api, self._clock = api, clock
        # Methods that the viewer may call, and since when that is known.
        self._allowed: dict[str, float] = {}

    async def check(self, method: str) -> None:
        """Raises Unanswered where the viewer has no right to a call, by its full name in gRPC; Refused, aiohttp.ClientError, OSError where
        the API server does not say."""
        now = self._clock.elapsed()
        if now - self._allowed.get(method, -PERMITTED_SECONDS) < PERMITTED_SECONDS:
            return
        review = {"spec": {"nonResourceAttributes": {"path": method, "verb": "get"}}}
        status = (await self._api.json("POST", REVIEWS, review))["status"]
        if not status.get("allowed"):
            raise Unanswered(f"you may not ask that: there is no right to get {method}")
        self._allowed[method] = now
