"""Those who wait for a collection to change, without a task of their own: each is called when there may be news, a few in one turn."""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf
from time import thread_time
from typing import Protocol

# Sleepers that are called in one turn of the loop: some hundred microseconds' work, and no more of those whose work is longer. What else
# changes before the last was called, they all learn at once.
TURN, TURN_SECONDS = 32, 0.005
# Of more than so many there is a pause between two turns. They hear a little later of more at once, which costs each of them hardly more
# than to hear of one change: a thousand would otherwise keep the loop busy for as long as anything changes at all.
MANY, PAUSE_SECONDS = 256, 0.003
# Alarms are no finer than this: so many sleepers' alarms are one look at them all.
GRAIN_SECONDS = 0.1


class Sleeper(Protocol):
    """``woken`` raises nothing; it may be called once more after the sleeper has left."""

    def woken(self) -> None: ...


class Sleepers:
    """Who has entered sleeps until the next ``wake`` or its own alarm, and then has left."""

    __slots__ = ("_alarm", "_alarm_at", "_asleep", "_is_calling", "_woken")

    def __init__(self) -> None:
        # With the loop's time of the alarm.
        self._asleep: dict[Sleeper, float] = {}
        self._woken: deque[Sleeper] = deque()
        self._is_calling = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf

    def enter(self, sleeper: Sleeper, alarm_at: float) -> None:
        """``alarm_at`` is a time of the loop; one that is past wakes the sleeper in its turn."""
        now = asyncio.get_running_loop().time()
        if alarm_at <= now:
            self._call(sleeper)
            return
        self._asleep[sleeper] = alarm_at
        if alarm_at < self._alarm_at:
            self._set_alarm(max(alarm_at, now))

    def leave(self, sleeper: Sleeper) -> None:
        self._asleep.pop(sleeper, None)

    def wake(self) -> None:
        """Wakes everybody."""
        if self._asleep:
            self._call(*self._asleep)
            self._asleep.clear()

    def _call(self, *sleepers: Sleeper) -> None:
        self._woken.extend(sleepers)
        if not self._is_calling:
            self._is_calling = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        # Who is called to be called again waits for the next turn.
        turn = deque(self._woken.popleft() for _ in range(min(TURN, len(self._woken))))
        until = thread_time() + TURN_SECONDS
        try:
            while turn and thread_time() < until:
                turn.popleft().woken()
        finally:
            self._woken.extendleft(reversed(turn))
            self._is_calling = False
            if len(self._woken) > MANY:
                self._is_calling = True
                asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._turn)
            elif self._woken:
                self._call()

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = asyncio.get_running_loop().call_at(at, self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, inf
        now = asyncio.get_running_loop().time()
        due = [sleeper for sleeper, alarm_at in self._asleep.items() if alarm_at <= now]
        for sleeper in due:
            del self._asleep[sleeper]
        if due:
            self._call(*due)
        if self._asleep:
            self._set_alarm(max(min(self._asleep.values()), now + GRAIN_SECONDS))
