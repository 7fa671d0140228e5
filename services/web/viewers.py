"""Who looks: how a browser comes to a session, and whose desk a session is. There is one viewer, who comes by a link, or each comes by a
token of the cluster's."""

from __future__ import annotations

from typing import Literal, Protocol

from services.web.api import Refused
from services.web.desk import Desk
from services.web.sessions import Sessions

Way = Literal["link", "token"]
FORBIDDEN = 403


class Viewers(Protocol):
    # How a stranger may become known.
    way: Way

    def desk(self, session: str) -> Desk | None:
        """Whose a session is; None for one that is not known."""
        ...

    def enter(self, code: str) -> str | None:
        """A session for a link's code; None where it is good no more."""
        ...

    async def sign_in(self, token: str) -> str:
        """A session for a token. Raises Refused with what is against it, aiohttp.ClientError, OSError."""
        ...

    def leave(self, session: str) -> None: ...


class OneViewer:
    """All who have come by a link of ``sessions`` look from one desk."""

    way: Way = "link"

    def __init__(self, sessions: Sessions, desk: Desk) -> None:
        self._sessions, self._desk = sessions, desk

    def desk(self, session: str) -> Desk | None:
        return self._desk if self._sessions.knows(session) else None

    def enter(self, code: str) -> str | None:
        return self._sessions.open(code)

    async def sign_in(self, token: str) -> str:
        raise Refused(FORBIDDEN, "this page shows one viewer's cluster: follow the link of `knarr ui`")

    def leave(self, session: str) -> None:
        self._sessions.close(session)
