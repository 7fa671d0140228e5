"""What an admission plugin is: it handles some operations, and mutates, validates, charges, or does several of these."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Protocol, runtime_checkable

from knarr.machinery.resources import Resource
from services.apiserver.admission.attributes import Attributes
from services.apiserver.backend import Extra
from services.apiserver.request import Request


class Plugin(Protocol):
    """Refuses by raising a StatusError. A plugin that looks at other objects is given what it reads when it is made."""

    # As Kubernetes names it.
    name: ClassVar[str]

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        """Whether it wants to see such requests. The answer must always be the same, unless the plugin is ``Configurable``: it is asked
        once."""
        ...


@runtime_checkable
class Configurable(Plugin, Protocol):
    """What it handles depends on what is stored."""

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Calls ``listener`` whenever ``handles`` may answer otherwise than before."""
        ...


@runtime_checkable
class Mutating(Plugin, Protocol):
    """Comes before validation and before what the server itself fills in at the end (uid, creationTimestamp …)."""

    def mutate(self, attributes: Attributes) -> Coroutine[Any, Any, bool]:
        """Answers whether it changed ``attributes.obj``; the defaults of the kind are then filled in again. May be called anew for
        the same request, with a fresh object, when another write came between; and once more with the object as it is when a later
        plugin wants that (``attributes.reinvocation``)."""
        ...


@runtime_checkable
class Validating(Plugin, Protocol):
    """Comes last before the object is stored, when all that is stored can be seen."""

    def validate(self, attributes: Attributes) -> Coroutine[Any, Any, None]:
        """Changes nothing."""
        ...


@runtime_checkable
class Charging(Plugin, Protocol):
    """Comes as the object is stored, after all that may refuse it, with what is stored beside it: both are there then, or none is."""

    def turn(self, request: Request) -> AbstractAsyncContextManager[None] | None:
        """What is held from before ``charge`` until the object is stored, so that writers of this server do not refuse one another; None
        where nothing will be charged."""
        ...

    async def charge(self, attributes: Attributes, again: bool) -> Extra:
        """Answers what goes with the write; of a dry run nothing of it is stored. Called ``again`` when that did not hold."""
        ...

    async def stand_back(self) -> None:
        """Waits a moment, after another server was faster."""
        ...
