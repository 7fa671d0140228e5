"""From a URL's path to the collection or object that it names."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from urllib.parse import unquote

from knarr.machinery.resources import Registry, Route, Subresource, Version
from services.apiserver.results import Ref

# So many paths are remembered, of no more letters than those of objects have.
REMEMBERED, REMEMBERED_LETTERS = 2048, 512


@dataclass(frozen=True, slots=True)
class Target:
    """A collection (no ``name``), an object, or a sub-resource of one.

    ``scoped`` is False for a namespaced collection that is asked for over all namespaces. ``watched``: the path says ``watch`` before
    the resource, as watches were once asked for; it is about one object, then, where it has a name. ``path`` is what comes behind a
    sub-resource whose requests are passed on, as it was sent: empty, or with the slash that it begins with. ``ref`` is the same in the
    pipeline's words; made here, where a path that is in use is parsed once.
    """

    version: Version
    namespace: str = ""
    name: str = ""
    subresource: Subresource | None = None
    watched: bool = False
    path: str = ""
    ref: Ref = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        subresource = self.subresource.name if self.subresource is not None else ""
        object.__setattr__(self, "ref", Ref(self.version, self.namespace, self.name, subresource))

    @property
    def scoped(self) -> bool:
        return bool(self.namespace) or not self.version.resource.namespaced


class Router:
    """Finds targets for ``/api/v1/…`` and ``/apis/<group>/<version>/…``."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        # A path is parsed once while it is in use; watches and polls ask for the same ones again and again.
        self._known = lru_cache(maxsize=REMEMBERED)(self._target)

    def target(self, path: str) -> Target | None:
        """What a path names; to be asked for a caller who is known, since it is remembered."""
        if "/proxy" in path and (end := proxy_end(path)):
            found = self._known(path[:end]) if end <= REMEMBERED_LETTERS else self._target(path[:end])
            if found is not None and found.subresource is not None and found.subresource.route is Route.PROXY:
                return replace(found, path=path[end:]) if path[end:] else found
        return self._known(path) if len(path) <= REMEMBERED_LETTERS else self._target(path)

    def knows_group_version(self, path: str) -> bool:
        """Whether the path lies in a served group and version, or in a group of this server's own, whatever the version: else the answer is
        a bare 404."""
        _, root, group, version, *_ = [*path.split("/"), "", "", ""]
        if not group or root == "api":
            return bool(group)
        return root == "apis" and any(self._tells(served, group, version) for served in self._registry.versions)

    @staticmethod
    def _tells(served: Version, group: str, version: str) -> bool:
        return served.group == group and (served.form.has_message or served.version == version)

    def _target(self, path: str) -> Target | None:
        parts = path.rstrip("/").split("/")
        if parts[1:2] == ["api"] and len(parts) > 3:
            group, version, rest = "", parts[2], parts[3:]
        elif parts[1:2] == ["apis"] and len(parts) > 4:
            group, version, rest = parts[2], parts[3], parts[4:]
        else:
            return None
        rest = [unquote(part) for part in rest]
        if not all(rest):
            return None
        if rest[0] == "watch" and self._registry.served(group, version, "watch") is None:
            found = self._named(group, version, rest[1:])
            return None if found is None or found.subresource is not None else replace(found, watched=True)
        return self._named(group, version, rest)

    def _named(self, group: str, version: str, rest: list[str]) -> Target | None:
        if len(rest) >= 3 and rest[0] == "namespaces":
            found = self._resource(group, version, rest[2:], rest[1])
            if found is not None:
                return found
        return self._resource(group, version, rest, "")

    def _resource(self, group: str, version: str, rest: list[str], namespace: str) -> Target | None:
        if not 1 <= len(rest) <= 3:
            return None
        served = self._registry.served(group, version, rest[0])
        if served is None or (namespace and not served.resource.namespaced):
            return None
        name = rest[1] if len(rest) > 1 else ""
        if name and served.resource.namespaced and not namespace:
            return None
        subresource = served.subresource(rest[2]) if len(rest) == 3 else None
        if len(rest) == 3 and subresource is None:
            return None
        return Target(served, namespace, name, subresource)


def proxy_end(path: str) -> int:
    """Where, in a path, the sub-resource ``proxy`` of an object of the core group ends; 0 where it names none."""
    parts = path.split("/", 8)
    place = 7 if parts[3:4] == ["namespaces"] else 5
    if parts[1:2] != ["api"] or parts[place : place + 1] != ["proxy"]:
        return 0
    return len("/".join(parts[: place + 1]))
