"""What must be so before a pod is bound to the node that was chosen for it."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from google.protobuf.message import Message

from knarr.client.client import Client


class Spoiled(Exception):
    """It cannot become so any more: the pod is to be placed anew. The words of the event."""


class Preparation(abc.ABC):
    """``writes`` are objects as they are to be written, in their order; they count as written from the decision on.

    ``seconds``: how long is waited for it at most.
    """

    writes: Sequence[Message]
    seconds: float
    # The words of the event where it takes longer.
    timed_out: str = "timed out waiting for the condition"

    async def write(self, client: Client) -> Sequence[Message]:
        """Writes them, and answers them as they are then. Raises StatusError, and Spoiled."""
        return [await client.update(obj) for obj in self.writes]

    async def undo(self, client: Client) -> None:  # noqa: B027
        """Takes back what was written and must not stay, after it was spoiled or took too long. Raises StatusError."""

    @abc.abstractmethod
    def is_done(self) -> bool:
        """Whether the pod can be bound now. Raises Spoiled."""
