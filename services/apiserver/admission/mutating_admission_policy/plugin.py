"""Policies in CEL that change what is written, one after the other. Specified by Kubernetes' plugin of the same name."""

from __future__ import annotations

from typing import ClassVar

from knarr.api.admissionregistration.v1 import admissionregistration_pb2 as admission
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError, error_of
from knarr.machinery.patches.problems import detail_of
from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.configured import Configured
from services.apiserver.admission.outside import Outside
from services.apiserver.admission.policies.compiled import Policy, PolicyCompiler
from services.apiserver.admission.policies.invocations import Denied, Invocation, Invocations
from services.apiserver.admission.refusals import refused
from services.apiserver.admission.reinvocation import Asked
from services.apiserver.backend import Backend

POLICIES = version_of(admission.MutatingAdmissionPolicy).resource
BINDINGS = version_of(admission.MutatingAdmissionPolicyBinding).resource
INVALID = "Invalid"


class MutatingAdmissionPolicy(Configured[Policy]):
    """In the order of the policies' names, and of their bindings'. Where one has changed the object, all plugins are asked once more, and
    of the policies before it those that want that (``reinvocationPolicy: IfNeeded``)."""

    name: ClassVar[str] = "MutatingAdmissionPolicy"

    def __init__(self, backend: Backend, outside: Outside | None = None) -> None:
        super().__init__(backend, outside, [POLICIES, BINDINGS], PolicyCompiler())

    async def mutate(self, attributes: Attributes) -> bool:
        if attributes.obj is None:
            return False
        policies = self.concerned(attributes)
        round_, asked = Asked.begin(attributes, self.name)
        invocations, changed = Invocations(self.inquiry(attributes), policies), False
        problems: list[Denied] = []
        # Whom it is about is decided by the object as it came to this plugin.
        for invocation in [invocation async for invocation in invocations]:
            if round_.running and invocation.key not in asked.again:
                continue
            found = await self._mutate(invocations, invocation, problems)
            if found is None:
                continue
            if found:
                changed = round_.wanted = True
                asked.ask_again()
            if invocation.policy.is_reinvoked:
                asked.before.add(invocation.key)
        asked.leave(attributes)
        refusing = [problem for problem in (*invocations.problems, *problems) if not problem.policy.ignores]
        if refusing:
            raise _refusal(attributes, refusing)
        return changed

    async def _mutate(self, invocations: Invocations, invocation: Invocation, problems: list[Denied]) -> bool | None:
        """Whether it has changed the object; None where it is not about the request after all."""
        from services.apiserver.admission.conditions import ConditionsFailed
        from services.apiserver.admission.expressions import ExpressionFailed
        from services.apiserver.admission.mutating_admission_policy.patches import Mutation, MutationFailed, shape_for

        policy, version, changed = invocation.policy, invocation.version, False
        inquiry, scene = invocations.inquiry, invocations.scene(invocation)
        try:
            if not await policy.is_about(scene):
                return None
        except (ConditionsFailed, ExpressionFailed) as error:
            if not policy.ignores:
                problems.append(Denied(policy, invocation.binding, str(error)))
            return None
        namespace = await inquiry.namespace()
        for mutation in await policy.made(Mutation.all_of):
            original = await inquiry.shown.object(version)
            assert original is not None
            try:
                value = await scene.evaluated(mutation.value, policy.pace, namespaceObject=namespace)
                mutated = mutation.mutated(value, original, shape_for(version, inquiry.attributes.obj))
                changed |= mutated is not original and await inquiry.shown.take(version, mutated)
            except (MutationFailed, ExpressionFailed) as error:
                problems.append(Denied(policy, invocation.binding, str(error)))
            except StatusError as error:
                # What it makes is no such object: that is a failure of the policy, as any other.
                problems.append(Denied(policy, invocation.binding, f"error applying patch: {detail_of(error)}"))
        return changed


def _refusal(attributes: Attributes, problems: list[Denied]) -> StatusError:
    """The first one's words, and all of them as causes."""
    status = refused(attributes, "admission request denied by policy").status
    messages = [problem.message("policy") for problem in problems]
    status.message = messages[0]
    if not problems[0].words.startswith("failed to configure "):
        status.reason = INVALID
    for message in messages:
        status.details.causes.add(message=message)
    return error_of(status)
