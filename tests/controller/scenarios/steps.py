"""What scenarios are put together of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from services.controller.component import ControllerManager
from services.controller.controller import Controller
from services.controller.csi.client import SocketDriver
from services.controller.csi.driver import Driver
from services.controller.settings import ControllerSettings
from tests.controller.cluster import FakeKubelet
from tests.support.mishaps import Scenario, World
from tests.support.rights import CONTROLLER

# Longer than whatever a component waits for, a relist after a lost event included.
STEP_SECONDS = 30.0


def never_broken(found: core.Pod) -> float | None:
    """A pod of a broken image does not become ready."""
    return None if found.spec.containers[0].image == "broken" else 0.1


def alone(
    controller: type[Controller],
    act: Callable[[World], Awaitable[None]],
    *others: type[Controller],
    kubelet: bool = False,
    ending: Callable[[core.Pod], str | None] = lambda pod: None,
    connect: Callable[[World], Callable[[str, str, float], Driver]] = lambda world: SocketDriver,
    outsiders: Callable[[World], list[Callable[[], Awaitable[None]]]] = lambda world: [],
    **options: Any,
) -> Scenario:
    """The controller in a manager of its own; ``others``, ``outsiders`` and a kubelet have no mishaps. ``ending``: how a pod ends there by
    itself. ``connect``: how a life of the manager reaches drivers of volumes."""
    settings = ControllerSettings(**options.pop("settings", {}))

    def manager(*controllers: type[Controller], world: World, client: Client) -> ControllerManager:
        return ControllerManager(client, settings, clock=world.clock, controllers=controllers, connect=connect(world))

    def beside(world: World) -> list[Callable[[], Awaitable[None]]]:
        parts = [manager(*others, world=world, client=world.api.client()).run] if others else []
        nodes = FakeKubelet(world.api.client(), clock=world.clock, ready_seconds=never_broken, ending=ending)
        return [*parts, *outsiders(world), *([nodes.run] if kubelet else [])]

    return Scenario(lambda world, client: manager(controller, world=world, client=client), act, beside, user=CONTROLLER, **options)


async def step(seconds: float = STEP_SECONDS) -> None:
    await asyncio.sleep(seconds)
