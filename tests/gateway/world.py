"""A gateway on the API server in memory, with a real HAProxy before small servers on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.machinery.errors import AlreadyExists
from services.gateway.component import Gateway
from services.gateway.instance import Instance
from services.gateway.settings import GatewaySettings
from tests.gateway import servers
from tests.gateway.servers import Answer, Browser, Pod
from tests.support.api import FaultyApi, FaultyClient
from tests.support.ports import free_port
from tests.support.rights import GATEWAY

WAIT_SECONDS = 15.0
NAMESPACE, GROUP = "default", "gateway.networking.k8s.io"
ADDRESS = "192.0.2.80"

HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")


def machine_address() -> str:
    """One that is not the loopback: of that no API server takes an endpoint. Nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but the loopback")
        return str(trial.getsockname()[0])


class Aborted(Exception):
    """What a servicer ended a call with."""


class FakeContext:
    async def abort(self, code: Any, details: str) -> None:
        raise Aborted(details)


@contextlib.asynccontextmanager
async def pods(*names: str, **options: Any) -> AsyncIterator[list[Pod]]:
    """At an address that a cluster takes for a pod's."""
    async with servers.pods(*names, address=machine_address(), **options) as made:
        yield made


@dataclass
class World:
    api: FaultyApi
    client: FaultyClient
    gateway: Instance
    settings: GatewaySettings
    task: asyncio.Task[None]

    @contextlib.asynccontextmanager
    async def browser(self, scheme: str = "http") -> AsyncIterator[Browser]:
        port = self.settings.http_port if scheme == "http" else self.settings.https_port
        async with Browser(port, scheme) as made:
            yield made

    async def until(self, condition: Callable[[], Any]) -> Any:
        async with asyncio.timeout(WAIT_SECONDS):
            while not (found := condition()):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            return found

    async def until_answer(
        self, browser: Browser, host: str, path: str = "/", *, status: int = 200, text: str = "", **options: Any
    ) -> Answer:
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                with contextlib.suppress(OSError):
                    answer = await browser.ask(host, path, **options)
                    if answer.status == status and (not text or answer.text == text):
                        return answer
                await asyncio.sleep(0.01)

    async def service(self, name: str, pods: Sequence[Pod] = (), **fields: Any) -> None:
        """A Service with its EndpointSlices."""
        made = core.Service()
        made.metadata.namespace, made.metadata.name = NAMESPACE, name
        made.spec.ports.add(name="http", port=80, **fields)
        made.spec.selector["app"] = name
        await self.client.create(made)
        await self.lead(name, pods)

    async def certificate(self, name: str, pair: dict[str, bytes]) -> None:
        """A Secret of a certificate and its key."""
        made = core.Secret(type="kubernetes.io/tls", data=pair)
        made.metadata.namespace, made.metadata.name = NAMESPACE, name
        await self.client.create(made)

    async def lead(self, name: str, pods: Sequence[Pod]) -> None:
        """One slice for each pod, since each has a port of its own."""
        wanted = {f"{name}-{pod.name}": pod for pod in pods}
        for piece in self.api.all(discovery.EndpointSlice, NAMESPACE):
            if piece.metadata.labels["kubernetes.io/service-name"] == name and piece.metadata.name not in wanted:
                await self.client.delete(discovery.EndpointSlice, piece.metadata.name, NAMESPACE)
        for slice_name, pod in wanted.items():
            if any(piece.metadata.name == slice_name for piece in self.api.all(discovery.EndpointSlice, NAMESPACE)):
                continue
            piece = discovery.EndpointSlice(address_type="IPv4")
            piece.metadata.namespace, piece.metadata.name = NAMESPACE, slice_name
            piece.metadata.labels["kubernetes.io/service-name"] = name
            piece.ports.add(name="http", port=pod.port, protocol="TCP")
            piece.endpoints.add(addresses=[machine_address()]).conditions.ready = True
            await self.client.create(piece)

    async def kind(self, name: str) -> Any:
        """The class of a kind of Gateway API, once it is served."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                for resource in await self.client.resources():
                    for version in resource.versions:
                        if (version.group, version.kind) == (GROUP, name):
                            return version.message
                await asyncio.sleep(0.02)

    async def put(self, kind: str, name: str, spec: dict[str, Any], namespace: str = NAMESPACE) -> None:
        """Makes an object of Gateway API, or gives it another spec."""
        made = (await self.kind(kind))()
        made.metadata.name = name
        if kind != "GatewayClass":
            made.metadata.namespace = namespace
        made.content = {"spec": spec}
        try:
            await self.client.create(made)
        except AlreadyExists:
            await self.client.patch(type(made), name, namespace, patch={"spec": spec})

    async def remove(self, kind: str, name: str) -> None:
        await self.client.delete(await self.kind(kind), name, NAMESPACE)

    async def status(self, kind: str, name: str, namespace: str = NAMESPACE) -> dict[str, Any]:
        found = await self.client.get(await self.kind(kind), name, "" if kind == "GatewayClass" else namespace)
        status: dict[str, Any] = found.content.get("status") or {}
        return status

    async def reasons(self, kind: str, name: str, namespace: str = NAMESPACE) -> dict[str, str]:
        """Of its conditions, or those of a route's only parent: the reason by the type."""
        status = await self.status(kind, name, namespace)
        if kind.endswith("Route"):
            status = next(iter(status.get("parents", [])), {})
        return {each["type"]: each["reason"] for each in status.get("conditions", [])}

    async def until_reasons(self, kind: str, name: str, namespace: str = NAMESPACE, **wanted: str) -> None:
        found: dict[str, str] = {}
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while any(found.get(each) != reason for each, reason in wanted.items()):
                    found = await self.reasons(kind, name, namespace)
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{kind} {name}: {found}, not {wanted}") from None

    def ingress(self, name: str = "web") -> networking.Ingress:
        return next(found for found in self.api.all(networking.Ingress, NAMESPACE) if found.metadata.name == name)

    def addresses(self, name: str = "web") -> list[str]:
        return [entry.ip for entry in self.ingress(name).status.load_balancer.ingress]

    def events(self, name: str = "web") -> dict[str, str]:
        """The last words of each reason."""
        return {event.reason: event.message for event in self.api.all(core.Event) if event.involved_object.name == name}


