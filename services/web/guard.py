"""Whose request is answered: one to this address, of a browser that has a session, from the page itself. And what browsers are told
about each answer.

A page elsewhere may make a browser send requests here, with its cookies where it counts as the same site, which any other port of
loopback does; it cannot choose their Host, Origin and Sec-Fetch headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from services.web.peers import user_of

# What a script of the page sends with whatever changes something, and no form can.
OWN_HEADER = "X-Knarr-Page"
LOOKING = ("GET", "HEAD")
# By which names a browser on the same machine may call it.
LOOPBACK = ("127.0.0.1", "localhost")
# What is there for everybody who can reach the address: the bundle says no more than the source does.
OPEN = ("/", "/login", "/login/way")
# By which a stranger becomes known, from the page itself.
SIGN_IN = "/login"
OPEN_BELOW = "/bundle/"
# WebSockets, by which more is done than looking. Browsers open them for any page, and always say for which.
SOCKETS = ("/terminal",)
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Judges requests to a server at a ``port``, which is known once it listens."""

    def __init__(
        self, known: Callable[[str], object], advice: str, names: Collection[str], users: frozenset[int] | None = None, published: int = 0
    ) -> None:
        """``known`` has something for a session that is known, ``advice`` tells strangers how to get one. ``names`` are the hosts by which
        browsers may call it, at the port where it listens or another one at which it is ``published``. ``users``: the uids of those whose
        processes may come at all, where that can be told; None for anybody's."""
        self._known, self._advice, self._names, self._users, self._published = known, advice, names, users, published
        self.port = 0

    @property
    def cookie(self) -> str:
        """The name of the session's cookie: those of a host are sent to all of its ports."""
        return f"knarr-{self._called}"

    def session(self, request: web.Request) -> str:
        """What the cookie says, empty without."""
        return request.cookies.get(self.cookie, "")

    @property
    def _called(self) -> int:
        return self._published or self.port

    @property
    def hosts(self) -> frozenset[str]:
        return frozenset(f"{name}:{self._called}" for name in self._names)

    def refusal(self, method: str, path: str, headers: Mapping[str, str], session: str) -> tuple[int, str] | None:
        """HTTP's code and the words where a request is not answered. ``session`` is what the cookie says, empty without."""
        host = headers.get("Host", "")
        if host not in self.hosts:
            return 421, f"this server is {' and '.join(sorted(self.hosts))} alone"
        if method in LOOKING and (path in OPEN or path.startswith(OPEN_BELOW)):
            return None
        if (method, path) != ("POST", SIGN_IN) and self._known(session) is None:
            return 401, f"there is no session: {self._advice}"
        return self._strange(method, headers, f"http://{host}", socket=path in SOCKETS)

    def _strange(self, method: str, headers: Mapping[str, str], own: str, *, socket: bool) -> tuple[int, str] | None:
        """What speaks against the request being one of the page's scripts."""
        changing = method not in LOOKING
        meant_for = ("websocket", "empty") if socket else ("empty",)
        if headers.get("Sec-Fetch-Site", "same-origin") != "same-origin" or headers.get("Sec-Fetch-Dest", "empty") not in meant_for:
            return 403, "this is for the page's own scripts"
        if headers.get("Origin", "" if changing or socket else own) != own:
            return 403, f"Origin must be {own}"
        if changing and headers.get(OWN_HEADER) != "1":
            return 403, f"what changes something needs the header {OWN_HEADER}: 1"
        return None

    def _foreign(self, transport: asyncio.Transport | None) -> tuple[int, str] | None:
        """What speaks against the process that has connected, whatever it sends."""
        if self._users is None or transport is None:
            return None
        user = user_of(transport.get_extra_info("peername"), transport.get_extra_info("sockname"))
        if user is None or user in self._users:
            return None
        return 403, f"this page is served to user {' and '.join(map(str, sorted(self._users)))} alone, and you are user {user}"

    def middleware(self) -> Middleware:
        """The same for aiohttp."""

        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            refused = self._foreign(request.transport) or self.refusal(request.method, request.path, request.headers, self.session(request))
            if refused is not None:
                return web.json_response({"message": refused[1]}, status=refused[0])
            try:
                return await handler(request)
            except web.HTTPException as error:
                return web.json_response({"message": error.text or error.reason}, status=error.status, headers=_kept(error.headers))

        return guarded


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name in ("Location", "Allow", "Set-Cookie")}


async def tell_browsers(request: web.Request, response: web.StreamResponse) -> None:
    """Puts HEADERS before every answer, streams included."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
