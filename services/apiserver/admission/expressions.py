"""Expressions of webhooks and policies, carried out on a request. Loaded by those alone who have such expressions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from knarr.machinery.cel import values
from knarr.machinery.cel.admission import AUTHORIZER_NAME, CALL_LIMIT, NAMESPACE, OBJECT, OLD_OBJECT, REQUEST
from knarr.machinery.cel.authorization import AskingAuthorizer, Check, Decision
from knarr.machinery.cel.errors import CostExceeded, EvaluationError, InvalidExpression
from knarr.machinery.cel.program import Program
from knarr.machinery.errors import Forbidden, StatusError
from knarr.machinery.resources import Registry, Version
from knarr.service.authentication import User
from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.outside import Outside
from services.apiserver.admission.shown import Json, Shown
from services.apiserver.aside import LARGE_BYTES, in_turn
from services.apiserver.authorization import imagined, imagined_path, permit
from services.apiserver.request import Request
from services.apiserver.results import Ref
from services.apiserver.tokens.claims import ACCOUNT_PREFIX, ACCOUNTS_GROUP

T = TypeVar("T")

OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"
# Of one request, for one configuration: each may ask a webhook of the authorizer's.
MOST_CHECKS = 64
# Whoever took longer is not carried out where everybody waits any more; behind who took that long others have their turn.
SLOW_SECONDS, TURN_SECONDS = 0.005, 0.001
# Fields of a namespace that are points in time.
TIMES = ("creationTimestamp", "deletionTimestamp")


class ExpressionFailed(Exception):
    """An expression could not be carried out on a request: the words are Kubernetes'."""


class OutOfBudget(Exception):
    """Nothing more is carried out for this request."""

    def __init__(self) -> None:
        super().__init__(OUT_OF_BUDGET)


class Undecided(Exception):
    """The authorizer is to be asked first; who evaluates begins anew with its answer."""

    def __init__(self, check: Check) -> None:
        super().__init__(check)
        self.check = check


@dataclass(slots=True)
class Budget:
    """What all expressions may still cost, in units."""

    left: int

    def spend(self, cost: int) -> None:
        """Raises OutOfBudget."""
        self.left -= cost
        if self.left < 0:
            raise OutOfBudget


@dataclass(frozen=True, slots=True)
class Expression:
    """``problem`` is why there is no program: a stored expression that is none any more."""

    source: str
    program: Program | None
    problem: str = ""

    @classmethod
    def of(cls, source: str, compiled: Callable[[str], Program]) -> Expression:
        """``compiled`` raises InvalidExpression."""
        try:
            return cls(source, compiled(source))
        except InvalidExpression as error:
            return cls(source, None, error.message)

    def evaluate(self, seen: dict[str, Any], budget: Budget) -> Any:
        """Raises ExpressionFailed, OutOfBudget, Undecided."""
        if self.program is None:
            raise ExpressionFailed(f"compilation error: {self.problem}")
        try:
            value, cost = self.program.evaluate(seen, CALL_LIMIT)
        except (EvaluationError, CostExceeded) as error:
            budget.spend(getattr(error, "cost", 0))
            raise ExpressionFailed(f"expression '{self.source}' resulted in error: {error}") from None
        budget.spend(cost)
        return value


@dataclass(slots=True)
class Pace:
    """Of one configuration: whether its expressions have shown to take long."""

    slow: bool = False

    async def measured(self, work: Callable[[dict[str, Any]], T], seen: dict[str, Any]) -> T:
        """What ``work`` makes of it, at once. Others have their turn then where it took a moment: there may be many configurations."""
        begun = time.perf_counter()
        try:
            return work(seen)
        finally:
            took = time.perf_counter() - begun
            self.slow = self.slow or took > SLOW_SECONDS
            if took > TURN_SECONDS:
                await asyncio.sleep(0)


@dataclass(slots=True)
class Scene:
    """A request as expressions see it, in one version."""

    shown: Shown
    outside: Outside
    version: Version
    facts: Json
    registry: Registry
    # Variables besides those that every expression sees.
    more: Mapping[str, Any]
    _decisions: dict[Check, Decision] = field(default_factory=dict)

    @property
    def attributes(self) -> Attributes:
        return self.shown.attributes

    async def evaluated(self, work: Callable[[dict[str, Any]], T], pace: Pace, **more: Any) -> T:
        """What ``work`` makes of the variables, to which ``more`` are added. It is begun anew with each answer of the authorizer that it
        turns out to need."""
        seen: dict[str, Any] = {OBJECT: await self.shown.object(self.version), OLD_OBJECT: await self.shown.old(self.version)}
        seen |= {REQUEST: self.facts, NAMESPACE: None, AUTHORIZER_NAME: self._authorizer(), **self.more, **more}
        size_bytes = self.shown.size_bytes
        for _ in range(MOST_CHECKS + 1):
            try:
                if pace.slow or size_bytes > LARGE_BYTES:
                    return await in_turn(work, dict(seen))
                return await pace.measured(work, dict(seen))
            except Undecided as wanted:
                self._decisions[wanted.check] = await self._decide(wanted.check)
        raise ExpressionFailed(f"the authorizer was asked more than {MOST_CHECKS} times about one request")

    def _authorizer(self) -> AskingAuthorizer:
        attributes = self.attributes
        requested = Check(
            group=attributes.request.ref.version.group,
            resource=attributes.resource.plural,
            subresource=attributes.subresource,
            namespace=attributes.namespace,
            name=attributes.name,
        )
        return AskingAuthorizer(Check(), self._known, requested)

    def _known(self, check: Check) -> Decision:
        found = self._decisions.get(check)
        if found is None:
            raise Undecided(check)
        return found

    async def _decide(self, check: Check) -> Decision:
        request = self.attributes.request
        user = request.user if check.account is None else _account(*check.account)
        if check.path:
            ref = Ref(imagined_path(check.path))
        else:
            version = self.registry.preferred(check.group, check.resource) or imagined(check.group, check.resource)
            ref = Ref(version, check.namespace, check.name, check.subresource)
        try:
            await permit(self.outside.authorizer, Request(user, check.verb, ref, None, request.deadline))
        except Forbidden as error:
            return Decision(False, error.status.message)
        except StatusError as error:
            return Decision(False, "", error.status.message)
        return Decision(True)


def _account(namespace: str, name: str) -> User:
    groups = (ACCOUNTS_GROUP, f"{ACCOUNTS_GROUP}:{namespace}", "system:authenticated")
    return User(f"{ACCOUNT_PREFIX}{namespace}:{name}", groups=groups)


def namespace_shown(value: Json) -> Json:
    """A namespace's JSON as ``namespaceObject``: without what of its metadata is nobody's business, times as such."""
    said = {name: item for name, item in value["metadata"].items() if item is not None}
    metadata = {name: item for name, item in said.items() if name not in ("managedFields", "ownerReferences")}
    for name in TIMES:
        if name in metadata:
            metadata[name] = values.timestamp(metadata[name])
    return {**value, "metadata": metadata}
