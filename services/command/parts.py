"""The components of a cluster for the page: found by the data directory, asked only what the viewer may ask.

Messages are loaded with the first question, gRPC's library never is.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from knarr.client.clock import SYSTEM_CLOCK
from knarr.service.errors import CommandError
from services.command.unary import Failed, Way, trusting, unary
from services.standalone.files import Files
from services.web.api import Api
from services.web.parts import Health, Unanswered

if TYPE_CHECKING:
    from google.protobuf.message import Message

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
# Extenders of the scheduler may be asked.
ANSWER_SECONDS, HEALTH_SECONDS = 30.0, 3.0
CHECK = "/grpc.health.v1.Health/Check"
# The states of that, by their numbers: all that its answer has.
STATES = {b"": "UNKNOWN", b"\x08\x01": "SERVING", b"\x08\x02": "NOT_SERVING", b"\x08\x03": "SERVICE_UNKNOWN"}
# What the API server said of a right holds so long: traffic is asked for every other second, and each question would be two.
PERMITTED_SECONDS = 10.0


class ClusterParts:
    """``Parts`` of the cluster that ``api`` speaks to, whose state lies in ``files``."""

    def __init__(self, files: Files, api: Api) -> None:
        self._files, self._api = files, api
        # Methods that the viewer may call, and since when that is known.
        self._allowed: dict[str, float] = {}

    async def healths(self) -> list[Health]:
        try:
            components = {str(name): str(address) for name, address in self._files.read_state()["components"].items()}
            trust = trusting((self._files.pki / "ca.crt").read_bytes())
        except (OSError, CommandError) as error:
            raise Unanswered(f"the cluster's state cannot be read: {error}") from error
        return list(await asyncio.gather(*(_health(name, Way(address, trust)) for name, address in components.items())))

    async def ask(self, component: str, method: str, question: Message, answer: type[Any]) -> Any:
        await self._permitted(method)
        try:
            address = str(self._files.read_state()["components"][component])
            token, authority = self._files.admin_token.read_text().strip(), (self._files.pki / "ca.crt").read_bytes()
        except (OSError, KeyError, CommandError) as error:
            raise Unanswered(f"{component} is not known here: {error}") from error
        try:
            return answer.FromString(
                await unary(Way(address, trusting(authority), token), method, question.SerializeToString(), ANSWER_SECONDS)
            )
        except Failed as error:
            raise Unanswered(f"{component} at {address}: {error}") from error

    async def _permitted(self, method: str) -> None:
        """Raises Unanswered where the viewer has no right to make the call, which is what the components themselves ask for."""
        now = SYSTEM_CLOCK.elapsed()
        if now - self._allowed.get(method, -PERMITTED_SECONDS) < PERMITTED_SECONDS:
            return
        review = {"spec": {"nonResourceAttributes": {"path": method, "verb": "get"}}}
        status = (await self._api.json("POST", REVIEWS, review))["status"]
        if not status.get("allowed"):
            raise Unanswered(f"you may not ask that: there is no right to get {method}")
        self._allowed[method] = now


async def _health(component: str, way: Way) -> Health:
    try:
        said = await unary(way, CHECK, b"", HEALTH_SECONDS)
    except Failed as error:
        return Health(component, way.address, f"no answer: {error}")
    return Health(component, way.address, STATES.get(said, f"answers {said!r}"))
