"""Which objects refer to which Services and Secrets: said once for each object, with what it was compiled to. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, KeysView

from services.gateway.routing.table import Origin
from services.gateway.sources.compiled import Compiled, Name


class References:
    """``put`` replaces what an object referred to; None: it refers to nothing any more."""

    def __init__(self) -> None:
        self._said: dict[Origin, Compiled] = {}
        self._services: defaultdict[Name, set[Origin]] = defaultdict(set)
        self._secrets: defaultdict[Name, set[Origin]] = defaultdict(set)

    def put(self, origin: Origin, compiled: Compiled | None) -> None:
        before = self._said.pop(origin, None)
        if before is not None:
            _remove(self._services, before.services, origin)
            _remove(self._secrets, before.secrets, origin)
        if compiled is None:
            return
        self._said[origin] = compiled
        for name in compiled.services:
            self._services[name].add(origin)
        for name in compiled.secrets:
            self._secrets[name].add(origin)

    def of_service(self, name: Name) -> Collection[Origin]:
        """Who refers to it; empty: nobody."""
        return self._services.get(name, ())

    def of_secret(self, name: Name) -> Collection[Origin]:
        return self._secrets.get(name, ())

    @property
    def secrets(self) -> KeysView[Name]:
        """Those that anybody refers to."""
        return self._secrets.keys()


def _remove(index: defaultdict[Name, set[Origin]], names: Iterable[Name], origin: Origin) -> None:
    for name in names:
        index[name].discard(origin)
        if not index[name]:
            del index[name]
