"""How the cluster's components are, and what they answer about their decisions, by gRPC.

The port of that is ``Parts``: the page shows it where there is somebody who reaches the components, which are not behind the API server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from google.protobuf.message import Message

# How long one waits for an answer: extenders of the scheduler may be asked for it.
ANSWER_SECONDS, HEALTH_SECONDS = 30.0, 3.0


class Unanswered(Exception):
    """A component that is not there, does not answer or may not be asked, in words."""


@dataclass(frozen=True, slots=True)
class Health:
    """``answer`` is gRPC's word, `SERVING`, or why there is none."""

    component: str
    address: str
    answer: str


class Parts(Protocol):
    """Who reaches the components."""

    async def healths(self) -> list[Health]:
        """Each component that is known, as it answers now."""
        ...

    async def ask(self, component: str, method: str, question: Message, answer: type[Any]) -> Any:
        """What a component answers to a call, by the method's full name in gRPC. Raises Unanswered."""
        ...

    async def ask_each(self, component: str, method: str, question: Message, answer: type[Any]) -> dict[str, Any]:
        """What each instance of a component answers that does, by its address, as those of several nodes. Raises Unanswered where none
        does."""
        ...


class NoParts:
    """Of a cluster of which only the API server can be reached."""

    async def healths(self) -> list[Health]:
        return []

    async def ask(self, component: str, method: str, question: Message, answer: type[Any]) -> Any:
        raise Unanswered(f"{component} cannot be reached from here: the page was not started beside the cluster's data directory")

    async def ask_each(self, component: str, method: str, question: Message, answer: type[Any]) -> dict[str, Any]:
        return {component: await self.ask(component, method, question, answer)}
