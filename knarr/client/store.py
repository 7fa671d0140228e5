"""The local copy of a collection that an informer keeps, with indexes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from google.protobuf.message import Message

from knarr.client.index import Index, IndexClash, IndexMissing
from knarr.objects.keys import Key, key_of

M = TypeVar("M", bound=Message)


class _Entries(Generic[M]):
    """What an index finds."""

    def __init__(self, index: Index[M]) -> None:
        self.index = index
        self.entries: dict[str, dict[Key, M]] = {}

    def add(self, key: Key, obj: M) -> None:
        for value in self.index.keys(obj):
            self.entries.setdefault(value, {})[key] = obj

    def remove(self, key: Key, obj: M) -> None:
        for value in self.index.keys(obj):
            members = self.entries.get(value)
            if members is not None:
                members.pop(key, None)
                if not members:
                    del self.entries[value]


_NAMESPACE: Index[Message] = Index("namespace", lambda obj: (key_of(obj).namespace,))


class Store(Generic[M]):
    """Objects by key. They are shared with everybody: copy one before changing it."""

    def __init__(self) -> None:
        self._objects: dict[Key, M] = {}
        self._namespaces: _Entries[M] = _Entries(_NAMESPACE)
        self._indexes: dict[str, _Entries[M]] = {}

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

    def index(self, index: Index[M], key: str) -> Sequence[M]:
        """The objects that an index finds under ``key``; IndexMissing where nobody added that index."""
        found = self._indexes.get(index.name)
        if found is None or found.index != index:
            raise IndexMissing(index, [entries.index for entries in self._indexes.values()])
        return [*found.entries.get(key, {}).values()]

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, key: Key) -> bool:
        return key in self._objects

    def add_index(self, index: Index[M]) -> None:
        """Adds an index over what is and what will be stored; once more does nothing.

        IndexClash: the store has another one of that name.
        """
        known = self._indexes.get(index.name)
        if known is not None:
            if known.index != index:
                raise IndexClash(known.index, index)
            return
        entries = _Entries(index)
        for key, obj in self._objects.items():
            entries.add(key, obj)
        self._indexes[index.name] = entries

    def put(self, obj: M) -> M | None:
        """Stores an object and answers the one it replaces. For the informer."""
        key = key_of(obj)
        old = self._objects.get(key)
        for entries in (self._namespaces, *self._indexes.values()):
            if old is not None:
                entries.remove(key, old)
            entries.add(key, obj)
        self._objects[key] = obj
        return old

    def remove(self, key: Key) -> M | None:
        """Forgets an object and answers it. For the informer."""
        old = self._objects.pop(key, None)
        if old is not None:
            for entries in (self._namespaces, *self._indexes.values()):
                entries.remove(key, old)
        return old
