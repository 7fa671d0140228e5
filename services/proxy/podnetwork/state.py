"""What the kernel holds of the pod network, as plain values, and the steps from one state to another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple


class Route(NamedTuple):
    """A node's range and the way there; ``device`` is the VXLAN device's name, empty where the gateway is a neighbour of this node."""

    destination: str
    gateway: str
    device: str = ""


class Neighbour(NamedTuple):
    """Another node's end of the VXLAN, by the address that routes go through."""

    address: str
    mac: str


class Forward(NamedTuple):
    """The machine behind the end of a VXLAN."""

    mac: str
    address: str


@dataclass(frozen=True, slots=True)
class Device:
    """This node's end of the VXLAN. ``local`` is the address that packets are sent from, ``address`` that of the device itself;
    ``mtu`` is in bytes."""

    name: str
    vni: int
    port: int
    local: str
    mac: str
    address: str
    mtu: int
    up: bool = True

    def same_tunnel(self, other: Device) -> bool:
        """Whether the kernel can turn one into the other without making it anew."""
        return replace(self, address=other.address, mtu=other.mtu, up=other.up) == other


@dataclass(frozen=True, slots=True)
class State:
    """Everything of ours that the kernel holds."""

    device: Device | None = None
    routes: frozenset[Route] = frozenset()
    neighbours: frozenset[Neighbour] = frozenset()
    forwards: frozenset[Forward] = frozenset()


class Step(NamedTuple):
    """One change in the kernel: ``add``, ``replace``, ``change`` or ``remove`` of one thing."""

    verb: str
    what: Device | Route | Neighbour | Forward


def steps(actual: State, wanted: State) -> Iterator[Step]:
    """The steps from what is there to what is wanted.

    What stays is not touched, so connections go on; a way that turns is replaced in one step.
    """
    actual, made = _without_lost_device(actual, wanted)
    if made is not None:
        yield made
    for route in sorted(actual.routes):
        if all(route.destination != other.destination for other in wanted.routes):
            yield Step("remove", route)
    yield from (Step("remove", found) for found in sorted(actual.neighbours - wanted.neighbours))
    yield from (Step("remove", found) for found in sorted(actual.forwards - wanted.forwards))
    if wanted.device is None:
        if actual.device is not None:
            yield Step("remove", actual.device)
    elif made is None and actual.device != wanted.device:
        yield Step("change", wanted.device)
    yield from (Step("add", found) for found in sorted(wanted.forwards - actual.forwards))
    yield from (Step("replace", found) for found in sorted(wanted.neighbours - actual.neighbours))
    present = {route.destination for route in actual.routes}
    for route in sorted(wanted.routes - actual.routes):
        yield Step("replace" if route.destination in present else "add", route)


def _without_lost_device(actual: State, wanted: State) -> tuple[State, Step | None]:
    """A device that must be made anew takes with it all that leads through it."""
    if wanted.device is None or (actual.device is not None and actual.device.same_tunnel(wanted.device)):
        return actual, None
    kept = frozenset(route for route in actual.routes if not route.device)
    return State(routes=kept), Step("add" if actual.device is None else "replace", wanted.device)
