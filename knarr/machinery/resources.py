"""Resources, the versions they are served in, and the registry of what one cluster serves.

A *resource* is what is stored: a key space, a scope, one storage version. A *version* is a form in which it is read and written: a group,
a version, a kind and a message; a resource may have several, also in several groups, which convert to and from the storage version. A
*sub-resource* hangs on every object of a resource, whatever the version. ``knarr.machinery.catalog`` has the built-in resources.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from google.protobuf.message import Message

from knarr.machinery.errors import status_error
from knarr.machinery.object_forms import MessageForm, ObjectForm
from knarr.machinery.schema import descriptor_of
from knarr.machinery.type_names import api_version_and_kind

STANDARD_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Route(Enum):
    """How a request for a sub-resource is answered.

    OBJECT: read and written as a part of its object. CREATE: a body is posted to it and something is done. STREAM: bytes from the
    node, in one or both directions. PROXY: the request itself is passed on.
    """

    OBJECT = "object"
    CREATE = "create"
    STREAM = "stream"
    PROXY = "proxy"


@dataclass(frozen=True, slots=True, eq=False)
class Subresource:
    """A part of every object of a resource, under a path of its own.

    ``body`` is the message that is read and written there; None means the resource's own. ``options`` is the message whose fields the
    query of a stream spells; None means the body. ``formerly`` are older ``apiVersion`` s in which clients still send the very same body.
    """

    name: str
    verbs: tuple[str, ...] = ("get", "patch", "update")
    body: type[Message] | None = None
    route: Route = Route.OBJECT
    options: type[Message] | None = None
    formerly: tuple[str, ...] = ()

    @property
    def body_names(self) -> tuple[str, str] | None:
        """``apiVersion`` and ``kind`` of the body; None where it is the resource's own."""
        return None if self.body is None else api_version_and_kind(descriptor_of(self.body))


@dataclass(frozen=True, slots=True)
class Conversion:
    """Between a served version and the storage version. Both are pure: they take a message and answer a new one."""

    to_storage: Callable[[Any], Any]
    from_storage: Callable[[Any], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """A form in which a resource is served; compared by identity, because it is the key of much that is looked up on every request.

    ``group`` is empty for the core group. ``conversion`` is None where the message is the stored one. ``deprecation_warning`` is told to
    everybody who uses the version; empty for one that is not deprecated. ``resource`` is set by the resource that the version belongs to.
    ``openapi`` is for a version whose objects have no message: it answers their OpenAPI v3 schema, without apiVersion, kind and metadata,
    and is asked each time that documents are made.
    ``list_message`` is None where nothing lists them.
    ``message`` is the class of its objects, ``form`` says how they are kept, read and written: that of a message unless given.
    """

    group: str
    version: str
    kind: str
    message: type[Message]
    list_message: type[Message] | None
    conversion: Conversion | None = None
    deprecation_warning: str = ""
    openapi: Callable[[], dict[str, Any]] | None = None
    form: ObjectForm = None  # type: ignore[assignment]
    # Whether it may be asked for without a registry that is told to serve it; what is stored in a version that may not can still be read.
    served: bool = True
    # ``PodList`` for Pod, unless given.
    list_kind: str = ""
    # Those that are served in this version, where that differs by version; None means all that the resource has.
    own_subresources: tuple[Subresource, ...] | None = None
    resource: Resource = field(init=False, repr=False)
    # ``v1`` or ``apps/v1``.
    api_version: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "api_version", f"{self.group}/{self.version}" if self.group else self.version)
        object.__setattr__(self, "list_kind", self.list_kind or f"{self.kind}List")
        if self.form is None:
            object.__setattr__(self, "form", MessageForm(self.message, self.names))

    @property
    def names(self) -> tuple[str, str]:
        """``apiVersion`` and ``kind``."""
        return self.api_version, self.kind

    @property
    def qualified(self) -> str:
        """The resource as error messages name it: ``pods``, ``deployments.apps``."""
        return f"{self.resource.plural}.{self.group}" if self.group else self.resource.plural

    def to_storage(self, message: Any) -> Any:
        """An object of this version as it is stored. What is stored like this, or is no object (a Scale), is answered as it is."""
        return self.conversion.to_storage(message) if self.conversion is not None and isinstance(message, self.message) else message

    def from_storage(self, message: Any) -> Any:
        """A stored object in this version. What is stored like this, or is no object (a Scale, a Status), is answered as it is."""
        if self.conversion is None or not isinstance(message, self.resource.storage.message):
            return message
        return self.conversion.from_storage(message)

    @property
    def subresources(self) -> tuple[Subresource, ...]:
        """Those that are served in this version."""
        return self.resource.subresources if self.own_subresources is None else self.own_subresources

    def subresource(self, name: str) -> Subresource | None:
        return next((entry for entry in self.subresources if entry.name == name), None)

    def form_of(self, obj: Any) -> ObjectForm:
        """The form of an object of this version, or of something else that is written in its place (a Scale, a Status)."""
        if isinstance(obj, self.message):
            return self.form
        message: type[Message] = type(obj)
        return message_form(message)

    @property
    def listed(self) -> type[Message]:
        """The message of a list; raises ValueError where nothing lists the version."""
        if self.list_message is None:
            raise ValueError(f"{self.qualified} is not listed")
        return self.list_message

    def body_of(self, subresource: Subresource | None) -> type[Message]:
        """The message that is written to an object or to a sub-resource of it."""
        return subresource.body if subresource is not None and subresource.body is not None else self.message


