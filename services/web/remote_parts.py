"""The components of a cluster of several machines for the page: each at its own addresses, asked by the certificate of the page's server,
and only what the viewer may ask."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from knarr.client.channel import Pair, open_channel
from knarr.service.keypair import KeptPair
from services.web.parts import ANSWER_SECONDS, HEALTH_SECONDS, Health, Unanswered
from services.web.permits import Permits

if TYPE_CHECKING:
    from google.protobuf.message import Message

NOT_THERE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class Channels:
    """To components, by what the page's server shows them; opened when first needed, and anew when that is replaced. A context manager."""

    def __init__(self, authority: bytes, pair: KeptPair) -> None:
        self._authority, self._pair = authority, pair
        self._shown: Pair | None = None
        self._open: dict[str, grpc.aio.Channel] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Channels:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*self._closing, *(channel.close() for channel in self._open.values()))
        self._open.clear()

    def to(self, address: str) -> grpc.aio.Channel:
        pair = self._pair.latest()
        if pair is not self._shown:
            for channel in self._open.values():
                # What is asked by now is answered.
                task = asyncio.create_task(channel.close(ANSWER_SECONDS), name="close a channel")
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
            self._open, self._shown = {}, pair
        if address not in self._open:
            self._open[address] = open_channel(address, self._authority, pair=pair)
        return self._open[address]


@dataclass(frozen=True, slots=True)
class Instance:
    """``spare``: one that need not be there, and of which nothing is told where it is not."""

    component: str
    address: str
    spare: bool = False


class RemoteParts:
    """``Parts`` for one viewer."""

    def __init__(self, instances: Sequence[Instance], channels: Channels, permits: Permits) -> None:
        self._instances, self._channels, self._permits = instances, channels, permits

    async def healths(self) -> list[Health]:
        found = await asyncio.gather(*map(self._health, self._instances))
        return [health for health in found if health is not None]

    async def ask(self, component: str, method: str, question: Message, answer: type[Any]) -> Any:
        await self._permits.check(method)
        away: list[str] = []
        for address in self._known(component):
            try:
                return await self._call(address, method, question, answer)
            except grpc.aio.AioRpcError as error:
                away.append(f"{component} at {address}: {error.details()}")
                if error.code() not in NOT_THERE:
                    break
        raise Unanswered("; ".join(away))

    async def ask_each(self, component: str, method: str, question: Message, answer: type[Any]) -> dict[str, Any]:
        await self._permits.check(method)
        addresses = self._known(component)
        found = await asyncio.gather(*(self._answer(address, method, question, answer) for address in addresses))
        answers = {address: one for address, one in zip(addresses, found, strict=True) if not isinstance(one, grpc.aio.AioRpcError)}
        if not answers:
            away = (f"{component} at {address}: {one.details()}" for address, one in zip(addresses, found, strict=True))
            raise Unanswered("; ".join(away))
        return answers

    async def _answer(self, address: str, method: str, question: Message, answer: type[Any]) -> Any:
        """The answer, or why there is none."""
        try:
            return await self._call(address, method, question, answer)
        except grpc.aio.AioRpcError as error:
            return error

    def _known(self, component: str) -> list[str]:
        addresses = [one.address for one in self._instances if one.component == component]
        if not addresses:
            raise Unanswered(f"{component} is not known here: the page was not told where it is")
        return addresses

    async def _call(self, address: str, method: str, question: Message, answer: type[Any]) -> Any:
        call = self._channels.to(address).unary_unary(
            method, request_serializer=type(question).SerializeToString, response_deserializer=answer.FromString
        )
        return await call(question, timeout=ANSWER_SECONDS)

    async def _health(self, one: Instance) -> Health | None:
        stub = health_pb2_grpc.HealthStub(self._channels.to(one.address))
        try:
            said = await stub.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_SECONDS)
        except grpc.aio.AioRpcError as error:
            return None if one.spare else Health(one.component, one.address, f"no answer: {error.details()}")
        return Health(one.component, one.address, health_pb2.HealthCheckResponse.ServingStatus.Name(said.status))
