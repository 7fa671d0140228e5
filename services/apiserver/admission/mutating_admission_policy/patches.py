"""What a mutation makes of an object: a part of it that is applied, or a JSON patch. Loaded by those alone who have policies. Pure.

Specified by Kubernetes' plugin ``MutatingAdmissionPolicy``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from knarr.machinery.cel.admission import POLICY_LIMIT, VARIABLES, Variables
from knarr.machinery.cel.compiler import MADE, PATCH
from knarr.machinery.cel.errors import EvaluationError
from knarr.machinery.cel.json_values import as_json, check_types
from knarr.machinery.cel.program import Program
from knarr.machinery.cel.types import DYN, Type, list_of
from knarr.machinery.cel.values import MadeObject
from knarr.machinery.errors import StatusError
from knarr.machinery.fieldsets.check import problems
from knarr.machinery.fieldsets.descriptors import shape_of
from knarr.machinery.fieldsets.merge import merge
from knarr.machinery.fieldsets.shape import Shape
from knarr.machinery.patches import json_patch
from knarr.machinery.patches.problems import detail_of
from knarr.machinery.resources import Version
from knarr.machinery.schema import descriptor_of
from services.apiserver.admission.expressions import Budget, Expression, ExpressionFailed, OutOfBudget
from services.apiserver.admission.policies.compiled import Policy
from services.apiserver.admission.shown import Json
from services.apiserver.apply.versions import shape_of_version

APPLY, JSON_PATCH = "ApplyConfiguration", "JSONPatch"
# A value is copied with each operation that names it.
MAX_OPERATIONS = 1000


class MutationFailed(Exception):
    """A mutation could not be made: the policy's failurePolicy says what becomes of that."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """``sort`` is ApplyConfiguration or JSONPatch."""

    variables: Mapping[str, Program]
    sort: str
    expression: Expression

    @classmethod
    def all_of(cls, policy: Policy) -> list[Mutation]:
        found = []
        for said in policy.said.mutations:
            if said.patch_type == APPLY:
                expression = policy.expression(said.apply_configuration.expression, [Type(MADE)])
            else:
                expression = policy.expression(said.json_patch.expression, [list_of(PATCH), list_of(DYN)])
            found.append(cls(policy.variables, said.patch_type, expression))
        return found

    def value(self, seen: dict[str, Any]) -> Any:
        """What its expression answers: a part of an object, or the operations of a patch, as JSON. Raises MutationFailed, Undecided."""
        seen[VARIABLES] = Variables(self.variables, seen)
        try:
            found = self.expression.evaluate(seen, Budget(POLICY_LIMIT))
            return _part(found) if self.sort == APPLY else [_operation(item) for item in _listed(found)]
        except (ExpressionFailed, OutOfBudget) as error:
            raise MutationFailed(str(error)) from None
        except EvaluationError as error:
            raise MutationFailed(f"type mismatch: {error}") from None

    def mutated(self, value: Any, original: Json, shape: Shape) -> Json:
        """The object with the mutation in it. Raises MutationFailed."""
        if self.sort == APPLY:
            return applied(shape, original, value)
        try:
            found = json_patch.apply(original, value)
        except json_patch.FailedTest:
            # It leaves everything as it is, as in Kubernetes.
            return original
        except StatusError as error:
            raise MutationFailed(f"JSONPath: {detail_of(error)}") from None
        if not isinstance(found, dict):
            raise MutationFailed("JSONPath: it leaves no JSON object")
        return found


def shape_for(version: Version, obj: Any) -> Shape:
    """The shape of the JSON of an object of a version, or of the body of a sub-resource."""
    if isinstance(obj, (version.message, version.resource.storage.message)):
        return shape_of_version(version)
    return shape_of(descriptor_of(type(obj)))


def applied(shape: Shape, original: Json, part: Json) -> Json:
    """Raises MutationFailed for a part that is none of such an object, or would replace what is one whole."""
    part = {**part, "apiVersion": original.get("apiVersion"), "kind": original.get("kind")}
    if found := problems(shape, part):
        raise MutationFailed(f"error applying patch: failed to convert patch object to typed object: {'; '.join(found[:8])}")
    if atomics := list(_atomics(shape, part, "")):
        words = f"may not mutate atomic arrays, maps or structs: {', '.join(atomics[:8])}"
        raise MutationFailed(f"error applying patch: invalid ApplyConfiguration: {words}")
    merged: Json = merge(shape, original, part)
    return merged


def _atomics(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if shape.sort == "deduced" or value is None:
        return
    if isinstance(value, dict | list) and shape.atomic:
        yield path
        return
    if isinstance(value, dict):
        for name, item in value.items():
            if (below := shape.field(name)) is not None:
                yield from _atomics(below, item, f"{path}.{name}")
    elif isinstance(value, list) and shape.element is not None:
        for place, item in enumerate(value):
            yield from _atomics(shape.element, item, f"{path}[{place}]")


def _part(found: Any) -> Any:
    if not isinstance(found, MadeObject) or found.cel_type != MADE:
        raise EvaluationError("unsupported return type from ApplyConfiguration expression")
    check_types(found, MADE)
    return as_json(found)


def _listed(found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise EvaluationError("JSONPatchType.expression should evaluate to array")
    if len(found) > MAX_OPERATIONS:
        raise EvaluationError(f"a JSONPatch may have {MAX_OPERATIONS} operations at most")
    return found


def _operation(found: Any) -> Json:
    if not isinstance(found, MadeObject) or found.cel_type != PATCH.name:
        raise EvaluationError("JSONPatchType.expression should evaluate to array of JSONPatch")
    value = found.get("value")
    if isinstance(value, MadeObject):
        check_types(value, value.cel_type)
    operation: Json = as_json(found)
    # What an operation does not say it has no word for.
    return {name: item for name, item in operation.items() if item != "" or name == "value"}
