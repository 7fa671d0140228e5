"""What the types of a policy's kinds make of its expressions. Loaded when there is a policy. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from knarr.machinery.cel.admission import Composed, environment
from knarr.machinery.cel.compiler import compile_expression
from knarr.machinery.cel.errors import InvalidExpression
from knarr.machinery.cel.types import DYN, Type
from services.apiserver.strategies.paths import SPEC


def warnings_of(spec: Any, kinds: Mapping[str, Type], params: Type | None) -> list[tuple[str, str]]:
    """The place of an expression and what is wrong with it, kind by kind, of each that is not right for all of them."""
    return [(place, "\n".join(found)) for place, source in _expressions(spec) if (found := list(_problems(spec, source, kinds, params)))]


def _expressions(spec: Any) -> Iterator[tuple[str, str]]:
    for index, validation in enumerate(spec.validations):
        here = SPEC.child("validations").index(index)
        yield str(here.child("expression")), validation.expression
        if validation.message_expression:
            yield str(here.child("messageExpression")), validation.message_expression


def _problems(spec: Any, source: str, kinds: Mapping[str, Type], params: Type | None) -> Iterator[str]:
    for kind, found in kinds.items():
        variables = Composed()
        for variable in spec.variables:
            try:
                variables.define(variable.name, compile_expression(variable.expression, _types(found, params, variables)))
            except InvalidExpression:
                continue  # whoever names it is told
        try:
            compile_expression(source, _types(found, params, variables))
        except InvalidExpression as error:
            yield f"{kind}: {error.shown(source)}\n"


def _types(kind: Type, params: Type | None, variables: Composed) -> Mapping[str, Type]:
    return environment(params=params is not None, variables=variables.type, of=kind, of_params=params or DYN)
