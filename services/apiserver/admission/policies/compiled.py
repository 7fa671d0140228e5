"""Policies with their bindings, compiled. What one evaluates is made when the first request needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from knarr.machinery.resources import Version
from services.apiserver.admission.matching import Match
from services.apiserver.aside import in_turn
from services.apiserver.entry import Entry

if TYPE_CHECKING:
    from knarr.machinery.cel.admission import Composed
    from knarr.machinery.cel.program import Program
    from knarr.machinery.cel.types import Type
    from services.apiserver.admission.conditions import Conditions
    from services.apiserver.admission.expressions import Expression, Pace

IGNORE, IF_NEEDED = "Ignore", "IfNeeded"
# Of a configuration whose expressions are compiled at once.
SMALL_BYTES = 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Binding:
    """``match`` is None where it is about all that the policy is about; ``spec`` is that of a binding of either kind."""

    name: str
    spec: Any
    match: Match | None

    def may_concern(self, operation: str, version: Version, subresource: str) -> bool:
        return self.match is None or self.match.may_concern(operation, version, subresource)


@dataclass(frozen=True, eq=False)
class Policy:
    """Of either kind, with all bindings that name it."""

    name: str
    spec: Any
    match: Match
    bindings: Sequence[Binding]

    def may_concern(self, operation: str, version: Version, subresource: str) -> bool:
        if not self.match.may_concern(operation, version, subresource):
            return False
        return any(binding.may_concern(operation, version, subresource) for binding in self.bindings)

    @property
    def ignores(self) -> bool:
        """Whether a request passes about which it could not be decided."""
        return bool(self.spec.failure_policy == IGNORE)

    @property
    def has_params(self) -> bool:
        return bool(self.spec.HasField("param_kind"))

    @property
    def param_names(self) -> tuple[str, str]:
        """apiVersion and kind of its parameters."""
        return self.spec.param_kind.api_version, self.spec.param_kind.kind

    @cached_property
    def pace(self) -> Pace:
        from services.apiserver.admission.expressions import Pace

        return Pace()

    @cached_property
    def conditions(self) -> Conditions | None:
        """None where there are none."""
        if not self.spec.match_conditions:
            return None
        from services.apiserver.admission.conditions import Conditions

        return Conditions.of(self.spec.match_conditions, params=self.has_params)

    @property
    def variables(self) -> Mapping[str, Program]:
        """Those that can be compiled; each sees those before it. An expression that names another one cannot be compiled, either."""
        return self._composed.programs

    @cached_property
    def _composed(self) -> Composed:
        from knarr.machinery.cel.admission import Composed, compiled
        from knarr.machinery.cel.errors import InvalidExpression

        found = Composed()
        for variable in self.spec.variables:
            try:
                found.define(variable.name, compiled(variable.expression, self._types(found.type), makes_objects=self._mutates))
            except InvalidExpression:
                continue
        return found

    def expression(self, source: str, results: Sequence[Type] = (), *, authorizer: bool = True) -> Expression:
        """One that sees all variables."""
        from services.apiserver.admission.expressions import Expression

        types = self._types(self._composed.type, authorizer=authorizer)
        return Expression.of(source, types, results, makes_objects=self._mutates)

    async def made(self, make: Callable[[Policy], T]) -> T:
        """What ``make`` compiles of the policy and its conditions; aside where that may be much work."""

        def work() -> T:
            _ = self.conditions
            return make(self)

        if self.spec.ByteSize() > SMALL_BYTES:
            return await in_turn(work)
        found = work()
        # There may be a hundred of them: others have their turn in between.
        await asyncio.sleep(0)
        return found

    def _types(self, variables: Type, *, authorizer: bool = True) -> Mapping[str, Type]:
        from knarr.machinery.cel.admission import environment

        return environment(params=self.has_params, authorizer=authorizer, variables=variables)

    @property
    def _mutates(self) -> bool:
        return "mutations" in self.spec.DESCRIPTOR.fields_by_name


class PolicyCompiler:
    """Makes policies with their bindings of what is stored. One that says what it said before stays the same, with all that was compiled
    of it: whoever changes one of a hundred, or tells its status, has not all of them compiled anew."""

    def __init__(self) -> None:
        self._known: Mapping[str, Policy] = {}

    def __call__(self, policies: Sequence[Entry], bindings: Sequence[Entry]) -> list[Policy]:
        """In the order of their names, each with its bindings in that of theirs. A policy that nothing binds says nothing."""
        bound: dict[str, list[tuple[str, Any]]] = {}
        for entry in bindings:
            spec = entry.shared_message.spec
            bound.setdefault(spec.policy_name, []).append((entry.name, spec))
        found = [self._policy(entry.name, entry.shared_message.spec, bound[entry.name]) for entry in policies if entry.name in bound]
        self._known = {policy.name: policy for policy in found}
        return found

    def _policy(self, name: str, spec: Any, bindings: Sequence[tuple[str, Any]]) -> Policy:
        known = self._known.get(name)
        if known is not None and known.spec == spec and [(binding.name, binding.spec) for binding in known.bindings] == bindings:
            return known
        return Policy(name, spec, Match.of_resources(spec.match_constraints), [_binding(*binding) for binding in bindings])


def _binding(name: str, spec: Any) -> Binding:
    return Binding(name, spec, Match.of_resources(spec.match_resources) if spec.HasField("match_resources") else None)
