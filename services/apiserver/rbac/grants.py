"""Which rules hold for whom, by the roles and bindings that the watch cache has.

What follows from them is worked out when it is first asked for, and anew once one of them has changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.machinery.catalog import version_of
from knarr.machinery.selectors import label_selector
from knarr.service.authentication import User
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.entries import Entries
from services.apiserver.rbac.index import Index
from services.apiserver.rbac.rules import Rule, Wish
from services.apiserver.storage.keys import collection_prefix
from services.apiserver.tokens.claims import ACCOUNT_PREFIX

ROLES, CLUSTER_ROLES, BINDINGS, CLUSTER_BINDINGS = KINDS = tuple(
    version_of(kind).resource for kind in (rbac.Role, rbac.ClusterRole, rbac.RoleBinding, rbac.ClusterRoleBinding)
)
CLUSTER_ROLE = "ClusterRole"
# Callers, by namespaces, whose rules are remembered, and namespaces whose bindings are; the others' are worked out again.
REMEMBERED = 1024
# Of whom somebody asks in a review there may be MiB of groups. A token has no more letters than this.
REMEMBERED_LETTERS = 4096


# A role by its kind, its namespace (empty for a ClusterRole) and its name.
RoleKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Granted:
    """``missing`` names the roles that somebody is bound to and that are not there, in Kubernetes' words."""

    index: Index
    missing: Sequence[str] = ()

    @property
    def rules(self) -> Sequence[Rule]:
        return self.index.rules


class Source(NamedTuple):
    """Where somebody's rules come from: a binding that names him or a group of his, and the role that it binds.

    ``rules`` is None when the role is not there.
    """

    binding: str
    namespace: str
    subject: tuple[str, str]
    role: rbac.RoleRef
    rules: Sequence[Rule] | None


class _Bound(NamedTuple):
    binding: str
    role: rbac.RoleRef


_BySubject = Mapping[tuple[str, str], Sequence[_Bound]]


