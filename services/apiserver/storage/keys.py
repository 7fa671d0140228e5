"""Where objects lie in the store, as Kubernetes lays them out: ``/registry/pods/<namespace>/<name>``."""

from __future__ import annotations

from knarr.machinery.resources import Registry, Resource

ROOT = "/registry/"
# The prefix of all keys, those of others included.
EVERYTHING = ""


def object_key(resource: Resource, namespace: str, name: str) -> str:
    return f"{resource.key_prefix}{namespace}/{name}" if resource.namespaced else resource.key_prefix + name


def collection_prefix(resource: Resource, namespace: str = "") -> str:
    """The prefix of a resource's keys, in one namespace when that is given."""
    return f"{resource.key_prefix}{namespace}/" if namespace and resource.namespaced else resource.key_prefix


def range_end(prefix: str) -> bytes:
    """The first key after all that begin with ``prefix``; etcd's word for no end when it is empty."""
    if not prefix:
        return b"\0"
    raw = prefix.encode()
    return raw[:-1] + bytes((raw[-1] + 1,))


class KeyResources:
    """Finds the resource of a key, as the registry has it now."""

    def __init__(self, registry: Registry) -> None:
        self._by_prefix = {resource.key_prefix: resource for resource in registry}
        registry.subscribe(self._changed)

    def of(self, key: str) -> Resource | None:
        """None for keys that hold no registered resource (allocations, foreign resources, what others keep)."""
        if not key.startswith(ROOT):
            return None
        end = key.find("/", len(ROOT))
        while end > 0:
            resource = self._by_prefix.get(key[: end + 1])
            if resource is not None:
                return resource
            end = key.find("/", end + 1)
        return None

    def _changed(self, old: Resource | None, new: Resource | None) -> None:
        if old is not None:
            del self._by_prefix[old.key_prefix]
        if new is not None:
            self._by_prefix[new.key_prefix] = new
