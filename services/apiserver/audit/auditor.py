"""Begins the audit events of requests, where the policy keeps anything of them."""

from __future__ import annotations

import re
import time

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.service.authentication import User
from services.apiserver.audit.backlog import Backlog
from services.apiserver.audit.bodies import result
from services.apiserver.audit.event import SUCCESS, AuditEvent
from services.apiserver.audit.metrics import LEVELS
from services.apiserver.audit.policy import NOTHING, WORDS, Decision, Policy, Subject
from services.apiserver.audit.text import new_id
from services.apiserver.results import Ref, Written

# What a client may call its request; it stands in a header of the answer.
_IDENTITY = re.compile(r"[0-9A-Za-z._:-]{1,64}")


class Auditor:
    """One API server's. Events that are begun go to ``backlog``, which somebody has to run."""

    def __init__(self, policy: Policy, backlog: Backlog) -> None:
        self._policy, self.backlog = policy, backlog
        self._levels = {level: LEVELS.of(word) for level, word in WORDS.items()}

    def begin(
        self,
        user: User | None,
        verb: str,
        ref: Ref | None,
        uri: str,
        *,
        path: str = "",
        addresses: tuple[str, ...] = (),
        agent: str = "",
        identity: str = "",
        kind: type[AuditEvent] = AuditEvent,
    ) -> AuditEvent | None:
        """The event of a request, its receipt told; None where nothing is kept of it. ``user`` is None of a caller who is not known;
        ``identity`` is what the client calls the request, if it is fit to be shown."""
        decision = self._decided(user, verb, ref, path)
        self._levels[decision.level].inc()
        if decision is NOTHING:
            return None
        if not identity or not _IDENTITY.fullmatch(identity):
            identity = new_id()
        event = kind(self.backlog, decision, identity, user, verb, uri, ref, addresses, agent, time.time())
        event.received()
        return event

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
        self._name(found)
        ref = self.ref
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
