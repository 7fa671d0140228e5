"""Policies in CEL that change what is written, one after the other. Specified by Kubernetes' plugin of the same name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from knarr.api.admissionregistration.v1 import admissionregistration_pb2 as admission
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError, error_of
from knarr.machinery.patches.problems import detail_of
from knarr.machinery.resources import Resource
from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.configured import Configured
from services.apiserver.admission.outside import Outside
from services.apiserver.admission.policies.compiled import IF_NEEDED, Policy, PolicyCompiler
from services.apiserver.admission.policies.invocations import Invocation, Invocations, Problem
from services.apiserver.admission.refusals import refused
from services.apiserver.admission.reinvocation import Asked
from services.apiserver.backend import Backend

if TYPE_CHECKING:
    from services.apiserver.admission.mutating_admission_policy.patches import Mutation

POLICIES = version_of(admission.MutatingAdmissionPolicy).resource
BINDINGS = version_of(admission.MutatingAdmissionPolicyBinding).resource
INVALID = "Invalid"


class MutatingAdmissionPolicy:
    """In the order of the policies' names, and of their bindings'. Where one has changed the object, all plugins are asked once more, and
    of the policies before it those that want that (``reinvocationPolicy: IfNeeded``)."""

    name: ClassVar[str] = "MutatingAdmissionPolicy"

    def __init__(self, backend: Backend, outside: Outside | None = None) -> None:
        self._backend, self._outside = backend, outside or Outside()
        self._configured = Configured(backend, [POLICIES, BINDINGS], PolicyCompiler())
        # They go with their policies.
        self._mutations: WeakKeyDictionary[Policy, list[Mutation]] = WeakKeyDictionary()

    def subscribe(self, listener: Callable[[], None]) -> None:
        self._configured.subscribe(listener)

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return self._configured.concern(operation, resource, subresource)

    async def mutate(self, attributes: Attributes) -> bool:
        if attributes.obj is None:
            return False
        policies = self._configured.of(attributes.operation, attributes.request.ref.version, attributes.subresource)
        round_, asked = Asked.begin(attributes, self.name)
        invocations, changed = Invocations(self._backend, self._outside, attributes, policies), False
        problems: list[Problem] = []
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
            if invocation.policy.spec.reinvocation_policy == IF_NEEDED:
                asked.before.add(invocation.key)
        asked.leave(attributes)
        refusing = [problem for problem in (*invocations.problems, *problems) if not problem.policy.ignores]
        if refusing:
            raise _refusal(attributes, refusing)
        return changed

    async def _mutate(self, invocations: Invocations, invocation: Invocation, problems: list[Problem]) -> bool | None:
        """Whether it has changed the object; None where it is not about the request after all."""
        from services.apiserver.admission.conditions import ConditionsFailed
        from services.apiserver.admission.expressions import PARAMS, ExpressionFailed
        from services.apiserver.admission.mutating_admission_policy.patches import Mutation, MutationFailed, shape_for

        policy, version, changed = invocation.policy, invocation.version, False
        mutations = self._mutations.get(policy)
        if mutations is None:
            mutations = self._mutations[policy] = await policy.made(Mutation.all_of)
        more = {PARAMS: invocation.param} if policy.has_params else {}
        try:
            scene = await invocations.scene(invocation)
            if policy.conditions is not None and not await policy.conditions.hold(scene, **more):
                return None
        except (ConditionsFailed, ExpressionFailed) as error:
            if not policy.ignores:
                problems.append(Problem(policy, invocation.binding, str(error)))
            return None
        namespace = await invocations.namespace()
        for mutation in mutations:
            original = await invocations.shown.object(version)
            assert original is not None
            try:
                value = await scene.evaluated(mutation.value, policy.pace, namespaceObject=namespace, **more)
                mutated = mutation.mutated(value, original, shape_for(version, invocations.shown.attributes.obj))
                changed |= mutated is not original and await invocations.shown.take(version, mutated)
            except (MutationFailed, ExpressionFailed) as error:
                problems.append(Problem(policy, invocation.binding, str(error)))
            except StatusError as error:
                # What it makes is no such object: that is a failure of the policy, as any other.
                problems.append(Problem(policy, invocation.binding, f"error applying patch: {detail_of(error)}"))
        return changed


def _refusal(attributes: Attributes, problems: list[Problem]) -> StatusError:
    """The first one's words, and all of them as causes."""
    status = refused(attributes, "admission request denied by policy").status
    messages = []
    for problem in problems:
        by = f" with binding '{problem.binding.name}'" if problem.binding is not None else ""
        messages.append(f"policy '{problem.policy.name}'{by} denied request: {problem.words}")
    status.message = messages[0]
    if not problems[0].words.startswith("failed to configure "):
        status.reason = INVALID
    for message in messages:
        status.details.causes.add(message=message)
    return error_of(status)
