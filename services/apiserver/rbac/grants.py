"""Which rules hold for whom, by the roles and bindings that the watch cache has.

What follows from them is worked out when it is first asked for, and anew once one of them has changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.machinery.catalog import version_of
from knarr.machinery.selectors import label_selector
from knarr.service.authentication import User
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.entries import Entries
from services.apiserver.rbac.rules import Rule
from services.apiserver.storage.keys import collection_prefix
from services.apiserver.tokens.claims import ACCOUNT_PREFIX

ROLES, CLUSTER_ROLES, BINDINGS, CLUSTER_BINDINGS = KINDS = tuple(
    version_of(kind).resource for kind in (rbac.Role, rbac.ClusterRole, rbac.RoleBinding, rbac.ClusterRoleBinding)
)
# Callers, by namespaces, whose rules are remembered, and namespaces whose bindings are; the others' are worked out again.
REMEMBERED = 1024
# Of whom somebody asks in a review there may be MiB of groups. A token has no more letters than this.
REMEMBERED_LETTERS = 4096


@dataclass(frozen=True, slots=True)
class Granted:
    """``missing`` names the roles that somebody is bound to and that are not there, in Kubernetes' words."""

    rules: Sequence[Rule] = ()
    missing: Sequence[str] = ()


class Grants:
    """Asked for each request of those whom roles speak of."""

    def __init__(self, cache: WatchCache) -> None:
        self._cache = cache
        self._seen: list[Entries] = []
        self._known: dict[tuple[User, str], Granted] = {}
        self._rules: dict[tuple[str, str, str], Sequence[Rule]] = {}
        # By namespace, which is empty for the whole cluster: the bindings, and by subject the roles.
        self._bound: dict[str, tuple[Entries, Mapping[tuple[str, str], Sequence[rbac.RoleRef]]]] = {}

    def of(self, user: User, namespace: str) -> Granted:
        """What a user may do in a namespace, or where it is empty in the whole cluster."""
        self._follow()
        known = self._known.get((user, namespace))
        if known is None:
            known = self._granted(user, namespace)
            if _letters(user) + len(namespace) <= REMEMBERED_LETTERS:
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[user, namespace] = known
        return known

    def rules_of(self, role: rbac.RoleRef, namespace: str) -> Sequence[Rule] | None:
        """The rules of a role that is bound in a namespace, or where that is empty in the whole cluster; None when it is not there."""
        self._follow()
        return self._role(role, namespace)

    def _follow(self) -> None:
        """A listing is the same one until something of it changes."""
        seen = [self._cache.collection(kind).listing(kind.key_prefix) for kind in KINDS]
        if all(now is before for now, before in zip(seen, self._seen, strict=False)) and self._seen:
            return
        self._seen = seen
        self._known.clear()
        self._rules.clear()

    def _bound_in(self, place: str) -> Mapping[tuple[str, str], Sequence[rbac.RoleRef]]:
        """Only the bindings of a namespace in which something has changed are read anew."""
        kind = BINDINGS if place else CLUSTER_BINDINGS
        bindings = self._cache.collection(kind).listing(collection_prefix(kind, place))
        before, known = self._bound.get(place, (None, None))
        if known is None or before is not bindings:
            known = _index(bindings)
            if not bindings.blocks and place:
                return known
            if len(self._bound) >= REMEMBERED:
                self._bound.clear()
            self._bound[place] = bindings, known
        return known

    def _granted(self, user: User, namespace: str) -> Granted:
        rules: list[Rule] = []
        missing: list[str] = []
        for place in dict.fromkeys(("", namespace)):
            bound = self._bound_in(place)
            for subject in (("User", user.name), *(("Group", group) for group in user.groups)):
                for role in bound.get(subject, ()):
                    found = self._role(role, place)
                    if found is None:
                        missing.append(f'{role.kind.lower()}.{role.api_group} "{role.name}" not found')
                    else:
                        rules += found
        return Granted(rules, sorted(set(missing)))

    def _role(self, ref: rbac.RoleRef, namespace: str) -> Sequence[Rule] | None:
        """The rules of a role; None when it is not there."""
        kind, place = (CLUSTER_ROLES, "") if ref.kind == "ClusterRole" else (ROLES, namespace)
        key = (ref.kind, place, ref.name)
        found = self._rules.get(key)
        if found is None:
            entry = self._cache.get(kind, place, ref.name)
            if entry is None:
                return None
            found = self._rules[key] = [Rule(said) for said in self._said(ref.name, entry.shared_message)]
        return found

    def _said(self, name: str, role: Any) -> Iterator[rbac.PolicyRule]:
        """The rules of a role, and of those that it gathers, and so on; each role once."""
        seen, waiting = {name}, [role]
        while waiting:
            role = waiting.pop()
            yield from role.rules
            if not isinstance(role, rbac.ClusterRole) or not role.HasField("aggregation_rule"):
                continue
            selectors = [label_selector(selector) for selector in role.aggregation_rule.cluster_role_selectors]
            for entry in self._seen[KINDS.index(CLUSTER_ROLES)]:
                if entry.name not in seen and any(selector.matches(entry.labels) for selector in selectors):
                    seen.add(entry.name)
                    waiting.append(entry.shared_message)


def _letters(user: User) -> int:
    return len(user.name) + len(user.uid) + sum(map(len, user.groups)) + sum(len(value) for _, values in user.extra for value in values)


def _index(bindings: Entries) -> Mapping[tuple[str, str], Sequence[rbac.RoleRef]]:
    found: dict[tuple[str, str], list[rbac.RoleRef]] = defaultdict(list)
    for entry in bindings:
        binding = entry.shared_message
        for subject in binding.subjects:
            found[_subject(subject, entry.namespace)].append(binding.role_ref)
    return found


def _subject(subject: rbac.Subject, namespace: str) -> tuple[str, str]:
    """A service account is the user of its name."""
    if subject.kind == "ServiceAccount":
        return "User", f"{ACCOUNT_PREFIX}{subject.namespace or namespace}:{subject.name}"
    return subject.kind, subject.name
