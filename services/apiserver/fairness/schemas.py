"""Which flow a request belongs to: the first FlowSchema that covers it says its priority level and what tells flows apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from knarr.api.flowcontrol.v1 import flowcontrol_pb2 as flowcontrol
from knarr.service.authentication import User
from services.apiserver.fairness.level import Shape

ALL = "*"
ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as schemas see it. What is no resource has a ``path``; what lies in no namespace, an empty one."""

    user: User
    verb: str
    group: str = ""
    # With the sub-resource behind a slash, where one is named.
    resource: str = ""
    namespace: str = ""
    path: str = ""


class Subjects:
    """Who a rule is about."""

    def __init__(self, subjects: Iterable[flowcontrol.Subject]) -> None:
        self._users: set[str] = set()
        self._groups: set[str] = set()
        self._accounts: set[str] = set()
        for subject in subjects:
            if subject.kind == "User":
                self._users.add(subject.user.name)
            elif subject.kind == "Group":
                self._groups.add(subject.group.name)
            else:
                account = subject.service_account
                self._accounts.add(
                    f"{ACCOUNT}{account.namespace}:" if account.name == ALL else f"{ACCOUNT}{account.namespace}:{account.name}"
                )

    def cover(self, user: User) -> bool:
        if user.name in self._users or ALL in self._users or ALL in self._groups:
            return True
        if any(group in self._groups for group in user.groups):
            return True
        name = user.name
        return name.startswith(ACCOUNT) and (name in self._accounts or f"{name.rpartition(':')[0]}:" in self._accounts)


class Rule:
    def __init__(self, rule: flowcontrol.PolicyRulesWithSubjects) -> None:
        self._subjects = Subjects(rule.subjects)
        self._resources = tuple(rule.resource_rules)
        self._paths = tuple(rule.non_resource_rules)

    def covers(self, asked: Asked) -> bool:
        if not self._subjects.cover(asked.user):
            return False
        if asked.path:
            return any(
                _has(rule.verbs, asked.verb) and any(_is_path(url, asked.path) for url in rule.non_resource_urls) for rule in self._paths
            )
        return any(_covers(rule, asked) for rule in self._resources)


def _covers(rule: Any, asked: Asked) -> bool:
    if not (_has(rule.verbs, asked.verb) and _has(rule.api_groups, asked.group) and _has(rule.resources, asked.resource)):
        return False
    return _has(rule.namespaces, asked.namespace) if asked.namespace else bool(rule.cluster_scope)


def _has(values: Sequence[str], value: str) -> bool:
    return ALL in values or value in values


def _is_path(pattern: str, path: str) -> bool:
    return pattern in (ALL, path) or (pattern.endswith("/*") and path.startswith(pattern[:-1]))


@dataclass(frozen=True, slots=True)
class Schema:
    """``method`` is ByUser, ByNamespace, or empty where all that it covers is one flow."""

    name: str
    uid: str
    level: str
    precedence: int
    method: str
    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, obj: flowcontrol.FlowSchema) -> Schema:
        spec = obj.spec
        method = spec.distinguisher_method.type if spec.HasField("distinguisher_method") else ""
        rules = tuple(map(Rule, spec.rules))
        return cls(obj.metadata.name, obj.metadata.uid, spec.priority_level_configuration.name, spec.matching_precedence, method, rules)

    def covers(self, asked: Asked) -> bool:
        return any(rule.covers(asked) for rule in self.rules)

    def distinguisher(self, asked: Asked) -> str:
        if self.method == "ByUser":
            return asked.user.name
        return asked.namespace if self.method == "ByNamespace" else ""


def in_order(schemas: Iterable[Schema]) -> list[Schema]:
    """As they are asked; of equals, by name."""
    return sorted(schemas, key=lambda schema: (schema.precedence, schema.name))


def shape_of(obj: flowcontrol.PriorityLevelConfiguration) -> Shape:
    """What a level is like."""
    spec = obj.spec
    if spec.type == "Exempt":
        return Shape(obj.metadata.name, True, spec.exempt.nominal_concurrency_shares, spec.exempt.lendable_percent)
    limited, queuing = spec.limited, spec.limited.limit_response.queuing
    queued = spec.limited.limit_response.type == "Queue"
    return Shape(
        obj.metadata.name,
        False,
        limited.nominal_concurrency_shares,
        limited.lendable_percent,
        limited.borrowing_limit_percent if limited.HasField("borrowing_limit_percent") else None,
        queuing.queues if queued else 0,
        queuing.hand_size if queued else 0,
        queuing.queue_length_limit if queued else 0,
    )
