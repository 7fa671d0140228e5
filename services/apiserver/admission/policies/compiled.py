"""Policies with their bindings, compiled. What one evaluates is made when the first request needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from knarr.machinery.resources import Version
from services.apiserver.admission.consulted import Consulted
from services.apiserver.admission.matching import Match
from services.apiserver.entry import Entry

if TYPE_CHECKING:
    from knarr.machinery.cel.admission import Composed
    from knarr.machinery.cel.program import Program
    from knarr.machinery.cel.types import Type
    from services.apiserver.admission.expressions import Expression, Pace

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
class Policy(Consulted):
    """Of either kind, with all bindings that name it; its spec says it."""

    name: str
    bindings: Sequence[Binding]
    # What its plugin has compiled of it.
    _made: list[Any] = field(default_factory=list, init=False)

    def may_concern(self, operation: str, version: Version, subresource: str) -> bool:
        if not super().may_concern(operation, version, subresource):
            return False
        return any(binding.may_concern(operation, version, subresource) for binding in self.bindings)

    @property
    def has_params(self) -> bool:
        return bool(self.said.HasField("param_kind"))

    @property
    def param_names(self) -> tuple[str, str]:
        """apiVersion and kind of its parameters."""
        return self.said.param_kind.api_version, self.said.param_kind.kind

    @cached_property
    def pace(self) -> Pace:
        from services.apiserver.admission.expressions import Pace

        return Pace()

    @property
    def variables(self) -> Mapping[str, Program]:
        """Those that can be compiled; each sees those before it. An expression that names another one cannot be compiled, either."""
        return self._composed.programs

    @cached_property
    def _composed(self) -> Composed:
        from knarr.machinery.cel.admission import Composed

        return Composed.of_policy(self.said)

    def expression(self, source: str, results: Sequence[Type] = (), *, authorizer: bool = True) -> Expression:
        """One that sees all variables."""
        from services.apiserver.admission.expressions import Expression

        return Expression.of(source, partial(self._composed.compiled, results=results, authorizer=authorizer))

    async def made(self, make: Callable[[Policy], T]) -> T:
        """What ``make`` compiles of the policy, by the first request that needs it; always the same is to be asked for."""
        if not self._made:
            self._made.append(await self.compiled(partial(make, self)))
        found: T = self._made[0]
        return found


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
        if known is not None and known.said == spec and [(binding.name, binding.spec) for binding in known.bindings] == bindings:
            return known
        return Policy(spec, Match.of_resources(spec.match_constraints), name, [_binding(*binding) for binding in bindings])


def _binding(name: str, spec: Any) -> Binding:
    return Binding(name, spec, Match.of_resources(spec.match_resources) if spec.HasField("match_resources") else None)
