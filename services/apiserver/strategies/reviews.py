"""What a review must say to be answered."""

from __future__ import annotations

from typing import Any

from knarr.api.authentication.v1 import authentication_pb2 as authentication
from knarr.api.authorization.v1 import authorization_pb2 as authorization
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause
from knarr.machinery.validation import CUT, Path, check_format, forbidden, invalid, label_value, qualified_name, required
from services.apiserver.strategies.paths import METADATA, SPEC

ACCESS = (authorization.SelfSubjectAccessReview, authorization.SubjectAccessReview, authorization.LocalSubjectAccessReview)

# How long a token may hold, and does where nothing is asked for.
MIN_TOKEN_SECONDS, DEFAULT_TOKEN_SECONDS, MAX_TOKEN_SECONDS = 600, 3600, 1 << 32


def empty_question(review: Any) -> str:
    """What a review does not say without which it asks nothing, in Kubernetes' words, which it answers with a bad request; else empty."""
    if isinstance(review, authentication.TokenReview) and not review.spec.token:
        return "token is required for TokenReview in authentication"
    if isinstance(review, authorization.SelfSubjectRulesReview) and not review.spec.namespace:
        return "no namespace on request"
    return ""


def validate_review(review: Any) -> list[Cause]:
    return _access(review) if isinstance(review, ACCESS) else []


def validate_token_request(request: authentication.TokenRequest) -> list[Cause]:
    """Of one whose defaults are filled in."""
    seconds, path = request.spec.expiration_seconds, SPEC.child("expirationSeconds")
    if seconds < MIN_TOKEN_SECONDS:
        return [invalid(path, seconds, "may not specify a duration less than 10 minutes")]
    if seconds > MAX_TOKEN_SECONDS:
        return [invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")]
    return []


def _access(review: Any) -> list[Cause]:
    spec = review.spec
    resource, path = spec.HasField("resource_attributes"), spec.HasField("non_resource_attributes")
    causes: list[Cause] = []
    if resource and path:
        causes.append(invalid(SPEC.child("nonResourceAttributes"), CUT, "cannot be specified in combination with resourceAttributes"))
    if not resource and not path:
        words = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        causes.append(invalid(SPEC.child("resourceAttributes"), None, words))
    if not isinstance(review, authorization.SelfSubjectAccessReview) and not spec.user and not spec.groups:
        causes.append(invalid(SPEC.child("user"), spec.user, "at least one of user or group must be specified"))
    for field, name in (("field_selector", "fieldSelector"), ("label_selector", "labelSelector")):
        if spec.resource_attributes.HasField(field):
            causes += _selector(getattr(spec.resource_attributes, field), SPEC.child("resourceAttributes", name))
    if isinstance(review, authorization.LocalSubjectAccessReview):
        return causes + _local(review)
    return [*causes, invalid(METADATA, CUT, "must be empty")] if _named(review) else causes


def _selector(selector: Any, path: Path) -> list[Cause]:
    """As text or as rules. Operators that are not known may be those of a newer client."""
    here, rules = path.child("requirements"), selector.requirements
    causes: list[Cause] = []
    if selector.raw_selector and rules:
        words = "may not specified at the same time as requirements"
        causes.append(invalid(path.child("rawSelector"), selector.raw_selector, words))
    if not selector.raw_selector and not rules:
        causes.append(required(here, f"when {path} is specified, requirements or rawSelector is required"))
    for index, rule in enumerate(rules):
        causes += _requirement(rule, here.index(index))
    return causes


def _requirement(rule: meta.FieldSelectorRequirement | meta.LabelSelectorRequirement, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    values = path.child("values")
    if rule.operator in ("In", "NotIn") and not rule.values:
        causes.append(required(values, "must be specified when `operator` is 'In' or 'NotIn'"))
    if rule.operator in ("Exists", "DoesNotExist") and rule.values:
        causes.append(forbidden(values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
    if isinstance(rule, meta.FieldSelectorRequirement):
        return causes if rule.key else [required(path.child("key"), "must be specified"), *causes]
    causes += check_format(path.child("key"), rule.key, qualified_name)
    return causes + [cause for index, value in enumerate(rule.values) for cause in check_format(values.index(index), value, label_value)]


def _named(review: Any) -> bool:
    """Whether its metadata say anything; who manages which fields is the server's own."""
    return any(field.name != "managed_fields" for field, _ in review.metadata.ListFields())


def _local(review: authorization.LocalSubjectAccessReview) -> list[Cause]:
    spec, causes = review.spec, list[Cause]()
    if spec.HasField("resource_attributes") and spec.resource_attributes.namespace != review.metadata.namespace:
        path = SPEC.child("resourceAttributes", "namespace")
        causes.append(invalid(path, spec.resource_attributes.namespace, "must match metadata.namespace"))
    if spec.HasField("non_resource_attributes"):
        causes.append(invalid(SPEC.child("nonResourceAttributes"), CUT, "disallowed on this kind of request"))
    return causes
