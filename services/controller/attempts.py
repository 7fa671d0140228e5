"""Many things that are seen to one after the other: what is refused of one of them keeps none of the others waiting."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from google.protobuf.message import Message

from knarr.machinery.errors import TRANSIENT, NotFound, StatusError
from knarr.objects.keys import key_of

logger = logging.getLogger(__name__)


class Attempts:
    """``failure`` is the first thing that was refused; a webhook may refuse one object for ever. What is gone needs nothing.

    That the server is away, or has too much to do, concerns all of them: it is raised.
    """

    def __init__(self) -> None:
        self.failure: StatusError | None = None

    def check(self) -> None:
        """Raises the failure, if there is one."""
        if self.failure is not None:
            raise self.failure

    @contextlib.contextmanager
    def about(self, obj: Message) -> Iterator[None]:
        try:
            yield
        except NotFound:
            pass
        except TRANSIENT:
            raise
        except StatusError as error:
            self.failure = self.failure or error
            logger.warning("refused", extra={"kind": obj.DESCRIPTOR.name, "key": str(key_of(obj)), "error": str(error)})
