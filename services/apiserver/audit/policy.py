"""Which requests are kept in the audit log, and how much of them: a Policy of ``audit.k8s.io/v1``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from services.apiserver.results import Ref

RECEIVED, STARTED, COMPLETE, PANIC = "RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"
STAGES = (RECEIVED, STARTED, COMPLETE, PANIC)
# Requests of a kind are judged once: so many kinds are remembered.
REMEMBERED = 4096


class Level(IntEnum):
    """How much is kept; each one is all of those before it."""

    NONE = 0
    METADATA = 1
    REQUEST = 2
    REQUEST_RESPONSE = 3


WORDS = {Level.NONE: "None", Level.METADATA: "Metadata", Level.REQUEST: "Request", Level.REQUEST_RESPONSE: "RequestResponse"}


@dataclass(frozen=True, slots=True)
class Subject:
    """What a policy is asked about. ``ref`` is None for what is no resource, which then has a ``path``. A caller who is not known has no
    name."""

    user: str
    groups: tuple[str, ...]
    verb: str
    ref: Ref | None
    path: str


@dataclass(frozen=True, slots=True)
class Decision:
    level: Level
    omitted_stages: frozenset[str] = frozenset()
    omits_managed_fields: bool = False

    # As they are asked for on each request.
    word: str = field(init=False, compare=False)
    wants_request: bool = field(init=False, compare=False)
    wants_response: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        for name, value in (
            ("word", WORDS[self.level]),
            ("wants_request", self.level >= Level.REQUEST),
            ("wants_response", self.level >= Level.REQUEST_RESPONSE),
        ):
            object.__setattr__(self, name, value)


NOTHING = Decision(Level.NONE)


@dataclass(frozen=True, slots=True)
class Resources:
    """Of a group, the resources (``pods``, ``pods/log``, ``*/scale``, ``pods/*``, ``*``) and of those the names; empty: all."""

    group: str
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def covers(self, ref: Ref) -> bool:
        if self.group != ref.version.group:
            return False
        if not self.resources:
            return True
        if self.names and ref.name not in self.names:
            return False
        return any(_is_resource(pattern, ref.resource.plural, ref.subresource) for pattern in self.resources)


@dataclass(frozen=True, slots=True)
class Rule:
    """Whatever is empty is not asked for. The first rule that covers a request decides."""

    level: Level
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[Resources, ...] = ()
    namespaces: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    omitted_stages: frozenset[str] = frozenset()
    # None: as the policy says.
    omits_managed_fields: bool | None = None

    def covers(self, subject: Subject) -> bool:
        if self.users and subject.user not in self.users:
            return False
        if self.groups and not any(group in self.groups for group in subject.groups):
            return False
        if self.verbs and subject.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            return subject.ref is not None and self._covers_resource(subject.ref)
        if self.paths:
            return subject.ref is None and any(_is_path(pattern, subject.path) for pattern in self.paths)
        return True

    def _covers_resource(self, ref: Ref) -> bool:
        """A namespace of "" stands for what lies in none."""
        if self.namespaces and ref.namespace not in self.namespaces:
            return False
        return not self.resources or any(found.covers(ref) for found in self.resources)


class Policy:
    """Rules in their order. Who asks for the same again is answered from memory: a policy may have a hundred rules."""

    def __init__(self, rules: Sequence[Rule], omitted_stages: frozenset[str] = frozenset(), *, omits_managed_fields: bool = False) -> None:
        self.rules, self._omitted_stages, self._omits_managed_fields = tuple(rules), omitted_stages, omits_managed_fields
        self._by_name = any(found.names for rule in rules for found in rule.resources)
        self._known: dict[tuple[object, ...], Decision] = {}

    def decide(self, subject: Subject) -> Decision:
        """What becomes of a request; nothing is kept where no rule covers it."""
        rule = next((rule for rule in self.rules if rule.covers(subject)), None)
        if rule is None or rule.level is Level.NONE:
            return NOTHING
        omits = self._omits_managed_fields if rule.omits_managed_fields is None else rule.omits_managed_fields
        return Decision(rule.level, self._omitted_stages | rule.omitted_stages, omits)

    def of_resource(self, user: str, groups: tuple[str, ...], verb: str, ref: Ref) -> Decision:
        """The same for a request about a resource, from memory where it can be."""
        name = ref.name if self._by_name else ""
        key = (user, groups, verb, ref.version.group, ref.resource.plural, ref.subresource, ref.namespace, name)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = self._known[key] = self.decide(Subject(user, groups, verb, ref, ""))
        return found


def _is_resource(pattern: str, plural: str, subresource: str) -> bool:
    if pattern in ("*", f"{plural}/{subresource}" if subresource else plural):
        return True
    if subresource and pattern.startswith("*/"):
        return pattern[2:] == subresource
    # As in Kubernetes, the object itself too.
    return pattern.endswith("/*") and pattern[:-2] == plural


def _is_path(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))
