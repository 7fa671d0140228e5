"""The strategies of admission policies and their bindings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from knarr.api.admissionregistration.v1 import admissionregistration_pb2 as admission
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Path,
    check_choice,
    check_distinct_choices,
    check_format,
    check_named,
    dns1035_label,
    dns1123_subdomain,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    path_segment,
    qualified_name,
    required,
)
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.selectors import validate_label_selector
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import UNSET, age, columns
from services.apiserver.strategies.webhookconfiguration import (
    FAILURE_POLICIES,
    MATCH_POLICIES,
    REINVOCATION,
    default_rule,
    validate_conditions,
    validate_rule,
)

ACTIONS, NOT_FOUND_ACTIONS, PATCH_TYPES = ("Audit", "Deny", "Warn"), ("Allow", "Deny"), ("ApplyConfiguration", "JSONPatch")


REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
MUTATING_OPERATIONS = ("*", "CONNECT", "CREATE", "UPDATE")
# Words that CEL keeps for itself.
RESERVED = frozenset(
    {"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop"}
    | {"package", "namespace", "return", "var", "void", "while"}
)
_IDENTIFIER = re.compile("[_a-zA-Z][_a-zA-Z0-9]*", re.ASCII)
MAX_ANNOTATIONS, MAX_VALUE_BYTES = 20, 5 * 1024


class _Scene:
    """What the expressions of a policy see: its variables, as far as they can be compiled. ``causes`` are what is wrong with those. That an
    expression is missing is told elsewhere."""

    def __init__(self, spec: Any) -> None:
        # What it stands on is only loaded by those who have expressions.
        from knarr.machinery.cel.admission import Composed

        self._composed = Composed.of_policy(spec)
        self.causes: list[Cause] = []
        for index, words in self._composed.problems.items():
            if (source := spec.variables[index].expression).strip():
                self.causes.append(invalid(SPEC.child("variables").index(index).child("expression"), source, words))

    def check(self, path: Path, source: str, results: Sequence[str], *, authorizer: bool = True) -> list[Cause]:
        from knarr.machinery.cel.errors import InvalidExpression

        if not source.strip():
            return []
        try:
            self._composed.compiled(source, results, authorizer=authorizer)
        except InvalidExpression as error:
            return [invalid(path, source, error.message)]
        return []


class _PolicyStrategy(Strategy):
    """A spec change makes a new generation."""

    # Expressions are much work for their size.
    work_factor = 64
    has_generation = True

    def default(self, obj: Any) -> None:
        if not obj.spec.HasField("failure_policy"):
            obj.spec.failure_policy = "Fail"
        if obj.spec.HasField("match_constraints"):
            _default_match(obj.spec.match_constraints)

    def validate(self, obj: Any) -> list[Cause]:
        spec = obj.spec
        causes = check_choice(SPEC.child("failurePolicy"), spec.failure_policy, FAILURE_POLICIES)
        if spec.HasField("param_kind"):
            causes += _param_kind(spec.param_kind, SPEC.child("paramKind"))
        here = SPEC.child("matchConstraints")
        if not spec.HasField("match_constraints"):
            causes.append(required(here))
        else:
            if not spec.match_constraints.resource_rules:
                causes.append(required(here.child("resourceRules")))
            causes += _match(spec.match_constraints, here)
        causes += validate_conditions(spec.match_conditions, SPEC.child("matchConditions"), params=spec.HasField("param_kind"))
        return causes + _variables(spec.variables, SPEC.child("variables")) + self.expressions(spec)

    def expressions(self, spec: Any) -> list[Cause]:
        """What is wrong with those that see all variables."""
        raise NotImplementedError

    def cells(self, obj: Any, now: datetime) -> list[object]:
        kind = obj.spec.param_kind
        shown = f"{kind.api_version}/{kind.kind}" if obj.spec.HasField("param_kind") else UNSET
        return [obj.metadata.name, self.count(obj), shown, age(obj, now)]

    def count(self, obj: Any) -> int:
        raise NotImplementedError


class ValidatingAdmissionPolicyStrategy(_PolicyStrategy):
    columns = columns("Name", "Validations", "ParamKind", "Age", integers=("Validations",))

    def validate(self, obj: admission.ValidatingAdmissionPolicy) -> list[Cause]:
        spec, causes = obj.spec, super().validate(obj)
        if not spec.validations and not spec.audit_annotations:
            words = "validations or auditAnnotations must contain at least one item"
            causes += [required(SPEC.child("validations"), words), required(SPEC.child("auditAnnotations"), words)]
        for index, validation in enumerate(spec.validations):
            causes += _validation(validation, SPEC.child("validations").index(index))
        return causes + _annotations(obj.metadata.name, spec.audit_annotations, SPEC.child("auditAnnotations"))

    def expressions(self, spec: Any) -> list[Cause]:
        scene = _Scene(spec)
        causes = scene.causes
        for index, validation in enumerate(spec.validations):
            here = SPEC.child("validations").index(index)
            causes += scene.check(here.child("expression"), validation.expression, ["bool"])
            causes += scene.check(here.child("messageExpression"), validation.message_expression, ["string"], authorizer=False)
        for index, annotation in enumerate(spec.audit_annotations):
            here = SPEC.child("auditAnnotations").index(index).child("valueExpression")
            causes += scene.check(here, annotation.value_expression, ["string", "null_type"])
        return causes

    def count(self, obj: admission.ValidatingAdmissionPolicy) -> int:
        return len(obj.spec.validations)


class MutatingAdmissionPolicyStrategy(_PolicyStrategy):
    columns = columns("Name", "Mutations", "ParamKind", "Age", integers=("Mutations",))

    def validate(self, obj: admission.MutatingAdmissionPolicy) -> list[Cause]:
        spec, causes = obj.spec, super().validate(obj)
        causes += _mutable(spec.match_constraints, SPEC.child("matchConstraints"))
        here = SPEC.child("mutations")
        if not spec.mutations:
            causes.append(required(here, "mutations must contain at least one item"))
        for index, mutation in enumerate(spec.mutations):
            causes += check_choice(here.index(index).child("patchType"), mutation.patch_type, PATCH_TYPES)
            for field, name, kind in (
                ("apply_configuration", "applyConfiguration", "ApplyConfiguration"),
                ("json_patch", "jsonPatch", "JSONPatch"),
            ):
                place = here.index(index).child(name)
                if mutation.patch_type == kind and not mutation.HasField(field):
                    causes.append(required(place, f"must be specified when patchType is {kind}"))
                elif mutation.patch_type in PATCH_TYPES and mutation.patch_type != kind and mutation.HasField(field):
                    words = f"must not be specified when patchType is {mutation.patch_type}"
                    causes.append(invalid(place, f"{{{name}}}", words))
                elif mutation.HasField(field) and not getattr(mutation, field).expression.strip():
                    causes.append(required(place.child("expression"), "expression is not specified"))
        return causes + check_choice(SPEC.child("reinvocationPolicy"), spec.reinvocation_policy, REINVOCATION)

    def expressions(self, spec: Any) -> list[Cause]:
        scene = _Scene(spec)
        causes = scene.causes
        for index, mutation in enumerate(spec.mutations):
            here = SPEC.child("mutations").index(index)
            for field, name, results in (
                ("apply_configuration", "applyConfiguration", ["Object"]),
                ("json_patch", "jsonPatch", ["list(JSONPatch)", "list(dyn)"]),
            ):
                if mutation.HasField(field):
                    causes += scene.check(here.child(name).child("expression"), getattr(mutation, field).expression, results)
        return causes

    def count(self, obj: admission.MutatingAdmissionPolicy) -> int:
        return len(obj.spec.mutations)


class AdmissionPolicyBindingStrategy(Strategy):
    """Of both kinds of bindings. A spec change makes a new generation."""

    columns = columns("Name", "PolicyName", "ParamRef", "Age")
    has_generation = True

    def default(self, obj: Any) -> None:
        if obj.spec.HasField("match_resources"):
            _default_match(obj.spec.match_resources)

    def validate(self, obj: Any) -> list[Cause]:
        spec, here = obj.spec, SPEC.child("policyName")
        causes = check_named(here, spec.policy_name, dns1123_subdomain)
        if spec.HasField("param_ref"):
            causes += _param_ref(spec.param_ref, SPEC.child("paramRef"))
        if spec.HasField("match_resources"):
            causes += _match(spec.match_resources, SPEC.child("matchResources"))
        if isinstance(obj, admission.ValidatingAdmissionPolicyBinding):
            causes += _actions(spec.validation_actions, SPEC.child("validationActions"))
        else:
            causes += _mutable(spec.match_resources, SPEC.child("matchResources"))
        return causes

    def cells(self, obj: Any, now: datetime) -> list[object]:
        spec, reference = obj.spec, obj.spec.param_ref
        shown = UNSET
        if spec.HasField("param_ref") and reference.name:
            shown = f"{reference.namespace or '*'}/{reference.name}"
        return [obj.metadata.name, spec.policy_name, shown, age(obj, now)]


def _default_match(match: admission.MatchResources) -> None:
    if not match.HasField("match_policy"):
        match.match_policy = "Equivalent"
    match.namespace_selector.SetInParent()
    match.object_selector.SetInParent()
    for rule in (*match.resource_rules, *match.exclude_resource_rules):
        default_rule(rule.rule_with_operations)


def _match(match: admission.MatchResources, path: Path) -> list[Cause]:
    causes = check_choice(path.child("matchPolicy"), match.match_policy, MATCH_POLICIES)
    causes += validate_label_selector(match.namespace_selector, path.child("namespaceSelector"))
    causes += validate_label_selector(match.object_selector, path.child("objectSelector"))
    for rules, name in ((match.resource_rules, "resourceRules"), (match.exclude_resource_rules, "excludeResourceRules")):
        for index, rule in enumerate(rules):
            here = path.child(name).index(index)
            causes += validate_rule(rule.rule_with_operations, here)
            seen: set[str] = set()
            for position, resource in enumerate(rule.resource_names):
                place = here.child("resourceNames").index(position)
                causes += check_format(place, resource, path_segment)
                if resource in seen:
                    causes.append(duplicate(place, resource))
                seen.add(resource)
    return causes


def _mutable(match: admission.MatchResources, path: Path) -> list[Cause]:
    """What is deleted is not changed before."""
    here = path.child("resourceRules", "operations")
    operations = (operation for rule in match.resource_rules for operation in rule.rule_with_operations.operations)
    return [not_supported(here, operation, MUTATING_OPERATIONS) for operation in operations if operation not in MUTATING_OPERATIONS]


def _param_kind(kind: admission.ParamKind, path: Path) -> list[Cause]:
    version, name = path.child("apiVersion"), path.child("kind")
    causes = _api_version(kind.api_version, version) if kind.api_version else [required(version)]
    if not kind.kind:
        return [*causes, required(name)]
    wrong = ",".join(dns1035_label(kind.kind.lower()))
    return [*causes, invalid(name, kind.kind, f"may have mixed case, but should otherwise match: {wrong}")] if wrong else causes


def _api_version(text: str, path: Path) -> list[Cause]:
    if text.count("/") > 1:
        return [invalid(path, text, f"unexpected GroupVersion string: {text}")]
    group, _, version = text.rpartition("/")
    causes = [invalid(path, group, ",".join(dns1123_subdomain(group)))] if group and dns1123_subdomain(group) else []
    if not version:
        return [*causes, invalid(path, text, "version must be specified")]
    return causes + ([invalid(path, version, ",".join(wrong))] if (wrong := dns1035_label(version)) else [])


def _param_ref(reference: admission.ParamRef, path: Path) -> list[Cause]:
    """Parameters by their name or by their labels."""
    causes = check_format(path.child("name"), reference.name, path_segment) if reference.name else []
    if bool(reference.name) and reference.HasField("selector"):
        causes += [forbidden(path.child(field), "name and selector are mutually exclusive") for field in ("name", "selector")]
    elif not reference.name and not reference.HasField("selector"):
        causes.append(required(path, "one of name or selector must be specified"))
    causes += validate_label_selector(reference.selector, path.child("selector"))
    here = path.child("parameterNotFoundAction")
    return causes + check_choice(here, reference.parameter_not_found_action, NOT_FOUND_ACTIONS)


def _variables(variables: Sequence[admission.Variable], path: Path) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for index, variable in enumerate(variables):
        here = path.index(index)
        if not variable.name.strip():
            causes.append(required(here.child("name"), "name is not specified"))
        elif not _IDENTIFIER.fullmatch(variable.name) or variable.name in RESERVED:
            causes.append(invalid(here.child("name"), variable.name, "must be a valid CEL identifier"))
        elif variable.name in names:
            causes.append(duplicate(here.child("name"), variable.name))
        names.add(variable.name)
        if not variable.expression.strip():
            causes.append(required(here.child("expression"), "expression is not specified"))
    return causes


def _validation(validation: admission.Validation, path: Path) -> list[Cause]:
    message, expression = validation.message, validation.message_expression
    causes = [] if validation.expression.strip() else [required(path.child("expression"), "expression is not specified")]
    if expression and not expression.strip():
        causes.append(invalid(path.child("messageExpression"), expression, "must be non-empty if specified"))
    if message and not message.strip():
        causes.append(invalid(path.child("message"), message, "message must be non-empty if specified"))
    elif "\n" in message.strip():
        causes.append(invalid(path.child("message"), message, "message must not contain line breaks"))
    elif "\n" in validation.expression.strip() and not message:
        causes.append(required(path.child("message"), "message must be specified if expression contains line breaks"))
    if validation.HasField("reason") and validation.reason not in REASONS:
        causes.append(not_supported(path.child("reason"), validation.reason, REASONS))
    return causes


def _annotations(policy: str, annotations: Sequence[admission.AuditAnnotation], path: Path) -> list[Cause]:
    if len(annotations) > MAX_ANNOTATIONS:
        return [invalid(path, len(annotations), f"must not have more than {MAX_ANNOTATIONS} auditAnnotations")]
    causes: list[Cause] = []
    keys: set[str] = set()
    for index, annotation in enumerate(annotations):
        here = path.index(index)
        if not annotation.key:
            causes.append(required(here.child("key")))
        elif annotation.key in keys:
            causes.append(duplicate(here.child("key"), annotation.key))
        else:
            causes += check_format(here.child("key"), f"{policy}/{annotation.key}" if policy else annotation.key, qualified_name)
        keys.add(annotation.key)
        if not annotation.value_expression.strip():
            causes.append(required(here.child("valueExpression"), "valueExpression is not specified"))
        elif len(annotation.value_expression.encode()) > MAX_VALUE_BYTES:
            words = f"must not exceed {MAX_VALUE_BYTES} bytes in length"
            causes.append(invalid(here.child("valueExpression"), annotation.value_expression, words))
    return causes


def _actions(actions: Sequence[str], path: Path) -> list[Cause]:
    if not actions:
        return [required(path, "at least one validation action is required")]
    causes = check_distinct_choices(path, actions, ACTIONS)
    if "Deny" in actions and "Warn" in actions:
        words = "repeating the same validation failure information in the API response and headers serves no purpose"
        causes.append(invalid(path, list(actions), f"must not contain both Deny and Warn ({words})"))
    return causes
