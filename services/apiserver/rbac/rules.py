"""What a rule of a role allows. Pure; as specified by Kubernetes' RBAC."""

from __future__ import annotations

from typing import NamedTuple

from knarr.api.rbac.v1 import rbac_pb2 as rbac
from services.apiserver.authorization import name_of, path_of
from services.apiserver.request import Request

ALL = "*"


class Wish(NamedTuple):
    """What somebody wants to do: to a resource, or, where ``path`` is set, to another path of the server."""

    verb: str
    group: str = ""
    # With the sub-resource behind a slash.
    resource: str = ""
    subresource: str = ""
    name: str = ""
    namespace: str = ""
    path: str = ""

    @classmethod
    def of(cls, request: Request) -> Wish:
        """What a request is about."""
        ref = request.ref
        plural, subresource = ref.resource.plural, ref.subresource
        if path := path_of(ref):
            return cls(request.verb, path=path)
        resource = f"{plural}/{subresource}" if subresource else plural
        return cls(request.verb, ref.version.group, resource, subresource, name_of(request), ref.place)


class Rule:
    """One rule, compiled."""

    __slots__ = ("_groups", "_names", "_paths", "_prefixes", "_resources", "_verbs", "said")

    def __init__(self, said: rbac.PolicyRule) -> None:
        self.said = said
        self._verbs, self._groups = frozenset(said.verbs), frozenset(said.api_groups)
        self._resources, self._names = frozenset(said.resources), frozenset(said.resource_names)
        self._paths = frozenset(said.non_resource_urls)
        self._prefixes = tuple(path[:-1] for path in said.non_resource_urls if path.endswith(ALL))

    def allows(self, wish: Wish) -> bool:
        if wish.verb not in self._verbs and ALL not in self._verbs:
            return False
        if wish.path:
            return wish.path in self._paths or wish.path.startswith(self._prefixes)
        if wish.group not in self._groups and ALL not in self._groups:
            return False
        if self._names and wish.name not in self._names:
            return False
        resources = self._resources
        return wish.resource in resources or ALL in resources or bool(wish.subresource and f"{ALL}/{wish.subresource}" in resources)

    def covers(self, part: Wish) -> bool:
        """Whether this rule allows a single thing of another rule, in that one's own words: `*` is covered by `*` alone, an empty name
        by a rule that names none."""
        if part.verb not in self._verbs and ALL not in self._verbs:
            return False
        if part.path:
            return part.path in self._paths or part.path.removesuffix(ALL).startswith(self._prefixes)
        if part.group not in self._groups and ALL not in self._groups:
            return False
        if self._names and (not part.name or part.name not in self._names):
            return False
        _, slash, subresource = part.resource.partition("/")
        resources = self._resources
        return part.resource in resources or ALL in resources or bool(slash and f"{ALL}/{subresource}" in resources)
