"""One request, as every path through the API server knows it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from knarr.machinery.resources import Resource
from knarr.service.authentication import User
from services.apiserver.apply.names import manager_name
from services.apiserver.results import Ref

# Kubernetes' words for what a request does, as RBAC rules name it.
GET, LIST, WATCH = "get", "list", "watch"
CREATE, UPDATE, PATCH, DELETE, DELETE_COLLECTION = "create", "update", "patch", "delete", "deletecollection"

# How long a request may take whose caller does not say; also the longest that a caller can ask for, as in Kubernetes.
REQUEST_SECONDS = 60.0


class Annotated(Protocol):
    """What is kept of a request for the audit log."""

    def annotate(self, key: str, value: str) -> None:
        """Notes a value under a qualified name; the first one holds."""
        ...


@dataclass(slots=True)
class Request:
    """Who wants what of which object or collection. One is made for each call of ``Api``, and nothing changes it.

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

    def annotate(self, key: str, value: str) -> None:
        """Tells the audit log what was found about this request: by the authorizer, by an admission plugin. ``key`` is a qualified name
        like ``pod-security.kubernetes.io/audit-violations``; the first value of one holds. Costs nothing where no log is kept."""
        if self.audit is not None:
            self.audit.annotate(key, value)

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