class Grants:
    """Asked for each request of those whom roles speak of."""

    def __init__(self, cache: WatchCache) -> None:
        self._cache = cache
        self._seen: list[Entries] = []
        self._has_changed = False
        self._on_change: list[Callable[[], object]] = []
        cache.registry.subscribe(lambda old, new: self._tell())
        self._known: dict[tuple[User, str], Granted] = {}
        self._reasons: dict[tuple[User, Wish], str] = {}
        # What follows from roles taken together: most callers have the same ones in every namespace.
        self._together: dict[tuple[RoleKey, ...], Granted] = {}
        self._rules: dict[RoleKey, Sequence[Rule]] = {}
        # By namespace, which is empty for the whole cluster: the bindings, and by subject what they bind.
        self._bound: dict[str, tuple[Entries, _BySubject]] = {}

    def of(self, user: User, namespace: str) -> Granted:
        """What a user may do in a namespace, or where it is empty in the whole cluster."""
        self._follow()
        known = self._known.get((user, namespace))
        if known is None:
            known = self._granted(user, namespace)
            if letters_of(user) + len(namespace) <= REMEMBERED_LETTERS:
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[user, namespace] = known
        return known

    def subscribe(self, callback: Callable[[], object]) -> None:
        """Calls when a role or a binding may have changed, until when every answer that was given is the same; and when what is served
        has, as whoever remembers what was asked holds a definition that is gone, and all that was made of it."""
        self._on_change.append(callback)

    def rules_of(self, role: rbac.RoleRef, namespace: str) -> Sequence[Rule] | None:
        """The rules of a role that is bound in a namespace, or where that is empty in the whole cluster; None when it is not there."""
        self._follow()
        return self._role(_key(role, namespace))

    def sources(self, user: User, namespace: str) -> Iterator[Source]:
        """Every binding that counts for a user in a namespace, those of the whole cluster first. For who asks why: it is not remembered."""
        self._follow()
        for place, subject, bound in self._bindings(user, namespace):
            yield Source(bound.binding, place, subject, bound.role, self._role(_key(bound.role, place)))

    def reason(self, user: User, wish: Wish) -> str:
        """The binding by which something is allowed, in Kubernetes' words; empty where none does. For the audit log, which is told it of
        each request: that of the last ones is remembered."""
        self._follow()
        known = self._reasons.get((user, wish))
        if known is None:
            known = self._reason(user, wish)
            if letters_of(user) + sum(map(len, wish)) <= REMEMBERED_LETTERS:
                if len(self._reasons) >= REMEMBERED:
                    self._reasons.clear()
                self._reasons[user, wish] = known
        return known

    def _reason(self, user: User, wish: Wish) -> str:
        for source in self.sources(user, wish.namespace):
            if any(rule.allows(wish) for rule in source.rules or ()):
                kind, name = source.subject
                where, bound = (f"/{source.namespace}", "RoleBinding") if source.namespace else ("", "ClusterRoleBinding")
                binding = f'{bound} "{source.binding}{where}"'
                return f'RBAC: allowed by {binding} of {source.role.kind} "{source.role.name}" to {kind} "{name}"'
        return ""

    def cluster_roles(self) -> Iterator[str]:
        """The names of all ClusterRoles."""
        self._follow()
        return (entry.name for entry in self._seen[KINDS.index(CLUSTER_ROLES)])

    def _follow(self) -> None:
        """A listing is the same one until something of it changes; whether anything has is told, as to look costs a microsecond."""
        seen = self._seen
        if seen and not self._has_changed:
            return
        collections, self._has_changed = [self._cache.collection(kind) for kind in KINDS], False
        now = [collection.listing(kind.key_prefix) for kind, collection in zip(KINDS, collections, strict=True)]
        if not seen:
            self._seen = now
            for collection in collections:
                collection.listen(self._change)
            return
        if now[0] is seen[0] and now[1] is seen[1]:
            if now[2] is seen[2] and now[3] is seen[3]:
                return
        else:
            self._rules.clear()
            self._together.clear()
        self._seen = now
        self._known.clear()
        self._reasons.clear()

    def _change(self) -> None:
        self._has_changed = True
        self._tell()

    def _tell(self) -> None:
        for callback in self._on_change:
            callback()

    def _bound_in(self, place: str) -> _BySubject:
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

    def _bindings(self, user: User, namespace: str) -> Iterator[tuple[str, tuple[str, str], _Bound]]:
        for place in dict.fromkeys(("", namespace)):
            by_subject = self._bound_in(place)
            for subject in (("User", user.name), *(("Group", group) for group in user.groups)):
                for bound in by_subject.get(subject, ()):
                    yield place, subject, bound

    def _granted(self, user: User, namespace: str) -> Granted:
        keys = tuple(dict.fromkeys(_key(bound.role, place) for place, _, bound in self._bindings(user, namespace)))
        found = self._together.get(keys)
        if found is None:
            if len(self._together) >= REMEMBERED:
                self._together.clear()
            found = self._together[keys] = self._gathered(keys)
        return found

    def _gathered(self, keys: Sequence[RoleKey]) -> Granted:
        rules: list[Rule] = []
        missing: list[str] = []
        for kind, place, name in keys:
            found = self._role((kind, place, name))
            if found is None:
                missing.append(f'{kind.lower()}.{CLUSTER_ROLES.storage.group} "{name}" not found')
            else:
                rules += found
        return Granted(Index(rules), sorted(set(missing)))

    def _role(self, key: RoleKey) -> Sequence[Rule] | None:
        """The rules of a role; None when it is not there."""
        found = self._rules.get(key)
        if found is None:
            kind, place, name = key
            entry = self._cache.get(CLUSTER_ROLES if kind == CLUSTER_ROLE else ROLES, place, name)
            if entry is None:
                return None
            found = self._rules[key] = [Rule(said) for said in self._said(name, entry.shared_message)]
        return found

    def _said(self, name: str, role: Any) -> Iterator[rbac.PolicyRule]:
        """The rules of a role; of one that gathers others theirs, and so on, each role once. What is gathered holds before the controller
        has written it down."""
        seen, waiting = {name}, [role]
        while waiting:
            role = waiting.pop()
            if not isinstance(role, rbac.ClusterRole) or not role.HasField("aggregation_rule"):
                yield from role.rules
                continue
            selectors = [label_selector(selector) for selector in role.aggregation_rule.cluster_role_selectors]
            for entry in self._seen[KINDS.index(CLUSTER_ROLES)]:
                if entry.name not in seen and any(selector.matches(entry.labels) for selector in selectors):
                    seen.add(entry.name)
                    waiting.append(entry.shared_message)


def _key(role: rbac.RoleRef, namespace: str) -> RoleKey:
    return role.kind, "" if role.kind == CLUSTER_ROLE else namespace, role.name


def letters_of(user: User) -> int:
    """How much there is to be kept of somebody."""
    return len(user.name) + len(user.uid) + sum(map(len, user.groups)) + sum(len(value) for _, values in user.extra for value in values)


def _index(bindings: Entries) -> _BySubject:
    found: dict[tuple[str, str], list[_Bound]] = defaultdict(list)
    for entry in bindings:
        binding = entry.shared_message
        for subject in binding.subjects:
            found[_subject(subject, entry.namespace)].append(_Bound(entry.name, binding.role_ref))
    return found


def _subject(subject: rbac.Subject, namespace: str) -> tuple[str, str]:
    """A service account is the user of its name."""
    if subject.kind == "ServiceAccount":
        return "User", f"{ACCOUNT_PREFIX}{subject.namespace or namespace}:{subject.name}"
    return subject.kind, subject.name