def message_form(message: type[Message]) -> ObjectForm:
    """The form of a message that goes by the names of its type."""
    return MessageForm(message, api_version_and_kind(descriptor_of(message)))


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """What is stored under one key prefix; compared by identity.

    ``versions`` has the storage version first. ``key`` is the part of the etcd key after ``/registry/``, the plural name unless given;
    it follows Kubernetes' layout. ``formerly`` are the ``apiVersion`` s, served no more, under which older Kubernetes stored the very same
    message. ``stored`` is False where there are no objects, only questions and answers.
    """

    plural: str
    versions: tuple[Version, ...]
    namespaced: bool = True
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    key: str = ""
    formerly: tuple[str, ...] = ()
    verbs: tuple[str, ...] = STANDARD_VERBS
    subresources: tuple[Subresource, ...] = ()
    stored: bool = True
    # How a definition has its versions converted, if there are several (a CustomResourceConversion). They have no conversions of their own
    # then: the pipeline looks at objects in the version of the request, and has them converted before.
    converter: Any | None = None
    # The version that is stored.
    storage: Version = field(init=False)
    # ``/registry/pods/``: every key of this resource starts so.
    key_prefix: str = field(init=False)
    # Set when what defines the resource is being deleted: nothing is created any more.
    closing: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        storage = self.versions[0]
        if storage.conversion is not None:
            raise ValueError(f"{self.plural}: the storage version converts to nothing")
        object.__setattr__(self, "storage", storage)
        object.__setattr__(self, "singular", self.singular or storage.kind.lower())
        object.__setattr__(self, "key_prefix", f"/registry/{self.key or self.plural}/")
        for version in self.versions:
            if getattr(version, "resource", self) is not self:
                raise ValueError(f"{self.plural}: {version.api_version} belongs to another resource")
            object.__setattr__(version, "resource", self)

    def close(self) -> None:
        """Lets no more objects be created; those that are there can be read, watched and deleted."""
        object.__setattr__(self, "closing", True)

    def subresource(self, name: str) -> Subresource | None:
        return next((entry for entry in self.subresources if entry.name == name), None)


def version_priority(version: str) -> tuple[int, int, int, str]:
    """Sorts the versions of a group as Kubernetes does: ``v2``, ``v1``, ``v1beta2``, ``v1alpha1``, and last what has another form."""
    found = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if found is None:
        return (3, 0, 0, version)
    major, stage, minor = found.groups()
    return ({None: 0, "beta": 1, "alpha": 2}[stage], -int(major), -int(minor or 0), version)


def served(version: Version | None, message: type[Message]) -> Version:
    """The version that was found for a message; raises NotFound when there is none."""
    if version is None:
        raise status_error("NotFound", f"the server could not find the requested resource: {message.DESCRIPTOR.full_name} is not served")
    return version


def _is_posted(resource: Resource, subresource: str, body: type[Message]) -> bool:
    found = resource.subresource(subresource)
    return found is not None and found.route is Route.CREATE and found.body is body


# Told of every change: the resource that was served, and the one that is served now; one of them may be None.
Listener = Callable[[Resource | None, Resource | None], None]


