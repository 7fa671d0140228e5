"""The ownership graph: which objects exist, whom they name as owners, what depends on them.

Kept as tuples and sets, not as objects: a cluster has many. An owner that is named but was never
seen is in the graph as a *virtual* item, so that its absence is checked once and its dependents are found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from google.protobuf.message import Message

from knarr.machinery.resources import Version
from knarr.machinery.type_names import names_of
from knarr.objects.keys import metadata_of

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


# The version that an apiVersion and a kind name; None for one that this cluster does not serve.
Find = Callable[[str, str], Version | None]


class Owner(NamedTuple):
    """One ownerReference. ``blocks`` is blockOwnerDeletion."""

    uid: str
    api_version: str
    kind: str
    name: str
    blocks: bool


class Item(NamedTuple):
    """One object, as far as ownership goes."""

    uid: str
    api_version: str
    kind: str
    namespace: str
    name: str
    owners: tuple[Owner, ...] = ()
    deleting: bool = False
    foreground: bool = False
    orphan: bool = False
    virtual: bool = False

    @property
    def deleting_dependents(self) -> bool:
        """Being deleted in the foreground: it waits for its dependents."""
        return self.deleting and self.foreground


def item_of(obj: Message) -> Item:
    metadata = metadata_of(obj)
    return Item(
        metadata.uid,
        *names_of(type(obj)),
        metadata.namespace,
        metadata.name,
        tuple(Owner(ref.uid, ref.api_version, ref.kind, ref.name, ref.block_owner_deletion) for ref in metadata.owner_references),
        metadata.HasField("deletion_timestamp"),
        FOREGROUND in metadata.finalizers,
        ORPHAN in metadata.finalizers,
    )


class Graph:
    """Not thread-safe; every method is quick. Answers the uids that need another look. ``find`` knows what is served."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._items: dict[str, Item] = {}
        self._dependents: defaultdict[str, set[str]] = defaultdict(set)
        # Virtual items of kinds that are not served, as far as is known.
        self._unknown: set[str] = set()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, uid: str) -> Item | None:
        return self._items.get(uid)

    def dependents(self, uid: str) -> list[Item]:
        """What names it as an owner, by name."""
        found = [self._items[dependent] for dependent in self._dependents.get(uid, ())]
        return sorted(found, key=lambda item: (item.kind, item.namespace, item.name))

    def in_circle(self, item: Item) -> bool:
        """Whether it waits for itself: it keeps an owner from going that waits for its dependents, and so on, back to it."""
        seen, ahead = set[str](), [owner.uid for owner in item.owners if owner.blocks] if item.deleting_dependents else []
        while ahead:
            uid = ahead.pop()
            owner = self._items.get(uid)
            if uid == item.uid:
                return True
            if uid not in seen and owner is not None and owner.deleting_dependents:
                ahead += [further.uid for further in owner.owners if further.blocks]
            seen.add(uid)
        return False

    def observe(self, item: Item) -> set[str]:
        """An object was added or changed."""
        before = self._items.get(item.uid)
        self._items[item.uid] = item
        self._unlink(before, item.owners)
        looks = {item.uid} if _needs_look(before, item) else set()
        for owner in item.owners:
            self._dependents[owner.uid].add(item.uid)
            if owner.uid not in self._items:
                self._items[owner.uid] = self._virtual(owner, item.namespace)
                looks.add(owner.uid)
        looks |= self._released(before, item)
        if item.deleting_dependents and (before is None or not before.deleting_dependents):
            looks |= {dependent.uid for dependent in self.dependents(item.uid)}
        return looks

    def learned(self) -> set[str]:
        """More may be served now: virtual items whose kind is known only since then."""
        looks: set[str] = set()
        for uid in list(self._unknown):
            item = self._items.get(uid)
            if item is None or not item.virtual:
                self._unknown.discard(uid)
            elif self._find(item.api_version, item.kind) is not None:
                self._unknown.discard(uid)
                self._items[uid] = self._virtual(Owner(uid, item.api_version, item.kind, item.name, blocks=False), item.namespace)
                looks.add(uid)
        return looks

    def remove(self, uid: str) -> set[str]:
        """An object is gone. Its dependents need a look, and owners that waited for it."""
        item = self._items.pop(uid, None)
        if item is None:
            return set()
        self._unlink(item, ())
        looks = set(self._dependents.get(uid, ()))
        for owner in item.owners:
            waiting = self._items.get(owner.uid)
            if waiting is not None and waiting.deleting_dependents:
                looks.add(owner.uid)
        return looks

    def _unlink(self, item: Item | None, keep: Iterable[Owner]) -> None:
        """Forgets the edges to owners that are named no longer, and virtual owners nobody names."""
        kept = {owner.uid for owner in keep}
        for owner in item.owners if item is not None else ():
            if owner.uid in kept:
                continue
            dependents = self._dependents.get(owner.uid)
            if dependents is None:
                continue
            dependents.discard(item.uid)  # type: ignore[union-attr]
            if not dependents:
                del self._dependents[owner.uid]
                known = self._items.get(owner.uid)
                if known is not None and known.virtual:
                    del self._items[owner.uid]
                    self._unknown.discard(owner.uid)

    def _virtual(self, owner: Owner, namespace: str) -> Item:
        version = self._find(owner.api_version, owner.kind)
        if version is None:
            self._unknown.add(owner.uid)
        cluster_scoped = version is not None and not version.resource.namespaced
        return Item(owner.uid, owner.api_version, owner.kind, "" if cluster_scoped else namespace, owner.name, virtual=True)

    def _released(self, before: Item | None, item: Item) -> set[str]:
        """Owners in foreground deletion that this change may set free."""
        if before is None:
            return set()
        now = {owner.uid for owner in item.owners if owner.blocks}
        lost = [owner.uid for owner in before.owners if owner.uid not in now]
        return {uid for uid in lost if (owner := self._items.get(uid)) is not None and owner.deleting_dependents}


def _needs_look(before: Item | None, item: Item) -> bool:
    if before is None or before.virtual:
        return bool(item.owners) or item.deleting
    fates = [(seen.owners, seen.deleting, seen.foreground, seen.orphan) for seen in (before, item)]
    return fates[0] != fates[1]
