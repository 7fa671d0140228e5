"""Where objects lie in the store, as Kubernetes lays them out: ``/registry/pods/<namespace>/<name>``."""

from __future__ import annotations

from knarr.machinery.kinds import Kind, Kinds

ROOT = "/registry/"
# The prefix of all keys, those of others included.
EVERYTHING = ""


def object_key(kind: Kind, namespace: str, name: str) -> str:
    return f"{kind.storage_prefix}{namespace}/{name}" if kind.namespaced else kind.storage_prefix + name


def collection_prefix(kind: Kind, namespace: str = "") -> str:
    """The prefix of a kind's keys, in one namespace when that is given."""
    return f"{kind.storage_prefix}{namespace}/" if namespace and kind.namespaced else kind.storage_prefix


def range_end(prefix: str) -> bytes:
    """The first key after all that begin with ``prefix``; etcd's word for no end when it is empty."""
    if not prefix:
        return b"\0"
    raw = prefix.encode()
    return raw[:-1] + bytes((raw[-1] + 1,))


class KeyKinds:
    """Finds the kind of a key. Kinds that are registered later are found too."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds
        self._by_prefix: dict[str, Kind] = {}

    def of(self, key: str) -> Kind | None:
        """None for keys that hold no registered kind (allocations, foreign kinds, what others keep)."""
        if not key.startswith(ROOT):
            return None
        return self._find(key) or (self._reload() and self._find(key)) or None

    def _find(self, key: str) -> Kind | None:
        end = key.find("/", len(ROOT))
        while end > 0:
            kind = self._by_prefix.get(key[: end + 1])
            if kind is not None:
                return kind
            end = key.find("/", end + 1)
        return None

    def _reload(self) -> bool:
        fresh = {kind.storage_prefix: kind for kind in self._kinds}
        changed = fresh.keys() != self._by_prefix.keys()
        self._by_prefix = fresh
        return changed
