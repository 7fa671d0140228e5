"""What a component is: something that serves its gRPC contract and runs until it is cancelled."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, ClassVar

import grpc.aio

from knarr.service.access import Right, right_of
from knarr.service.authentication import TokenAuthenticator

if TYPE_CHECKING:
    from knarr.service.web.message import WebFace


class Component(abc.ABC):
    """One of the cluster's services, as ``knarr.service.host`` runs it."""

    # The component's name in logs, metrics and health answers.
    name: ClassVar[str]

    @abc.abstractmethod
    def register(self, server: grpc.aio.Server) -> list[str]:
        """Adds the component's servicers; returns their full proto service names."""

    @abc.abstractmethod
    async def run(self) -> None:
        """Works until cancelled. On cancellation it stops in stages, each bounded in time."""

    async def leave(self) -> None:  # noqa: B027  most have nothing to do
        """What is to be done before it is asked to stop, while it still serves. Bounded in time by itself."""

    def right(self, method: str) -> Right:
        """What a caller must be permitted for a call, as gRPC names it: like `/knarr.api.dns.v1.DnsService/Resolve`."""
        return right_of(method)

    def web(self, tokens: TokenAuthenticator | None) -> WebFace | None:
        """What the component serves by HTTP at its port, if anything. ``tokens`` knows callers of its gRPC by their tokens; None: nobody is
        known by one."""
        return None

    @property
    @abc.abstractmethod
    def ready(self) -> bool:
        """Whether the component does its work now; the health service answers it."""
