"""The page's server for one viewer's identity, at a loopback address, as ``knarr ui`` runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.web.api import Api
from services.web.desk import Desk
from services.web.face import Face
from services.web.guard import LOOPBACK, Guard
from services.web.parts import Parts
from services.web.sessions import Sessions
from services.web.viewers import OneViewer

HOST = "127.0.0.1"
LINK_ADVICE = "follow the link of `knarr ui`; it is good once, Enter there makes a new one"


class PageServer:
    """``api`` is the API server as the viewer reaches it. A context manager; it listens from entry to exit.
    ``users``: by uid, the users of this machine who may come; None for all of them. ``history``: the folder in which is kept what was seen,
    if it is. ``namespaces``: where is looked for what the viewer may not see everywhere."""

    def __init__(
        self,
        api: Api,
        parts: Parts | None = None,
        *,
        port: int = 0,
        users: frozenset[int] | None = None,
        history: Path | None = None,
        namespaces: Sequence[str] = (),
    ) -> None:
        self.sessions = Sessions()
        self.desk = Desk(api, parts, history, namespaces)
        viewers = OneViewer(self.sessions, self.desk)
        self._guard = Guard(viewers.desk, LINK_ADVICE, LOOPBACK, users)
        self._face = Face(viewers, self._guard, HOST, port)

    @property
    def port(self) -> int:
        return self._guard.port

    @property
    def link(self) -> str:
        """One more way in, good once."""
        return f"http://{HOST}:{self.port}/login?code={self.sessions.new_code()}"

    async def __aenter__(self) -> PageServer:
        """Raises OSError where the port cannot be had."""
        await self._face.__aenter__()
        await self.desk.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.desk.__aexit__()
        await self._face.__aexit__()