class Registry:
    """The resources that one cluster serves, found by version. It may change while it runs; listeners hear of it at once, in order.

    ``revived`` are the ``apiVersion`` s that are served although they are retired (``policy/v1beta1``).
    """

    def __init__(self, resources: tuple[Resource, ...] = (), revived: Collection[str] = ()) -> None:
        self._revived = frozenset(revived)
        self._resources: dict[str, Resource] = {}
        self._by_plural: dict[tuple[str, str, str], Version] = {}
        self._by_kind: dict[tuple[str, str, str], Version] = {}
        self._by_message: dict[type[Message], Version] = {}
        # As far as it was asked for.
        self._posted: dict[tuple[str, type[Message]], Version | None] = {}
        self._listeners: list[Listener] = []
        for resource in resources:
            self.add(resource)

    def add(self, resource: Resource) -> None:
        """Serves a resource; raises ValueError when one of its names or its keys are taken."""
        self._check_free(resource, None)
        self._enter(resource)
        self._tell(None, resource)

    def replace(self, old: Resource, new: Resource) -> None:
        """Serves ``new`` where ``old`` was; raises KeyError when that is not served, ValueError when a name or the keys are taken."""
        if self._resources.get(old.key_prefix) is not old:
            raise KeyError(old.plural)
        self._check_free(new, old)
        self._leave(old)
        self._enter(new)
        self._tell(old, new)

    def remove(self, resource: Resource) -> None:
        """Serves a resource no more; raises KeyError when it is not served. What is stored stays."""
        if self._resources.get(resource.key_prefix) is not resource:
            raise KeyError(resource.plural)
        self._leave(resource)
        self._tell(resource, None)

    def subscribe(self, listener: Listener) -> None:
        """Calls ``listener`` after every change from now on. Those who derive from the registry look at it first, then subscribe."""
        self._listeners.append(listener)

    def serves(self, version: Version) -> bool:
        """Whether a version of a resource that is here may be asked for."""
        return version.served or version.api_version in self._revived

    def served(self, group: str, version: str, plural: str) -> Version | None:
        return self._by_plural.get((group, version, plural))

    def preferred(self, group: str, plural: str) -> Version | None:
        """The version that a resource is best read in by who names only its group."""
        found = (version for version in self._by_plural.values() if (version.group, version.resource.plural) == (group, plural))
        return min(found, key=lambda version: version_priority(version.version), default=None)

    def named(self, group: str, version: str, kind: str) -> Version | None:
        return self._by_kind.get((group, version, kind))

    def of(self, message: type[Message]) -> Version | None:
        """The version that has this message."""
        return self._by_message.get(message)

    def posted_to(self, subresource: str, body: type[Message]) -> Version | None:
        """The version of the resource on whose ``subresource`` such a body is created (a Binding on ``pods/binding``)."""
        key = subresource, body
        if key not in self._posted:
            self._posted[key] = next((found.storage for found in self._resources.values() if _is_posted(found, subresource, body)), None)
        return self._posted[key]

    @property
    def versions(self) -> list[Version]:
        """All versions of all resources that are served."""
        return list(self._by_plural.values())

    def __contains__(self, resource: Resource) -> bool:
        return self._resources.get(resource.key_prefix) is resource

    def __iter__(self) -> Iterator[Resource]:
        return iter(list(self._resources.values()))

    def _check_free(self, resource: Resource, but: Resource | None) -> None:
        for prefix, other in self._resources.items():
            if other is not but and (prefix.startswith(resource.key_prefix) or resource.key_prefix.startswith(prefix)):
                raise ValueError(f"the keys {resource.key_prefix} of {resource.plural} belong to {other.plural} already")
        for version in resource.versions:
            names = (version.group, version.version)
            for taken in (self._by_plural.get((*names, resource.plural)), self._by_kind.get((*names, version.kind))):
                if taken is not None and taken.resource is not but:
                    raise ValueError(f"{version.qualified} {version.version} is registered already")

    def _enter(self, resource: Resource) -> None:
        self._posted.clear()
        self._resources[resource.key_prefix] = resource
        for version in resource.versions:
            if self.serves(version):
                self._by_message.setdefault(version.message, version)
                self._by_plural[version.group, version.version, resource.plural] = version
                self._by_kind[version.group, version.version, version.kind] = version

    def _leave(self, resource: Resource) -> None:
        self._posted.clear()
        del self._resources[resource.key_prefix]
        for version in resource.versions:
            if self.serves(version):
                del self._by_plural[version.group, version.version, resource.plural]
                del self._by_kind[version.group, version.version, version.kind]
            if self._by_message.get(version.message) is version:
                del self._by_message[version.message]

    def _tell(self, old: Resource | None, new: Resource | None) -> None:
        for listener in self._listeners:
            listener(old, new)
