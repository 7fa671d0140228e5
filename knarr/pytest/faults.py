"""What a test has befall its cluster: nodes die, time passes, and the API is slow, refuses writes or breaks watches, for everybody who
comes to it from outside. The cluster's own components are in its process, and see none of the latter.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import orjson

from knarr.pytest.access import AGENT
from services.kubelet.hollow_nodes import HollowNodes

if TYPE_CHECKING:
    from services.apiserver.fairness.rounds import Rounds
    from services.apiserver.rest.application import Application
    from services.apiserver.rest.request import Receive, Scope, Send
    from services.apiserver.rest.streams import Streams
    from services.standalone.in_process import InProcess

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# By the codes of HTTP, how the API calls the refusals that clients have to know.
REASONS = {409: "Conflict", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}


class FaultyFace:
    """Stands before the REST face. It is made before that, and changed by another thread than that in which it answers."""

    streams: Streams

    def __init__(self) -> None:
        self.delay_seconds = 0.0
        # The code by which writes are refused, 0: they are not; and how many of them, -1: all.
        self.refusal, self.refusals_left = 0, -1

    def before(self, application: Application) -> FaultyFace:
        self._application, self.streams = application, application.streams
        return self

    @property
    def rounds(self) -> Rounds | None:
        return self._application.rounds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (b"user-agent", AGENT.encode()) in scope["headers"]:
            await self._application(scope, receive, send)
            return
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if scope["method"] in WRITES and self._refuses():
            await _refuse(self.refusal, send)
        else:
            await self._application(scope, receive, send)

    async def drop_watches(self) -> int:
        """Breaks the connections of all watches; answers how many they were."""
        return self.streams.drop_watches()

    def _refuses(self) -> bool:
        if not self.refusal or not self.refusals_left:
            return False
        self.refusals_left -= 1
        return True


async def _refuse(code: int, send: Send) -> None:
    status = {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": REASONS.get(code, "Unknown"),
        "message": "refused by the test",
    }  # fmt: skip
    await send({"type": "http.response.start", "status": code, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": orjson.dumps(status)})


class Time:
    """The cluster's time, which goes on faster where a test says so."""

    def __init__(self, within: InProcess) -> None:
        self._within = within

    def advance(self, span: timedelta | float) -> None:
        """Lets that much time pass for the cluster, seconds unless it says otherwise; returns when it has."""
        self._within.advance(span.total_seconds() if isinstance(span, timedelta) else span)


class Faults:
    """Each holds until ``clear``, which comes by itself after the test."""

    def __init__(self, within: InProcess, face: FaultyFace, own_node: str) -> None:
        self._within, self._face, self._own = within, face, own_node
        self._dead: set[str] = set()
        self.clock = Time(within)

    def delay_api(self, seconds: float) -> None:
        """Every request waits so long before it is looked at."""
        self._face.delay_seconds = seconds

    def refuse_writes(self, code: int = 503, *, times: int = -1) -> None:
        """Writes are answered with this code of HTTP and are not done: all of them, or so many."""
        self._face.refusal, self._face.refusals_left = code, times

    def drop_watches(self) -> int:
        """Breaks the connections of all watches that are open; answers how many they were."""
        return self._within.call(self._face.drop_watches())

    def kill_node(self, name: str = "") -> None:
        """A node's machine is off, without a word: the cluster misses it 40 s later (``clock.advance(60)``). The only one unless named."""
        self._within.call(self._set_dead(name or self._own, True))

    def revive_node(self, name: str = "") -> None:
        self._within.call(self._set_dead(name or self._own, False))

    def clear(self) -> None:
        """Ends all of them."""
        self._face.delay_seconds, self._face.refusal, self._face.refusals_left = 0.0, 0, -1
        for name in list(self._dead):
            self.revive_node(name)

    async def _set_dead(self, name: str, dead: bool) -> None:
        cluster = self._within.cluster
        if name == self._own:
            cluster.turn("kubelet", on=not dead)
        else:
            hollow = cluster.components.get("hollow")
            if not isinstance(hollow, HollowNodes) or name not in hollow.nodes:
                raise ValueError(f"there is no node {name!r}; knarr_nodes says how many there are, `kubectl get nodes` how they are called")
            node = hollow.nodes[name]
            node.become(replace(node.condition, down=dead))
        (self._dead.add if dead else self._dead.discard)(name)
