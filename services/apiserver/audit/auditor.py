"""Begins the audit events of requests, where the policy keeps anything of them."""

from __future__ import annotations

import re

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.service.authentication import User
from services.apiserver.audit.backlog import Backlog
from services.apiserver.audit.bodies import result
from services.apiserver.audit.event import SUCCESS, AuditEvent, Common
from services.apiserver.audit.metrics import LEVELS
from services.apiserver.audit.policy import NOTHING, WORDS, Decision, Policy, Subject
from services.apiserver.audit.text import asked_json, caller_json, new_id
from services.apiserver.results import Ref, Written

# What a client may call its request; it stands in a header of the answer.
_IDENTITY = re.compile(rb"[0-9A-Za-z._:-]{1,64}")


def identity_of(named: bytes) -> bytes:
    """What a request is called, if what its client calls it is fit to be shown, or a name of its own."""
    return named if _IDENTITY.fullmatch(named) else new_id()


class Auditor:
    """One API server's. Events that are begun go to ``backlog``, which somebody has to run."""

    def __init__(self, policy: Policy, backlog: Backlog) -> None:
        self._policy, self.backlog = policy, backlog
        self._levels = {word: LEVELS.of(word) for word in WORDS.values()}

    def common(
        self,
        user: User | None,
        verb: str,
        ref: Ref | None,
        uri: str,
        *,
        path: str = "",
        addresses: tuple[str, ...] = (),
        agent: str = "",
    ) -> Common:
        """What all events of requests have in common that are the same in all of this; for who keeps it, as long as the user is the same
        object. ``user`` is None of a caller who is not known."""
        decision = self._decided(user, verb, ref, path)
        told = "" if decision is NOTHING else asked_json(uri, verb) + caller_json(user, addresses, agent)
        return Common(self.backlog, decision, self._levels[decision.word], user, ref, told.encode())

    def begin(self, common: Common, identity: bytes = b"") -> PipelineEvent | None:
        """The event of a request that has no face to end it; None where nothing is kept of it. ``identity`` is what the client calls the
        request, if anything."""
        common.count.value += 1
        return PipelineEvent(common, identity_of(identity)) if common.is_kept else None

    def _decided(self, user: User | None, verb: str, ref: Ref | None, path: str) -> Decision:
        """By who asks, not by whom he plays."""
        if user is None:
            return self._policy.decide(Subject("", (), verb, ref, path))
        if user.impersonator is not None:
            user = user.impersonator
        if ref is None:
            return self._policy.decide(Subject(user.name, user.groups, verb, None, path))
        return self._policy.of_resource(user.name, user.groups, verb, ref)


class PipelineEvent(AuditEvent):
    """Of a request that has no face to end it: what the pipeline says is the end."""

    __slots__ = ()

    def begun(self) -> None:
        self.started(200)

    def concluded(self, code: int, status: meta.Status | None, found: object = None) -> None:
        if isinstance(found, Written) and found.created:
            code = 201
        super().concluded(code, status, found)
        ref = self.common.ref
        self.complete(code, status or SUCCESS, result(found, ref) if self.wants_response and ref is not None else None)

    def failed(self, error: Exception) -> None:
        self.panic(f"{type(error).__name__}: {error}")


def path_of(ref: Ref) -> str:
    """The path by which REST's clients ask for the same."""
    version = ref.version
    parts = ["/apis", version.group, version.version] if version.group else ["/api", version.version]
    if ref.namespace:
        parts += ["namespaces", ref.namespace]
    return "/".join([*parts, ref.resource.plural, *(part for part in (ref.name, ref.subresource) if part)])
