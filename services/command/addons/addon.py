"""What an add-on is: something that a cluster has or does without, as its user likes it.

Whether it is on is what the cluster itself shows, never a note beside it: so it is right after a restore, a crash, or another command.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.command.images import Images
from services.standalone.settings import ClusterSettings

# ``on``: it works. ``starting``: it was enabled and does not work (yet). ``off``: nothing of it is there.
ON, STARTING, OFF = "on", "starting", "off"
# What a person is told while it is worked on.
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class State:
    """``words`` are for a person, ``facts`` for a program."""

    state: str
    words: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class Api(Protocol):
    """The API as add-ons ask it (``services.command.api``)."""

    def find(self, path: str) -> Any | None: ...

    def apply(self, path: str, obj: Any, manager: str) -> Any: ...

    def delete(self, path: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """The cluster that is asked about. ``images`` opens its engine's images, which raises CommandError where it has none."""

    settings: ClusterSettings
    api: Api
    images: Callable[[], Images]


class Addon(Protocol):
    """One folder of this package. Its calls raise CommandError with the way out, and Refused in the server's words.

    ``enable`` and ``disable`` may be called whatever the state is, again and after one that was cut short, and come back when it holds;
    they answer what to do next, a line each.
    """

    name: str
    # For the list: what it is, in a line.
    what: str
    # Whether it is a part of the cluster's own process, and on unless it is switched off.
    built_in: bool

    def state(self, place: Place) -> State: ...

    def enable(self, place: Place, tell: Tell) -> Sequence[str]: ...

    def disable(self, place: Place, tell: Tell) -> Sequence[str]: ...
