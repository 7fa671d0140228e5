"""Which policies a request is about, by which bindings, and with which parameters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from knarr.machinery.errors import StatusError
from knarr.machinery.resources import Version
from services.apiserver.admission.inquiry import Inquiry
from services.apiserver.admission.policies.compiled import Binding, Policy
from services.apiserver.admission.policies.params import Misconfigured, params_of
from services.apiserver.admission.shown import Json

if TYPE_CHECKING:
    from services.apiserver.admission.expressions import Scene


class Denied(NamedTuple):
    """Why a policy refuses a request, or could not be asked about it. ``binding`` is None where no binding is to blame; ``reason`` is empty
    where the policy names none."""

    policy: Policy
    binding: Binding | None
    words: str
    reason: str = ""

    def message(self, kind: str) -> str:
        by = f" with binding '{self.binding.name}'" if self.binding is not None else ""
        return f"{kind} '{self.policy.name}'{by} denied request: {self.words}"


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

    def __init__(self, inquiry: Inquiry, policies: Sequence[Policy]) -> None:
        self.inquiry, self._policies = inquiry, policies
        self.problems: list[Denied] = []

    async def __aiter__(self) -> AsyncIterator[Invocation]:
        """One after the other, each looked for when it is its turn; what goes wrong with finding one is a problem, and its place is left
        out."""
        for policy in self._policies:
            try:
                version = await self.inquiry.version(policy.match)
            except StatusError as error:
                self.problems.append(Denied(policy, None, f"failed to configure policy: {error.status.message}"))
                continue
            if version is None:
                continue
            for binding in policy.bindings:
                try:
                    if binding.match is not None and await self.inquiry.version(binding.match) is None:
                        continue
                    params = await params_of(self.inquiry, policy, binding)
                except StatusError as error:
                    self.problems.append(Denied(policy, binding, f"failed to configure binding: {error.status.message}"))
                    continue
                except Misconfigured as error:
                    self.problems.append(Denied(policy, binding, f"failed to configure binding: {error}"))
                    continue
                for param in params:
                    yield Invocation(policy, binding, version, param)

    def scene(self, invocation: Invocation) -> Scene:
        """The request as the expressions of an invocation see it."""
        # What it stands on is only loaded by those who have expressions.
        from knarr.machinery.cel.admission import PARAMS

        more = {PARAMS: invocation.param} if invocation.policy.has_params else {}
        return self.inquiry.scene(invocation.version, **more)
