"""Which policies a request is about, by which bindings, and with which parameters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError, not_found
from knarr.machinery.resources import Version
from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.facts import facts_of
from services.apiserver.admission.matching import Match, is_namespaces
from services.apiserver.admission.outside import Outside
from services.apiserver.admission.policies.compiled import Binding, Policy
from services.apiserver.admission.policies.params import Misconfigured, params_of
from services.apiserver.admission.shown import Json, Shown
from services.apiserver.admission.webhooks.calls import namespace_labels
from services.apiserver.backend import Backend
from services.apiserver.results import Ref

NAMESPACE = version_of(core.Namespace)


class Problem(NamedTuple):
    """Why a policy could not be asked. ``binding`` is None where no binding is to blame."""

    policy: Policy
    binding: Binding | None
    words: str


class Invocation(NamedTuple):
    """A policy, by a binding, in the version in which it looks at the request; with one parameter or None."""

    policy: Policy
    binding: Binding
    version: Version
    param: Json | None

    @property
    def key(self) -> str:
        """Tells it apart from all others of the same request."""
        metadata: Any = (self.param or {}).get("metadata") or {}
        return "/".join((self.policy.name, self.binding.name, metadata.get("namespace") or "", metadata.get("name") or ""))


class Invocations:
    """Of one phase of one request."""

    def __init__(self, backend: Backend, outside: Outside, attributes: Attributes, policies: Sequence[Policy]) -> None:
        self.shown = Shown(attributes, outside)
        self._backend, self._outside, self._attributes, self._policies = backend, outside, attributes, policies
        self._facts: dict[Version, Json] = {}
        self.problems: list[Problem] = []

    async def __aiter__(self) -> AsyncIterator[Invocation]:
        """One after the other, each looked for when it is its turn; what goes wrong with finding one is a problem, and its place is left
        out."""
        attributes = self._attributes
        for policy in self._policies:
            try:
                version = await self._version(policy.match)
            except StatusError as error:
                self.problems.append(Problem(policy, None, f"failed to configure policy: {error.status.message}"))
                continue
            if version is None:
                continue
            for binding in policy.bindings:
                try:
                    if binding.match is not None and await self._version(binding.match) is None:
                        continue
                    params = await params_of(self._backend, self._outside, policy, binding, attributes)
                except StatusError as error:
                    self.problems.append(Problem(policy, binding, f"failed to configure binding: {error.status.message}"))
                    continue
                except Misconfigured as error:
                    self.problems.append(Problem(policy, binding, f"failed to configure binding: {error}"))
                    continue
                for param in params:
                    yield Invocation(policy, binding, version, param)

    async def _version(self, match: Match) -> Version | None:
        attributes = self._attributes
        version = match.version(attributes.operation, attributes.request.ref.version, attributes.subresource, attributes.name)
        if version is None or not match.selects(attributes, await namespace_labels(self._backend, attributes, match)):
            return None
        return version

    async def scene(self, invocation: Invocation) -> Any:
        """The request as the expressions of an invocation see it."""
        from services.apiserver.admission.expressions import Scene

        version = invocation.version
        if version not in self._facts:
            self._facts[version] = facts_of(self._attributes, version)
        return Scene(self.shown, self._outside, version, self._facts[version], self._backend.cache.registry)

    async def namespace(self) -> Json | None:
        """The namespace that the request is in, as expressions see it; None where it is in none. Raises NotFound."""
        from services.apiserver.admission.expressions import namespace_shown

        attributes = self._attributes
        name = attributes.namespace
        if not name or is_namespaces(attributes.resource):
            return None
        ref = Ref(NAMESPACE, name=name)
        entry = self._backend.cached(NAMESPACE.resource, "", name) or await self._backend.current(ref, attributes.request.deadline)
        if entry is None:
            raise not_found("namespaces", name)
        return namespace_shown(NAMESPACE.form.to_dict(entry.shared_message))
