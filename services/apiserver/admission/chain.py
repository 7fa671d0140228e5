"""Runs the plugins that handle a request, phase by phase, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

from knarr.machinery.resources import Resource
from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.plugin import Charging, Configurable, Mutating, Plugin, Validating
from services.apiserver.backend import NO_EXTRA, Extra
from services.apiserver.deadline import finished, within
from services.apiserver.request import Request
from services.apiserver.results import Ref

NO_TURN = nullcontext()


@dataclass(frozen=True, slots=True)
class Phases:
    """The plugins that handle one operation on one resource or sub-resource."""

    operation: str
    mutating: tuple[Mutating, ...] = ()
    validating: tuple[Validating, ...] = ()
    charging: Charging | None = None

    def __bool__(self) -> bool:
        """Whether any plugin handles it."""
        return bool(self.mutating or self.validating or self.charging)

    async def mutate(self, request: Request, name: str, obj: Any, old: Any = None) -> bool:
        """Lets each plugin change ``obj``; answers whether one did. Raises the first refusal; Timeout, by the plugin's name, at the
        request's deadline."""
        if not self.mutating:
            return False
        attributes = Attributes(self.operation, request, name, obj, old)
        changed = await self._mutate(attributes)
        again = attributes.reinvocation
        if again is not None and again.wanted:
            # Once, as in Kubernetes.
            again.running = True
            await self._mutate(attributes)
        return changed

    async def _mutate(self, attributes: Attributes) -> bool:
        changed, deadline = False, attributes.request.deadline
        for plugin in self.mutating:
            mutating = plugin.mutate(attributes)
            try:
                first = mutating.send(None)
            except StopIteration as done:
                changed |= done.value
            else:
                changed |= await finished(deadline, mutating, first, _shown(plugin))
        return changed

    async def validate(self, request: Request, name: str, obj: Any, old: Any = None) -> None:
        """Asks each plugin. Raises as ``mutate`` does."""
        if not self.validating:
            return
        attributes = Attributes(self.operation, request, name, obj, old)
        for plugin in self.validating:
            validating = plugin.validate(attributes)
            try:
                first = validating.send(None)
            except StopIteration:
                continue
            await finished(request.deadline, validating, first, _shown(plugin))

    def turn(self, request: Request) -> AbstractAsyncContextManager[Any] | None:
        """Is held from ``charge`` until the object is stored; None where nothing is charged. Raises Timeout at the request's deadline."""
        return self.charging.turn(request) if self.charging is not None else None

    async def charge(self, request: Request, name: str, obj: Any, old: Any = None, *, again: bool = False) -> Extra:
        """What is stored beside ``obj``, in the same transaction; ``again``: what was answered before did not hold. Raises as ``mutate``
        does."""
        if self.charging is None:
            return NO_EXTRA
        attributes = Attributes(self.operation, request, name, obj, old)
        return await within(request.deadline, self.charging.charge(attributes, again), _shown(self.charging))

    async def stand_back(self) -> None:
        """Waits a moment after a write that another API server was faster than, so that not both try again at once."""
        if self.charging is not None:
            await self.charging.stand_back()


# For what admission is not asked about.
NO_ADMISSION = Phases("")


class Chain:
    """The admission plugins of one API server, in order. Which of them handle what is found out once and kept, until that changes."""

    def __init__(self, plugins: Sequence[Plugin] = ()) -> None:
        self._plugins = tuple(plugins)
        self._phases: dict[tuple[str, Resource, str], Phases] = {}
        for plugin in self._plugins:
            if _is(plugin, Configurable):
                cast("Configurable", plugin).subscribe(self._phases.clear)

    def phases(self, operation: str, ref: Ref) -> Phases:
        """Those for an operation on the resource, or the sub-resource, of ``ref``."""
        key = operation, ref.resource, ref.subresource
        found = self._phases.get(key)
        if found is None:
            found = self._phases[key] = self._choose(*key)
        return found

    def forget(self, resource: Resource) -> None:
        """Lets go of what was found out about a resource that is served no more."""
        for key in [key for key in self._phases if key[1] is resource]:
            del self._phases[key]

    def _choose(self, operation: str, resource: Resource, subresource: str) -> Phases:
        chosen = [plugin for plugin in self._plugins if plugin.handles(operation, resource, subresource)]
        mutating = [plugin for plugin in chosen if _is(plugin, Mutating)]
        validating = [plugin for plugin in chosen if _is(plugin, Validating)]
        charging = next((plugin for plugin in chosen if _is(plugin, Charging)), None)
        return Phases(
            operation,
            cast("tuple[Mutating, ...]", tuple(mutating)),
            cast("tuple[Validating, ...]", tuple(validating)),
            cast("Charging | None", charging),
        )


# By the class of a plugin, and what it may be.
_found: dict[tuple[type[Plugin], Any], bool] = {}


def _is(plugin: Plugin, role: Any) -> bool:
    """Whether it has the methods of a protocol; found out once for each class, since Python takes 40 µs to look."""
    key = type(plugin), role
    known = _found.get(key)
    if known is None:
        known = _found[key] = isinstance(plugin, role)
    return known


def _shown(plugin: Plugin) -> str:
    return f"the admission plugin {plugin.name}; nothing is stored"
