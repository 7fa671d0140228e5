"""Who has come by a link that this process made: codes that are good once, and the sessions that browsers got for them."""

from __future__ import annotations

import secrets

from knarr.client.clock import SYSTEM_CLOCK, Clock

CODE_SECONDS = 120.0
# Browsers that are known at once; whoever came first is forgotten first. The same for links that nobody has followed.
MOST_SESSIONS, MOST_CODES = 64, 16


class Sessions:
    """Knows browsers by what ``open`` gave them. Nothing of it outlives the process."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        # Code → when it was made.
        self._codes: dict[str, float] = {}
        self._known: dict[str, None] = {}

    def new_code(self) -> str:
        """What a link shows, once and within CODE_SECONDS."""
        code = secrets.token_urlsafe(32)
        self._codes[code] = self._clock.elapsed()
        if len(self._codes) > MOST_CODES:
            del self._codes[next(iter(self._codes))]
        return code

    def open(self, code: str) -> str | None:
        """What a browser is known by from now on; None where the code was used, is too old or was never made."""
        made = self._codes.pop(code, None)
        if made is None or self._clock.elapsed() - made > CODE_SECONDS:
            return None
        session = secrets.token_urlsafe(32)
        self._known[session] = None
        if len(self._known) > MOST_SESSIONS:
            del self._known[next(iter(self._known))]
        return session

    def knows(self, session: str) -> bool:
        return session in self._known

    def close(self, session: str) -> None:
        self._known.pop(session, None)
