"""Policies in CEL that may refuse what is written. Specified by Kubernetes' plugin of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import orjson

from knarr.api.admissionregistration.v1 import admissionregistration_pb2 as admission
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError, error_of
from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.configured import Configured
from services.apiserver.admission.outside import Outside
from services.apiserver.admission.policies.compiled import Binding, Policy, PolicyCompiler
from services.apiserver.admission.policies.invocations import Denied, Invocation, Invocations
from services.apiserver.admission.refusals import refused
from services.apiserver.backend import Backend

if TYPE_CHECKING:
    from services.apiserver.admission.validating_admission_policy.evaluation import Denial, Outcome

POLICIES = version_of(admission.ValidatingAdmissionPolicy).resource
BINDINGS = version_of(admission.ValidatingAdmissionPolicyBinding).resource
DENY, WARN, AUDIT = "Deny", "Warn", "Audit"
INVALID = "Invalid"
CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413}
OTHER_CODE = 422
FAILURE = "validation.policy.admission.k8s.io/validation_failure"


class ValidatingAdmissionPolicy(Configured[Policy]):
    """All policies are asked; who is refused hears the first refusal."""

    name: ClassVar[str] = "ValidatingAdmissionPolicy"

    def __init__(self, backend: Backend, outside: Outside | None = None) -> None:
        super().__init__(backend, outside, [POLICIES, BINDINGS], PolicyCompiler())

    async def validate(self, attributes: Attributes) -> None:
        policies = self.concerned(attributes)
        invocations = Invocations(self.inquiry(attributes), policies)
        denied: list[Denied] = []
        said: dict[str, list[str]] = {}
        async for invocation in invocations:
            outcome = await self._judged(invocations, invocation)
            denied += _taken(attributes, invocation, outcome)
            for key, value in outcome.annotations.items():
                values = said.setdefault(f"{invocation.policy.name}/{key}", [])
                if value not in values:
                    values.append(value)
        denied += [problem for problem in invocations.problems if not problem.policy.ignores]
        for key, values in said.items():
            # Several parameters may say several things.
            attributes.annotate(key, ", ".join(values))
        if denied:
            order = {policy.name: place for place, policy in enumerate(policies)}
            raise _refusal(attributes, min(denied, key=lambda one: order[one.policy.name]))

    async def _judged(self, invocations: Invocations, invocation: Invocation) -> Outcome:
        from services.apiserver.admission.conditions import ConditionsFailed
        from services.apiserver.admission.expressions import ExpressionFailed
        from services.apiserver.admission.validating_admission_policy.evaluation import Denial, Outcome, Validations

        policy, scene = invocation.policy, invocations.scene(invocation)
        try:
            if not await policy.is_about(scene):
                return Outcome()
            validations, namespace = await policy.made(Validations.of), await invocations.inquiry.namespace()
            return await scene.evaluated(validations.judged, policy.pace, namespaceObject=namespace)
        except (ConditionsFailed, ExpressionFailed) as error:
            return Outcome() if policy.ignores else Outcome([Denial(0, str(error))])


def _taken(attributes: Attributes, invocation: Invocation, outcome: Outcome) -> Sequence[Denied]:
    """What refuses, as the binding says; it may want a warning or an entry of the audit log instead, or besides."""
    policy, binding, denied = invocation.policy, invocation.binding, []
    for denial in outcome.denials:
        for action in binding.spec.validation_actions:
            if action == DENY:
                denied.append(Denied(policy, binding, denial.message, denial.reason))
            elif action == WARN:
                words = f"Validation failed for ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}': {denial.message}"
                attributes.request.warn(words)
            elif action == AUDIT:
                attributes.annotate(FAILURE, _failure(policy, binding, denial))
    return [*denied, *(Denied(policy, binding, words) for words in outcome.broken)]


def _failure(policy: Policy, binding: Binding, denial: Denial) -> str:
    found = {
        "message": denial.message, "policy": policy.name, "binding": binding.name, "expressionIndex": denial.index,
        "validationActions": list(binding.spec.validation_actions),
    }  # fmt: skip
    return orjson.dumps([found]).decode()


def _refusal(attributes: Attributes, denied: Denied) -> StatusError:
    message = denied.message("ValidatingAdmissionPolicy")
    status = refused(attributes, message).status
    status.reason = denied.reason or INVALID
    status.code = CODES.get(status.reason, OTHER_CODE)
    status.details.causes.add(message=message)
    return error_of(status)
