"""The components of a cluster for the page: found by the data directory, asked only what the viewer may ask.

gRPC and its messages are loaded with the first question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from knarr.client.clock import SYSTEM_CLOCK
from knarr.service.errors import CommandError
from knarr.service.late import loaded
from services.standalone.files import Files
from services.web.api import Api
from services.web.parts import Health, Unanswered

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from grpc.aio import Channel

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
# Extenders of the scheduler may be asked.
ANSWER_SECONDS = 30.0
# What the API server said of a right holds so long: traffic is asked for every other second, and each question would be two.
PERMITTED_SECONDS = 10.0


class ClusterParts:
    """``Parts`` of the cluster that ``api`` speaks to, whose state lies in ``files``."""

    def __init__(self, files: Files, api: Api) -> None:
        self._files, self._api = files, api
        # Methods that the viewer may call, and since when that is known.
        self._allowed: dict[str, float] = {}
        self._channels: dict[tuple[str, str, bytes], Channel] = {}

    async def close(self) -> None:
        """Ends the connections to the components."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close()

    async def healths(self) -> list[Health]:
        status = await loaded("services.command.status")
        try:
            answers = await status.ask_all(self._files, self._files.read_state()["components"])
        except (OSError, CommandError) as error:
            raise Unanswered(f"the cluster's state cannot be read: {error}") from error
        return [Health(answer.component, answer.address, answer.answer) for answer in answers]

    async def ask(self, component: str, method: str, question: Message, answer: type[Any]) -> Any:
        await self._permitted(method)
        channels, aio = await loaded("knarr.client.channel"), await loaded("grpc.aio")
        try:
            address = str(self._files.read_state()["components"][component])
            token, authority = self._files.admin_token.read_text().strip(), (self._files.pki / "ca.crt").read_bytes()
        except (OSError, KeyError, CommandError) as error:
            raise Unanswered(f"{component} is not known here: {error}") from error
        # A cluster that was made anew has another authority and token.
        known = address, token, authority
        channel = self._channels.get(known)
        if channel is None:
            channel = self._channels[known] = channels.open_channel(address, authority, token)
        call = channel.unary_unary(method, request_serializer=type(question).SerializeToString, response_deserializer=answer.FromString)
        try:
            return await call(question, timeout=ANSWER_SECONDS, wait_for_ready=True)
        except aio.AioRpcError as error:
            raise Unanswered(f"{component} at {address}: {error.details()}") from error

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
