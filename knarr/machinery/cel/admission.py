"""What expressions of admission see: the variables of webhooks' conditions and of policies, with their types.

Specified by Kubernetes' ``admissionregistration.k8s.io/v1``. The object and what a policy is given as its parameter are of any type: one
expression is about objects of many kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from knarr.machinery.cel.authorization import AUTHORIZER
from knarr.machinery.cel.compiler import compile_expression
from knarr.machinery.cel.errors import EvaluationError, InvalidExpression
from knarr.machinery.cel.program import Evaluation, Program
from knarr.machinery.cel.types import BOOL, DYN, INT, STRING, TIMESTAMP, Field, Type, list_of, map_of, object_of

# Kubernetes' limits in units of cost: of one evaluation, of the conditions of one webhook or policy, of the rest of a policy.
CALL_LIMIT, CONDITIONS_LIMIT, POLICY_LIMIT = 1_000_000, 2_500_000, 10_000_000
OBJECT, OLD_OBJECT, PARAMS, REQUEST = "object", "oldObject", "params", "request"
NAMESPACE, AUTHORIZER_NAME, VARIABLES = "namespaceObject", "authorizer", "variables"


def _object(sort: str, /, **fields: Type) -> Type:
    return object_of(f"kubernetes.{sort}", {field: Field(field, found) for field, found in fields.items()})


TEXTS = map_of(STRING, STRING)
KIND = _object("GroupVersionKind", group=STRING, version=STRING, kind=STRING)
RESOURCE = _object("GroupVersionResource", group=STRING, version=STRING, resource=STRING)
USER = _object("UserInfo", username=STRING, uid=STRING, groups=list_of(STRING), extra=map_of(STRING, list_of(STRING)))
REQUEST_TYPE = _object(
    "AdmissionRequest",
    kind=KIND, resource=RESOURCE, subResource=STRING, requestKind=KIND, requestResource=RESOURCE, requestSubResource=STRING,
    name=STRING, namespace=STRING, operation=STRING, userInfo=USER, dryRun=BOOL, options=DYN,
)  # fmt: skip
CONDITION = _object("NamespaceCondition", status=STRING, type=STRING, lastTransitionTime=TIMESTAMP, message=STRING, reason=STRING)
NAMESPACE_TYPE = _object(
    "Namespace",
    metadata=_object(
        "NamespaceMetadata",
        name=STRING, generateName=STRING, namespace=STRING, labels=TEXTS, annotations=TEXTS, UID=STRING, creationTimestamp=TIMESTAMP,
        deletionGracePeriodSeconds=INT, deletionTimestamp=TIMESTAMP, generation=INT, resourceVersion=STRING, finalizers=list_of(STRING),
    ),
    spec=_object("NamespaceSpec", finalizers=list_of(STRING)),
    status=_object("NamespaceStatus", conditions=list_of(CONDITION), phase=STRING),
)  # fmt: skip


def environment(
    *, params: bool = False, authorizer: bool = True, variables: Type | None = None, of: Type = DYN, of_params: Type = DYN
) -> dict[str, Type]:
    """The variables that an expression may look at; ``of`` is the type of the object where it is known, ``of_params`` of the parameter."""
    found = {OBJECT: of, OLD_OBJECT: of, REQUEST: REQUEST_TYPE, NAMESPACE: NAMESPACE_TYPE}
    if params:
        found[PARAMS] = of_params
    if authorizer:
        found[AUTHORIZER_NAME] = AUTHORIZER
    if variables is not None:
        found[VARIABLES] = variables
    return found


def compiled(source: str, types: Mapping[str, Type], results: Sequence[Type | str] = (), *, makes_objects: bool = False) -> Program:
    """Raises InvalidExpression, in Kubernetes' words also where it answers none of ``results``, which are types or their names (empty:
    anything)."""
    try:
        program = compile_expression(source, types, makes_objects=makes_objects)
    except InvalidExpression as error:
        raise InvalidExpression(f"compilation failed: {error.shown(source)}") from None
    names = [str(wanted) for wanted in results]
    if names and str(program.type) not in names:
        wanted_words = names[0] if len(names) == 1 else f"one of [{' '.join(names)}]"
        raise InvalidExpression(f"must evaluate to {wanted_words} but got {program.type}")
    return program


class Composed:
    """The variables of a policy, each of which sees those before it, and what is compiled where all of them are seen. ``variables`` are
    names with expressions. Of an expression that is none ``problems`` tell why, by its place; another one that names its variable is none,
    either. ``types`` are those of all that may be looked at."""

    def __init__(
        self,
        variables: Iterable[tuple[str, str]],
        *,
        params: bool = False,
        makes_objects: bool = False,
        of: Type = DYN,
        of_params: Type = DYN,
    ) -> None:
        self.programs: dict[str, Program] = {}
        self.problems: dict[int, str] = {}
        fields: dict[str, Field] = {}
        self._makes_objects = makes_objects
        self.types = partial(environment, params=params, variables=Type(Variables.cel_type, fields=fields), of=of, of_params=of_params)
        for place, (name, source) in enumerate(variables):
            try:
                program = self.programs[name] = self.compiled(source)
            except InvalidExpression as error:
                self.problems[place] = error.message
            else:
                fields[name] = Field(name, program.type)

    @classmethod
    def of_policy(cls, spec: Any) -> Composed:
        """As the spec of a policy of either kind says it."""
        variables = ((variable.name, variable.expression) for variable in spec.variables)
        return cls(variables, params=spec.HasField("param_kind"), makes_objects="mutations" in spec.DESCRIPTOR.fields_by_name)

    def compiled(self, source: str, results: Sequence[Type | str] = (), *, authorizer: bool = True) -> Program:
        """Raises InvalidExpression."""
        return compiled(source, self.types(authorizer=authorizer), results, makes_objects=self._makes_objects)


class Variables:
    """The value of ``variables``: each is evaluated when it is first asked for, and remembered with what it came to. It costs whoever asks
    first."""

    cel_type = "kubernetes.variables"

    def __init__(self, programs: Mapping[str, Program], seen: Mapping[str, Any]) -> None:
        self._programs, self._seen = programs, seen
        self._known: dict[str, Any] = {}

    def cel_look(self, name: str, evaluation: Evaluation) -> Any:
        """Raises EvaluationError, CostExceeded."""
        if name not in self._known:
            # What an expression has in its own loops is not seen here.
            inner = Evaluation({**self._seen, VARIABLES: self}, max(evaluation.limit - evaluation.cost, 0))
            try:
                self._known[name] = self._programs[name].run(inner)
            except EvaluationError as error:
                self._known[name] = EvaluationError(f'composited variable "{name}" fails to evaluate: {error}')
            evaluation.charge(inner.cost)
        found = self._known[name]
        if isinstance(found, EvaluationError):
            raise found
        return found
