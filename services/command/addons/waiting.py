"""Waiting until the cluster shows what was asked of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from knarr.service.errors import CommandError
from services.command.addons.addon import Tell

LOOK_SECONDS = 0.1


def wait_for(
    done: Callable[[], bool], what: str, seconds: float, *, meanwhile: Callable[[], str] = lambda: "", tell: Tell = lambda line: None
) -> None:
    """Returns when ``done``. ``meanwhile`` says what is waited for now, which is told when it is something else than before.

    Raises CommandError after ``seconds``, with the last of it.
    """
    deadline, told = time.monotonic() + seconds, ""
    while not done():
        if (now := meanwhile()) and now != told:
            told = now
            tell(now)
        if time.monotonic() > deadline:
            raise CommandError(f"waited {seconds:.0f} s in vain for {what}" + (f": {told}" if told else ""))
        time.sleep(LOOK_SECONDS)
