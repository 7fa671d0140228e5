"""What admission is told of a request: Kubernetes' ``admission.Attributes``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from knarr.machinery.resources import Resource
from knarr.service.authentication import User
from services.apiserver.request import Request

# Patches and writes of sub-resources that exist are updates; bindings and evictions are created; exec connects.
CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"


@dataclass(slots=True)
class Reinvocation:
    """Whether the plugins are asked once more, since one of a late comer changed the object behind the others' backs: ``wanted`` by it,
    ``running`` while they are. ``kept`` is what a plugin keeps until then, by its name."""

    wanted: bool = False
    running: bool = False
    kept: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Attributes:
    """One object on its way through a request.

    ``name`` is empty while the server has yet to generate one. ``obj`` is what the request brings: the object, or the body of a
    sub-resource (a Scale, a Binding, an Eviction), the options of a CONNECT, None for a DELETE; only ``mutate`` may change it.
    ``old`` is what is stored, in the same form, for an UPDATE and a DELETE; it is only read.
    """

    operation: str
    request: Request
    name: str
    obj: Any = None
    old: Any = None
    # Made by the first plugin that has something to say in it.
    reinvocation: Reinvocation | None = None

    @property
    def resource(self) -> Resource:
        return self.request.ref.resource

    @property
    def subresource(self) -> str:
        return self.request.ref.subresource

    @property
    def namespace(self) -> str:
        """Empty for what lies in no namespace."""
        return self.request.ref.namespace

    @property
    def user(self) -> User:
        return self.request.user

    @property
    def options(self) -> Any:
        """The options message of the request's verb: an update may come from PatchOptions, as in Kubernetes."""
        return self.request.options

    def annotate(self, key: str, value: str) -> None:
        """Tells the audit log something about the request; see ``Request.annotate``."""
        self.request.annotate(key, value)

    @property
    def dry_run(self) -> bool:
        """Whether nothing will be stored: then a plugin leaves no trace elsewhere either."""
        return self.request.dry_run