def ingress_of(
    name: str = "web",
    host: str = "web.example",
    path: str = "/",
    service: str = "web",
    *,
    kind: str = "Prefix",
    class_name: str = "knarr",
    annotations: dict[str, str] | None = None,
    tls: str = "",
) -> networking.Ingress:
    made = networking.Ingress()
    made.metadata.namespace, made.metadata.name = NAMESPACE, name
    made.metadata.annotations.update(annotations or {})
    if class_name:
        made.spec.ingress_class_name = class_name
    rule = made.spec.rules.add(host=host)
    entry = rule.ingress_rule_value.http.paths.add(path=path, path_type=kind)
    entry.backend.service.name = service
    entry.backend.service.port.number = 80
    if tls:
        made.spec.tls.add(hosts=[host], secret_name=tls)
    return made


@contextlib.asynccontextmanager
async def world(folder: Path, api: FaultyApi | None = None, **settings: Any) -> AsyncIterator[World]:
    """A gateway that runs, with its class; where an API server is given, one more of its."""
    wanted: dict[str, Any] = {"http_port": free_port(), "https_port": free_port(), "status_address": ADDRESS, **settings}
    made = GatewaySettings(folder=folder / "gateway", addresses=("127.0.0.1",), connections=2000, **wanted)
    api = api or FaultyApi()
    gateway = Gateway(api.client(GATEWAY), made)
    client = api.client()
    task = asyncio.create_task(gateway.run())
    found = World(api, client, gateway.instance, made, task)
    try:
        await found.until(lambda: gateway.ready and any(api.all(networking.IngressClass)))
        yield found
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
