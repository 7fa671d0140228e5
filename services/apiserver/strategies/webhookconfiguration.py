"""The strategies of webhook configurations: what is called, for which requests, and what becomes of one that does not answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from knarr.api.admissionregistration.v1 import admissionregistration_pb2 as admission
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Path,
    check_format,
    check_given_choice,
    dns1035_label,
    dns1123_subdomain,
    duplicate,
    invalid,
    not_supported,
    qualified_name,
    required,
    too_many,
)
from services.apiserver.strategies.selectors import validate_label_selector
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import age, columns
from services.apiserver.strategies.webhookclient import validate_client

WEBHOOKS = Path("webhooks")
FAILURE_POLICIES, MATCH_POLICIES = ("Fail", "Ignore"), ("Equivalent", "Exact")
SIDE_EFFECTS, REINVOCATION = ("None", "NoneOnDryRun"), ("IfNeeded", "Never")
OPERATIONS, SCOPES = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE"), ("*", "Cluster", "Namespaced")
REVIEW_VERSIONS = ("v1", "v1beta1")
TIMEOUT_SECONDS, MAX_TIMEOUT_SECONDS = 10, 30
MAX_CONDITIONS = 64
WILDCARD = "*"


class WebhookConfigurationStrategy(Strategy):
    """Of both kinds of configurations. A change of the webhooks makes a new generation."""

    # Conditions are much work for their size.
    work_factor = 16
    columns = columns("Name", "Webhooks", "Age", integers=("Webhooks",))
    has_generation = True
    allows_unconditional_update = False

    def default(self, obj: Any) -> None:
        for webhook in obj.webhooks:
            _default(webhook)

    def validate(self, obj: Any) -> list[Cause]:
        causes: list[Cause] = []
        names: set[str] = set()
        for index, webhook in enumerate(obj.webhooks):
            here = WEBHOOKS.index(index)
            causes += _webhook(webhook, here) + _review_versions(webhook.admission_review_versions, here.child("admissionReviewVersions"))
            if webhook.name and webhook.name in names:
                causes.append(duplicate(here.child("name"), webhook.name))
            names.add(webhook.name)
        return causes

    def cells(self, obj: Any, now: datetime) -> list[object]:
        return [obj.metadata.name, len(obj.webhooks), age(obj, now)]


def _default(webhook: Any) -> None:
    for field, value in (("failure_policy", "Fail"), ("match_policy", "Equivalent"), ("timeout_seconds", TIMEOUT_SECONDS)):
        if not webhook.HasField(field):
            setattr(webhook, field, value)
    webhook.namespace_selector.SetInParent()
    webhook.object_selector.SetInParent()
    if isinstance(webhook, admission.MutatingWebhook) and not webhook.HasField("reinvocation_policy"):
        webhook.reinvocation_policy = "Never"
    for rule in webhook.rules:
        default_rule(rule)
    if webhook.client_config.HasField("service") and not webhook.client_config.service.HasField("port"):
        webhook.client_config.service.port = 443


def default_rule(rule: admission.RuleWithOperations) -> None:
    if not rule.rule.HasField("scope"):
        rule.rule.scope = WILDCARD


def _webhook(webhook: Any, path: Path) -> list[Cause]:
    causes = _qualified(webhook.name, path.child("name"))
    for index, rule in enumerate(webhook.rules):
        causes += validate_rule(rule, path.child("rules").index(index))
    causes += check_given_choice(path.child("failurePolicy"), webhook, "failure_policy", FAILURE_POLICIES)
    causes += check_given_choice(path.child("matchPolicy"), webhook, "match_policy", MATCH_POLICIES)
    here = path.child("sideEffects")
    if not webhook.HasField("side_effects"):
        causes.append(required(here, f"must specify one of {', '.join(SIDE_EFFECTS)}"))
    elif webhook.side_effects not in SIDE_EFFECTS:
        causes.append(not_supported(here, webhook.side_effects, SIDE_EFFECTS))
    if not 1 <= webhook.timeout_seconds <= MAX_TIMEOUT_SECONDS:
        words = f"the timeout value must be between 1 and {MAX_TIMEOUT_SECONDS} seconds"
        causes.append(invalid(path.child("timeoutSeconds"), webhook.timeout_seconds, words))
    causes += validate_label_selector(webhook.namespace_selector, path.child("namespaceSelector"))
    causes += validate_label_selector(webhook.object_selector, path.child("objectSelector"))
    if isinstance(webhook, admission.MutatingWebhook):
        causes += check_given_choice(path.child("reinvocationPolicy"), webhook, "reinvocation_policy", REINVOCATION)
    causes += validate_conditions(webhook.match_conditions, path.child("matchConditions"))
    return causes + validate_client(webhook.client_config, path.child("clientConfig"))


def _qualified(name: str, path: Path) -> list[Cause]:
    if not name:
        return [required(path)]
    causes = check_format(path, name, dns1123_subdomain)
    if not causes and name.count(".") < 2:
        causes.append(invalid(path, name, "should be a domain with at least three segments separated by dots"))
    return causes


def validate_rule(rule: admission.RuleWithOperations, path: Path) -> list[Cause]:
    """Which operations on which resources are meant."""
    here = path.child("operations")
    causes = [] if rule.operations else [required(here)]
    causes += _alone(rule.operations, here, "if '*' is present, must not specify other operations")
    for index, operation in enumerate(rule.operations):
        if operation not in OPERATIONS:
            causes.append(not_supported(here.index(index), operation, OPERATIONS))
    for values, name, words in (
        (rule.rule.api_groups, "apiGroups", "if '*' is present, must not specify other API groups"),
        (rule.rule.api_versions, "apiVersions", "if '*' is present, must not specify other API versions"),
    ):
        place = path.child(name)
        causes += _alone(values, place, words) if values else [required(place)]
    causes += [required(path.child("apiVersions").index(index)) for index, version in enumerate(rule.rule.api_versions) if not version]
    causes += _resources(rule.rule.resources, path.child("resources"))
    return causes + check_given_choice(path.child("scope"), rule.rule, "scope", SCOPES)


def _alone(values: Sequence[str], path: Path, words: str) -> list[Cause]:
    return [invalid(path, list(values), words)] if len(values) > 1 and WILDCARD in values else []


def _resources(resources: Sequence[str], path: Path) -> list[Cause]:
    causes = [] if resources else [required(path)]
    parents: set[str] = set()
    subresources: set[str] = set()
    plain = False
    for index, text in enumerate(resources):
        here = path.index(index)
        if not text:
            causes.append(required(here))
            continue
        parent, slash, sub = text.partition("/")
        if not slash:
            plain = plain or text != WILDCARD
            continue
        if parent in parents:
            causes.append(invalid(here, text, f"if '{parent}/*' is present, must not specify {text}"))
        if sub in subresources:
            causes.append(invalid(here, text, f"if '*/{sub}' is present, must not specify {text}"))
        if sub == WILDCARD:
            parents.add(parent)
        if parent == WILDCARD:
            subresources.add(sub)
    if len(resources) > 1 and "*/*" in resources:
        causes.append(invalid(path, list(resources), "if '*/*' is present, must not specify other resources"))
    if WILDCARD in resources and plain:
        words = "if '*' is present, must not specify other resources without subresources"
        causes.append(invalid(path, list(resources), words))
    return causes


def validate_conditions(conditions: Sequence[admission.MatchCondition], path: Path, *, params: bool = False) -> list[Cause]:
    """What is asked of a request before it is sent. ``params``: of a policy that has parameters."""
    if len(conditions) > MAX_CONDITIONS:
        return [too_many(path, len(conditions), MAX_CONDITIONS)]
    causes: list[Cause] = []
    names: set[str] = set()
    for index, condition in enumerate(conditions):
        here = path.index(index)
        if not condition.expression.strip():
            causes.append(required(here.child("expression")))
        else:
            causes += check_expression(here.child("expression"), condition.expression, ["bool"], params=params)
        if not condition.name:
            causes.append(required(here.child("name")))
        else:
            causes += check_format(here.child("name"), condition.name, qualified_name)
            if condition.name in names:
                causes.append(duplicate(here.child("name"), condition.name))
        names.add(condition.name)
    return causes


def check_expression(path: Path, source: str, results: Sequence[str], *, params: bool = False) -> list[Cause]:
    """Whether it can be compiled; ``results`` are the names of the types that it may have."""
    # What it stands on is only loaded by those who have expressions.
    from knarr.machinery.cel import admission as expressions
    from knarr.machinery.cel.errors import InvalidExpression

    try:
        expressions.compiled(source, expressions.environment(params=params), results)
    except InvalidExpression as error:
        return [invalid(path, source, error.message)]
    return []


def _review_versions(versions: Sequence[str], path: Path) -> list[Cause]:
    if not versions:
        return [required(path, f"must specify one of {', '.join(REVIEW_VERSIONS)}")]
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, version in enumerate(versions):
        if version in seen:
            causes.append(invalid(path.index(index), version, "duplicate version"))
            continue
        seen.add(version)
        causes += check_format(path.index(index), version, dns1035_label)
    if not seen & set(REVIEW_VERSIONS):
        causes.append(invalid(path, list(versions), f"must include at least one of {', '.join(REVIEW_VERSIONS)}"))
    return causes
