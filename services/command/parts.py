"""The components of a cluster for the page: found by the data directory, asked only what the viewer may ask.

Messages are loaded with the first question, gRPC's library never is.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from knarr.service.errors import CommandError
from services.command.unary import UNIX, Failed, Way, trusting, unary
from services.standalone.files import Files
from services.web.api import Api
from services.web.parts import ANSWER_SECONDS, HEALTH_SECONDS, Health, Unanswered
from services.web.permits import Permits

if TYPE_CHECKING:
    from google.protobuf.message import Message

CHECK = "/grpc.health.v1.Health/Check"
# The states of that, by their numbers: all that its answer has.
STATES = {b"": "UNKNOWN", b"\x08\x01": "SERVING", b"\x08\x02": "NOT_SERVING", b"\x08\x03": "SERVICE_UNKNOWN"}


class ClusterParts:
    """``Parts`` of the cluster that ``api`` speaks to, whose state lies in ``files``."""

    def __init__(self, files: Files, api: Api) -> None:
        self._files, self._permits = files, Permits(api)

    async def healths(self) -> list[Health]:
        try:
            components = {str(name): str(address) for name, address in self._files.read_state()["components"].items()}
            trust = trusting((self._files.pki / "ca.crt").read_bytes())
        except (OSError, CommandError) as error:
            raise Unanswered(f"the cluster's state cannot be read: {error}") from error
        return list(await asyncio.gather(*(_health(name, Way(address, trust)) for name, address in components.items())))

    async def ask(self, component: str, method: str, question: Message, answer: type[Any]) -> Any:
        await self._permits.check(method)
        return await self._asked(component, self._way(component), method, question, answer)

    async def ask_each(self, component: str, method: str, question: Message, answer: type[Any]) -> dict[str, Any]:
        """There is one of each, but for proxies: nodes that share the machine have their own."""
        await self._permits.check(method)
        own = self._way(component)
        doors = sorted(self._files.fellows.glob("*/proxy.sock")) if component == "proxy" else []
        ways = [own, *(replace(own, address=f"{UNIX}:{door}") for door in doors)]
        asked = (self._asked(component, way, method, question, answer) for way in ways)
        found = await asyncio.gather(*asked, return_exceptions=True)
        answers: dict[str, Any] = {}
        for way, one in zip(ways, found, strict=True):
            if not isinstance(one, BaseException):
                answers[way.address] = one
            # A node that was switched off leaves its socket.
            elif way is own or not isinstance(one, Unanswered):
                raise one
        return answers

    def _way(self, component: str) -> Way:
        try:
            address = str(self._files.read_state()["components"][component])
            token, authority = self._files.admin_token.read_text().strip(), (self._files.pki / "ca.crt").read_bytes()
        except (OSError, KeyError, CommandError) as error:
            raise Unanswered(f"{component} is not known here: {error}") from error
        return Way(address, trusting(authority), token)

    async def _asked(self, component: str, way: Way, method: str, question: Message, answer: type[Any]) -> Any:
        try:
            return answer.FromString(await unary(way, method, question.SerializeToString(), ANSWER_SECONDS))
        except Failed as error:
            raise Unanswered(f"{component} at {way.address}: {error}") from error


async def _health(component: str, way: Way) -> Health:
    try:
        said = await unary(way, CHECK, b"", HEALTH_SECONDS)
    except Failed as error:
        return Health(component, way.address, f"no answer: {error}")
    return Health(component, way.address, STATES.get(said, f"answers {said!r}"))
