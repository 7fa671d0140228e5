"""Many viewers of one server: each is who the API server says that the bearer of a token is, and has a desk of his own.

The server has no right to see anything by itself: a desk watches with what its viewer has shown. Tokens are kept in memory alone, as long
as the desk.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import math
import re
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson

from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.service.tasks import cancel
from services.web.api import Access, Api, Refused
from services.web.archive import KEPT_SECONDS, newest
from services.web.desk import Desk
from services.web.parts import Parts
from services.web.viewers import Way

log = logging.getLogger(__name__)

REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
# What is told of each token by itself, not of whom it is of.
OF_TOKENS = "authentication.kubernetes.io/credential-id"
STRANGERS = "system:unauthenticated"
UNAUTHORIZED, TOO_MANY = 401, 429
# Viewers at once, each with his own copy of what he sees, and browsers of each.
MOST_DESKS, MOST_SESSIONS = 8, 16
# How long a session lasts, and how long one remembers for a viewer who is not there: by gRPC he has no session.
SESSION_SECONDS, UNUSED_SECONDS = 24 * 3600.0, 3600.0
SWEEP_SECONDS = 10.0
# Tokens that are asked about at once: anybody who reaches the page may show one.
MOST_ASKED = 4
# How long an answer about a token that gRPC's callers show holds.
KNOWN_SECONDS, MOST_KNOWN = 30.0, 256

# As viewers' folders are called; whatever else lies beside them is not the page's.
FOLDER_NAME = re.compile(r"[0-9a-f]{64}")

PartsOf = Callable[[Api], Parts]


@dataclass(slots=True)
class Viewer:
    desk: Desk
    # When each session began, and when he was last there, by the clock's seconds.
    sessions: dict[str, float] = field(default_factory=dict)
    used: float = 0.0


class Reception:
    """``access`` is the API server without anything shown to it, ``parts`` the components for one who looks. In ``history`` each viewer has
    a folder for what he has seen; None: it is not kept. A context manager."""

    way: Way = "token"

    def __init__(self, access: Access, parts: PartsOf, clock: Clock = SYSTEM_CLOCK, history: Path | None = None) -> None:
        self._access, self._parts, self._clock, self._history = access, parts, clock, history
        self._viewers: dict[str, Viewer] = {}
        # Whose a session is.
        self._sessions: dict[str, str] = {}
        # By a checksum of a token: whose it is, and since when that is known.
        self._known: dict[bytes, tuple[str, float]] = {}
        self._asking = asyncio.Semaphore(MOST_ASKED)
        self._changing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Reception:
        self._task = asyncio.create_task(self._keep(), name="keep viewers")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await cancel([self._task])
        async with self._changing:
            for identity in list(self._viewers):
                await self._end(identity)

    def __len__(self) -> int:
        """How many viewers there are."""
        return len(self._viewers)

    def desk(self, session: str) -> Desk | None:
        viewer = self._viewers.get(self._sessions.get(session, ""))
        if viewer is None or viewer.desk.unknown or self._clock.elapsed() - viewer.sessions[session] > SESSION_SECONDS:
            return None
        viewer.used = self._clock.elapsed()
        return viewer.desk

    def enter(self, code: str) -> str | None:
        return None

    async def sign_in(self, token: str) -> str:
        identity, viewer = await self._arrive(token)
        session = secrets.token_urlsafe(32)
        if len(viewer.sessions) >= MOST_SESSIONS:
            self.leave(next(iter(viewer.sessions)))
        viewer.sessions[session] = self._clock.elapsed()
        self._sessions[session] = identity
        return session

    async def desk_of(self, token: str) -> Desk:
        """For one call of whoever shows a token. Raises Refused, aiohttp.ClientError, OSError."""
        seal = hashlib.sha256(token.encode()).digest()
        identity, since = self._known.get(seal, ("", 0.0))
        viewer = self._viewers.get(identity)
        if viewer is None or viewer.desk.unknown or self._clock.elapsed() - since > KNOWN_SECONDS:
            identity, viewer = await self._arrive(token)
            if len(self._known) >= MOST_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[seal] = identity, self._clock.elapsed()
        viewer.used = self._clock.elapsed()
        return viewer.desk

    def leave(self, session: str) -> None:
        """The desk is cleared soon after the last session was left."""
        viewer = self._viewers.get(self._sessions.pop(session, ""))
        if viewer is not None:
            viewer.sessions.pop(session, None)
            if not viewer.sessions:
                viewer.used = -UNUSED_SECONDS

    async def _arrive(self, token: str) -> tuple[str, Viewer]:
        """Whose a token is, and his desk, made where he has none."""
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise Refused(UNAUTHORIZED, "that is no token: a token is one word, as `kubectl create token NAME` prints it")
        access = replace(self._access, headers={"Authorization": f"Bearer {token}"})
        async with self._asking:
            identity = await _identity(access)
        async with self._changing:
            viewer = self._viewers.get(identity)
            if viewer is not None and viewer.desk.unknown:
                await self._end(identity)
                viewer = None
            if viewer is None:
                viewer = await self._begin(identity, access)
            if _ends(access) >= _ends(viewer.desk.api.access):
                viewer.desk.api.access = access
            viewer.used = self._clock.elapsed()
            return identity, viewer

    async def _begin(self, identity: str, access: Access) -> Viewer:
        if len(self._viewers) >= MOST_DESKS:
            idle = [(one.used, key) for key, one in self._viewers.items() if not one.desk.watching]
            if not idle:
                raise Refused(TOO_MANY, f"{MOST_DESKS} viewers are here, which is all this page has room for: wait until one has left")
            await self._end(min(idle)[1])
        api = Api(access)
        viewer = Viewer(Desk(api, self._parts(api), self._folder(identity), _own_namespaces(identity)))
        try:
            await viewer.desk.__aenter__()
        except BaseException:
            await api.__aexit__()
            raise
        self._viewers[identity] = viewer
        log.info("a viewer came", extra={"viewers": len(self._viewers)})
        return viewer

    def _folder(self, identity: str) -> Path | None:
        """Where is kept what a viewer sees; those of viewers who have not come for long are taken away."""
        if self._history is None:
            return None
        own = self._history / _folder_name(identity)
        there = {own.name, *map(_folder_name, self._viewers)}
        with suppress(OSError):
            for folder in self._history.iterdir():
                if folder.name not in there and FOLDER_NAME.fullmatch(folder.name):
                    self._take_away(folder)
        return own

    def _take_away(self, folder: Path) -> None:
        with suppress(OSError):
            if self._clock.now().timestamp() - newest(folder) > KEPT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)

    async def _end(self, identity: str) -> None:
        viewer = self._viewers.pop(identity)
        for session in viewer.sessions:
            self._sessions.pop(session, None)
        await viewer.desk.__aexit__()
        await viewer.desk.api.__aexit__()
        log.info("a viewer left", extra={"viewers": len(self._viewers)})

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.sweep()

    async def sweep(self) -> None:
        """Ends sessions that lasted long enough, and the desks of those who are gone or whom the API server knows no more."""
        async with self._changing:
            now = self._clock.elapsed()
            for identity, viewer in list(self._viewers.items()):
                for session in [session for session, began in viewer.sessions.items() if now - began > SESSION_SECONDS]:
                    self.leave(session)
                if viewer.desk.unknown or (not viewer.sessions and now - viewer.used >= UNUSED_SECONDS):
                    await self._end(identity)


async def _identity(access: Access) -> str:
    """Who shows this to the API server: all that rights may go by. Raises Refused for nobody."""
    async with Api(access) as api:
        try:
            review = await api.json("POST", REVIEWS, {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
        except Refused as error:
            if error.code == UNAUTHORIZED:
                raise _unknown() from error
            raise
    user = review["status"]["userInfo"]
    if STRANGERS in (user.get("groups") or ()):
        raise _unknown()
    extra = {name: values for name, values in (user.get("extra") or {}).items() if name != OF_TOKENS}
    return orjson.dumps({**user, "extra": extra}, option=orjson.OPT_SORT_KEYS).decode()


def _folder_name(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()


def _own_namespaces(identity: str) -> list[str]:
    """Of a service account: its own, in which it has most of its rights."""
    parts = str(orjson.loads(identity).get("username", "")).split(":")
    return [parts[2]] if parts[:2] == ["system", "serviceaccount"] and len(parts) == 4 else []


def _ends(access: Access) -> float:
    """When what is shown expires, seconds since 1970: as a token says itself that the API server has taken, or never."""
    claims = access.headers.get("Authorization", "").split(".")[1:2]
    try:
        return float(orjson.loads(base64.urlsafe_b64decode(claims[0] + "=="))["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return math.inf


def _unknown() -> Refused:
    return Refused(UNAUTHORIZED, "the cluster does not know this token; it may have expired")
