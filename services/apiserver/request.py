"""One request, as every path through the API server knows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.resources import Resource
from knarr.service.authentication import User
from services.apiserver.apply.names import manager_name
from services.apiserver.results import Ref

# Kubernetes' words for what a request does, as RBAC rules name it.
GET, LIST, WATCH = "get", "list", "watch"
CREATE, UPDATE, PATCH, DELETE, DELETE_COLLECTION = "create", "update", "patch", "delete", "deletecollection"

# How long a request may take whose caller does not say; also the longest that a caller can ask for, as in Kubernetes.
REQUEST_SECONDS = 60.0
# Of what admission warns of, where strangers (webhooks, authors of policies) choose the words: the rest is left out.
MAX_WARNINGS, MAX_WARNING_LETTERS = 64, 4096


class Annotated(Protocol):
    """What is kept of a request for the audit log. The authorizer says whether it lets the request pass, and why, if it knows: the first
    reason holds."""

    is_permitted: bool
    reason: str

    def annotate(self, key: str, value: str) -> None:
        """Notes a value under a qualified name; the first one holds."""
        ...

    def about(self, name: str) -> None:
        """What is created is called so."""
        ...

    def begun(self) -> None:
        """The pipeline has an answer that goes on."""
        ...

    def concluded(self, code: int, status: meta.Status | None, found: object = None) -> None:
        """The pipeline has answered ``found``, or refused with a status."""
        ...

    def failed(self, error: Exception) -> None:
        """The pipeline has broken."""
        ...


@dataclass(slots=True)
class Request:
    """Who wants what of which object or collection. One is made for each call of ``Api``, and nothing changes it but what is noted of it.

    ``verb`` is one of the words above; ``options`` the message of its options (GetOptions, ListOptions for a watch too,
    CreateOptions …; PodLogOptions and PodExecOptions for streams, in the words of the gRPC face). ``deadline`` is the event loop's
    time at which the caller waits no longer; a watch or a stream that has begun goes on behind it.
    """

    user: User
    verb: str
    ref: Ref
    options: Any
    deadline: float = math.inf
    # What the client calls itself (its User-Agent); None where clients have no such word.
    agent: str | None = None
    # What is kept of it for the audit log, where anything is.
    audit: Annotated | None = None
    # What admission has its caller warned of, where there is anything.
    warned: list[str] | None = None
    # Whether a client in this process keeps its caller and its reference, as the face of REST does: the same objects may come again.
    is_kept: bool = False

    def annotate(self, key: str, value: str) -> None:
        """Tells the audit log what was found about this request: by the authorizer, by an admission plugin. ``key`` is a qualified name
        like ``pod-security.kubernetes.io/audit-violations``; the first value of one holds. Costs nothing where no log is kept."""
        if self.audit is not None:
            self.audit.annotate(key, value)

    def warn(self, text: str) -> None:
        """Says something to the caller, whatever becomes of the request; the same thing once."""
        found = self._warned()
        text = text[:MAX_WARNING_LETTERS]
        if len(found) < MAX_WARNINGS and text not in found:
            found.append(text)

    @property
    def warnings(self) -> Sequence[str]:
        """What is said to the caller so far."""
        return self.warned if self.warned is not None else ()

    def as_create(self, options: Any) -> Request:
        """The create that an update turns into where there is nothing to update; what is noted of it is noted of both."""
        self._warned()
        return replace(self, verb=CREATE, options=options)

    def of(self, ref: Ref) -> Request:
        """The same as far as it is about ``ref``: one of a collection, or an object by another path of its own."""
        self._warned()
        return replace(self, ref=ref)

    def _warned(self) -> list[str]:
        if self.warned is None:
            self.warned = []
        return self.warned

    @property
    def resource(self) -> Resource:
        return self.ref.resource

    @property
    def subresource(self) -> str:
        return self.ref.subresource

    @property
    def namespace(self) -> str:
        return self.ref.namespace

    @property
    def name(self) -> str:
        """Empty for a collection, and so for a create of an object."""
        return self.ref.name

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be stored."""
        return bool(getattr(self.options, "dry_run", ()))

    @property
    def field_manager(self) -> str:
        return str(getattr(self.options, "field_manager", ""))

    @property
    def manager(self) -> str:
        """Whom what is written belongs to, whether the request names its manager or not."""
        return manager_name(self.field_manager, self.agent, self.user.name)
