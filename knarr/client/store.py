"""The local copy of a collection that an informer keeps, with indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from google.protobuf.message import Message

from knarr.objects.keys import Key, key_of

M = TypeVar("M", bound=Message)

IndexFunction = Callable[[M], Iterable[str]]


class _Index(Generic[M]):
    def __init__(self, function: IndexFunction[M]) -> None:
        self.function = function
        self.entries: dict[str, dict[Key, M]] = {}

    def add(self, key: Key, obj: M) -> None:
        for value in self.function(obj):
            self.entries.setdefault(value, {})[key] = obj

    def remove(self, key: Key, obj: M) -> None:
        for value in self.function(obj):
            members = self.entries.get(value)
            if members is not None:
                members.pop(key, None)
                if not members:
                    del self.entries[value]


class Store(Generic[M]):
    """Objects by key. They are shared with everybody: copy one before changing it."""

    def __init__(self) -> None:
        self._objects: dict[Key, M] = {}
        self._namespaces: _Index[M] = _Index(lambda obj: (key_of(obj).namespace,))
        self._indexes: dict[str, _Index[M]] = {}

    def get(self, namespace: str, name: str) -> M | None:
        """The object, or None; the namespace of a cluster-scoped object is empty."""
        return self._objects.get(Key(namespace, name))

    def list(self, namespace: str | None = None) -> list[M]:
        """All objects, or those of one namespace."""
        if namespace is None:
            return [*self._objects.values()]
        return [*self._namespaces.entries.get(namespace, {}).values()]

    def __iter__(self) -> Iterator[Key]:
        return iter([*self._objects])

    def index(self, name: str, value: str) -> Sequence[M]:
        """The objects for which the index function gave ``value``; KeyError for an unknown index."""
        return [*self._indexes[name].entries.get(value, {}).values()]

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, key: Key) -> bool:
        return key in self._objects

    def add_index(self, name: str, function: IndexFunction[M]) -> None:
        """Adds an index over what is and what will be stored; the same name again replaces it."""
        index = _Index(function)
        for key, obj in self._objects.items():
            index.add(key, obj)
        self._indexes[name] = index

    def put(self, obj: M) -> M | None:
        """Stores an object and answers the one it replaces. For the informer."""
        key = key_of(obj)
        old = self._objects.get(key)
        for index in (self._namespaces, *self._indexes.values()):
            if old is not None:
                index.remove(key, old)
            index.add(key, obj)
        self._objects[key] = obj
        return old

    def remove(self, key: Key) -> M | None:
        """Forgets an object and answers it. For the informer."""
        old = self._objects.pop(key, None)
        if old is not None:
            for index in (self._namespaces, *self._indexes.values()):
                index.remove(key, old)
        return old
