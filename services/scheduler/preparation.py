"""What must be so before a pod is bound to the node that was chosen for it."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from google.protobuf.message import Message


class Spoiled(Exception):
    """It cannot become so any more: the pod is to be placed anew. The words of the event."""


class Preparation(abc.ABC):
    """``writes`` are objects as they are to be written, in their order; they count as written from the decision on.

    ``seconds``: how long is waited for it at most.
    """

    writes: Sequence[Message]
    seconds: float

    @abc.abstractmethod
    def is_done(self) -> bool:
        """Whether the pod can be bound now. Raises Spoiled."""
