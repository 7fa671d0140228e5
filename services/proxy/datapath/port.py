"""The datapath port: what every way of carrying connections offers. One conformance suite runs on all of them."""

from __future__ import annotations

import abc
from collections.abc import Callable, Collection, Mapping
from typing import ClassVar

from services.proxy.routing.table import Change, Endpoint, Route, RouteKey

# Whether policies let a client be connected: its address, the address and port that it asked for, where to, and the protocol.
Gate = Callable[[str, tuple[str, int], Endpoint, str], bool]
Counters = Mapping[tuple[RouteKey, Endpoint], int]


class DatapathError(Exception):
    """A change could not be put in force; what was in force before still is, or a retry makes it so."""


class Datapath(abc.ABC):
    """Carries the connections of a routing table. One caller at a time; nothing is in force before ``start``."""

    name: ClassVar[str]

    @abc.abstractmethod
    async def start(self) -> None:
        """Makes the node ready and takes over what a killed process left, which stays in force until the first ``apply``."""

    @abc.abstractmethod
    async def apply(self, change: Change) -> None:
        """Puts a change in force; DatapathError when it could not. Connections that are open stay open."""

    @abc.abstractmethod
    async def check(self) -> None:
        """Restores what others took away. Called now and then."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Removes everything of ours from the node."""

    @abc.abstractmethod
    async def counters(self, keys: Collection[RouteKey]) -> Counters:
        """Connections sent so far to each endpoint of these routes."""

    def judge_by(self, gate: Gate) -> None:  # noqa: B027 - the packet filter judges, unless a datapath hides the clients
        """Gives the datapath the ``gate`` to ask for each new connection, if it hides the clients from the packet filter."""

    def limits_of(self, route: Route) -> tuple[str, ...]:
        """What it cannot do of one route's wishes, in words."""
        return ()

    @property
    def limited(self) -> Collection[RouteKey]:
        """The routes of which ``limits_of`` may come to say something else without a change."""
        return ()

    @property
    def held(self) -> Mapping[str, str]:
        """The load-balancer addresses that this node has taken, and the interface that each is on."""
        return {}

    @property
    @abc.abstractmethod
    def limitations(self) -> tuple[str, ...]:
        """What cannot be done on this node, in words; empty when nothing is missing."""
