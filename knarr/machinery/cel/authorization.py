"""What expressions of admission may ask the authorizer: ``authorizer.group('apps').resource('deployments').check('create').allowed()``.

Nothing is asked here: a check is given to whoever evaluates, who answers a decision, or raises what ends the evaluation.
https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-authorizer-library
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from knarr.machinery import validation
from knarr.machinery.cel.errors import EvaluationError
from knarr.machinery.cel.functions import Library, Sizes
from knarr.machinery.cel.types import BOOL, STRING, Field, Type

PATH_CHECK, GROUP_CHECK = Type("kubernetes.authorization.PathCheck", size=1), Type("kubernetes.authorization.GroupCheck", size=1)
RESOURCE_CHECK, DECISION = Type("kubernetes.authorization.ResourceCheck", size=1), Type("kubernetes.authorization.Decision", size=1)
REQUEST_RESOURCE = "requestResource"
AUTHORIZER = Type("kubernetes.authorization.Authorizer", fields={REQUEST_RESOURCE: Field(REQUEST_RESOURCE, RESOURCE_CHECK)}, size=1)
# Kubernetes' price of one check, which may go to a webhook.
CHECK_COST = 350_000

AUTHORIZATION = Library()


@dataclass(frozen=True, slots=True)
class Check:
    """``account`` is the namespace and name of the service account that is meant; None means who sent the request. Where ``path`` is set
    it is about that, and no resource."""

    account: tuple[str, str] | None = None
    path: str = ""
    verb: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """``error`` is why there is none; empty else."""

    cel_type: ClassVar[str] = DECISION.name
    allowed: bool
    reason: str = ""
    error: str = ""


Decide = Callable[[Check], Decision]


@dataclass(frozen=True, slots=True)
class Asking:
    """A check that is being put together."""

    cel_type: ClassVar[str] = ""
    check: Check
    decide: Decide = field(compare=False)

    def checked(self, verb: str) -> Decision:
        return self.decide(replace(self.check, verb=verb))


@dataclass(frozen=True, slots=True)
class PathCheck(Asking):
    cel_type: ClassVar[str] = PATH_CHECK.name


@dataclass(frozen=True, slots=True)
class GroupCheck(Asking):
    cel_type: ClassVar[str] = GROUP_CHECK.name


@dataclass(frozen=True, slots=True)
class ResourceCheck(Asking):
    cel_type: ClassVar[str] = RESOURCE_CHECK.name


@dataclass(frozen=True, slots=True)
class AskingAuthorizer(Asking):
    """The variable ``authorizer``; ``requested`` is the check of what the request is about."""

    cel_type: ClassVar[str] = AUTHORIZER.name
    requested: Check = Check()

    def cel_look(self, name: str, _: object) -> ResourceCheck:
        """Raises EvaluationError."""
        if name != REQUEST_RESOURCE:
            raise EvaluationError(f"no such key: {name}")
        return ResourceCheck(self.requested, self.decide)


def _path(of: Asking, path: str) -> PathCheck:
    if not path.strip():
        raise EvaluationError("path must not be empty")
    return PathCheck(replace(of.check, path=path), of.decide)


def _account(of: AskingAuthorizer, namespace: str, name: str) -> AskingAuthorizer:
    if validation.dns1123_subdomain(name):
        raise EvaluationError("Invalid service account name")
    if validation.dns1123_label(namespace):
        raise EvaluationError("Invalid service account namespace")
    return AskingAuthorizer(Check((namespace, name)), of.decide, of.requested)


def _resource(of: Asking, resource: str) -> ResourceCheck:
    if not resource.strip():
        raise EvaluationError("resource must not be empty")
    return ResourceCheck(replace(of.check, resource=resource), of.decide)


def _with(name: str) -> Callable[[Asking, str], ResourceCheck]:
    return lambda of, value: ResourceCheck(replace(of.check, **{name: value}), of.decide)  # type: ignore[arg-type]


def _check_cost(_: Sizes) -> int:
    return CHECK_COST


def _methods() -> None:
    method = AUTHORIZATION.method
    method("path", (AUTHORIZER, STRING), PATH_CHECK, _path)
    method("group", (AUTHORIZER, STRING), GROUP_CHECK, lambda of, group: GroupCheck(replace(of.check, group=group), of.decide))
    method("serviceAccount", (AUTHORIZER, STRING, STRING), AUTHORIZER, _account)
    method("resource", (GROUP_CHECK, STRING), RESOURCE_CHECK, _resource)
    parts = ("subresource", "namespace", "name"), (("fieldSelector", "field_selector"), ("labelSelector", "label_selector"))
    for name, part in (*((name, name) for name in parts[0]), *parts[1]):
        method(name, (RESOURCE_CHECK, STRING), RESOURCE_CHECK, _with(part))
    for sort in (PATH_CHECK, RESOURCE_CHECK):
        method("check", (sort, STRING), DECISION, lambda of, verb: of.checked(verb), _check_cost)
    method("allowed", (DECISION,), BOOL, lambda found: found.allowed)
    method("reason", (DECISION,), STRING, lambda found: found.reason)
    method("errored", (DECISION,), BOOL, lambda found: bool(found.error))
    method("error", (DECISION,), STRING, lambda found: found.error)


_methods()
