"""Workloads step by step, without an API server: what their worlds have in common, and how scenario files are played in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from knarr.api.meta.v1 import meta_pb2 as meta
from tests.controller.objects import amount


class Workload(Protocol):
    """A Deployment, DaemonSet or StatefulSet."""

    @property
    def metadata(self) -> meta.ObjectMeta: ...


T = TypeVar("T", bound=Workload)
W = TypeVar("W", bound="SteppedWorld[Any]")


class SteppedWorld(ABC, Generic[T]):
    """``target`` and all that is there of it, at ``now``."""

    target: T
    now: datetime
    # Decisions after which a world must have come to rest.
    most_steps: int

    def edit(self, **changes: str) -> None:
        """Changes the spec as a person would."""
        for name, value in changes.items():
            self.change(name, value)
        self.target.metadata.generation += 1

    def settle(self) -> list[str]:
        """Decides until nothing is left to do; tells what was done."""
        told = list[str]()
        for _ in range(self.most_steps):
            done, rests = self.turn()
            told += done
            if rests:
                return told
        raise AssertionError("the decisions do not come to rest: " + "; ".join(told[-10:]))

    @abstractmethod
    def change(self, name: str, value: str) -> None:
        """Changes one thing of the spec; ValueError for what a scenario cannot name."""

    @abstractmethod
    def step(self) -> list[str]:
        """One decision, applied; tells what was done."""

    @abstractmethod
    def turn(self) -> tuple[list[str], bool]:
        """A step and what the world makes of it; what was done, and whether nothing is left to do."""


def said_amount(text: str) -> meta.IntOrString:
    """``2`` or ``25%``."""
    return amount(text if text.endswith("%") else int(text))


def play(
    text: str, world: W, command: Callable[[W, str], None], told: Callable[[W, list[str]], list[str]], *, settle_each: bool = False
) -> str:
    """A scenario file as it is when what happens now is written into it.

    The world comes to rest after the commands of a block, with ``settle_each`` after every one of them; ``told`` tells how it is then
    and what was done.
    """
    blocks = list[str]()
    for block in text.strip().split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith("  ") and line != "----"]
        commands = [line for line in lines if not line.startswith("#")]
        steps = list[str]()
        for number, line in enumerate(commands, 1):
            command(world, line)
            if settle_each or number == len(commands):
                steps += world.settle()
        blocks.append("\n".join([*lines, *(["----", *told(world, steps)] if commands else [])]))
    return "\n\n".join(blocks) + "\n"
