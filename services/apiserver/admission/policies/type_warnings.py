"""What the types of a policy's kinds make of its expressions. Loaded when there is a policy. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from knarr.machinery.cel.admission import Composed
from knarr.machinery.cel.compiler import compile_expression
from knarr.machinery.cel.errors import InvalidExpression
from knarr.machinery.cel.types import DYN, Type
from services.apiserver.strategies.paths import SPEC


def warnings_of(spec: Any, kinds: Mapping[str, Type], params: Type | None) -> list[tuple[str, str]]:
    """The place of an expression and what is wrong with it, kind by kind, of each that is not right for all of them."""
    variables = [(variable.name, variable.expression) for variable in spec.variables]
    of_params = params or DYN
    composed = {kind: Composed(variables, params=params is not None, of=found, of_params=of_params) for kind, found in kinds.items()}
    return [(place, "\n".join(found)) for place, source in _expressions(spec) if (found := list(_problems(source, composed)))]


def _expressions(spec: Any) -> Iterator[tuple[str, str]]:
    for index, validation in enumerate(spec.validations):
        here = SPEC.child("validations").index(index)
        yield str(here.child("expression")), validation.expression
        if validation.message_expression:
            yield str(here.child("messageExpression")), validation.message_expression


def _problems(source: str, composed: Mapping[str, Composed]) -> Iterator[str]:
    for kind, found in composed.items():
        try:
            compile_expression(source, found.types())
        except InvalidExpression as error:
            yield f"{kind}: {error.shown(source)}\n"
