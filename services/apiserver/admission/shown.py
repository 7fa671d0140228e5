"""The objects of a request as those see them who are asked about it: as JSON, in the version that they name."""

from __future__ import annotations

from typing import Any

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import budget
from knarr.machinery.codec import UnknownFields
from knarr.machinery.errors import StatusError, internal, status_error
from knarr.machinery.resources import Version, message_form
from knarr.objects.copies import copy_field
from services.apiserver.admission.attributes import CONNECT, Attributes
from services.apiserver.admission.outside import Outside
from services.apiserver.apply import entries
from services.apiserver.aside import in_turn_if_large
from services.apiserver.canonical import canonicalize

Json = dict[str, Any]

# An object that was changed may be as large as one that a client sends.
MAX_BYTES = 3 * 1024 * 1024
# What of the gRPC face's start of a command Kubernetes has in its options.
COMMAND_FIELDS = ("stdin", "stdout", "stderr", "tty", "container")
INVALID_MANAGERS = (
    ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; "
    "please fix your requests: {}"
)


class Shown:
    """Of one phase of one request. What is given out is read only; ``take`` changes the request's object."""

    def __init__(self, attributes: Attributes, outside: Outside) -> None:
        self.attributes, self._outside = attributes, outside
        self._objects: dict[Version, Json | None] = {}
        self._old: dict[Version, Json | None] = {}

    @property
    def size_bytes(self) -> int:
        """Of both objects, as they are now."""
        return sum(obj.ByteSize() for obj in (self.attributes.obj, self.attributes.old) if obj is not None)

    async def object(self, version: Version) -> Json | None:
        """None for a DELETE."""
        if version not in self._objects:
            self._objects[version] = await self._in(version, _options_shown(self.attributes))
        return self._objects[version]

    async def old(self, version: Version) -> Json | None:
        """None where there was nothing."""
        if version not in self._old:
            self._old[version] = await self._in(version, self.attributes.old)
        return self._old[version]

    async def take(self, version: Version, value: Any) -> bool:
        """Makes the object what ``value`` says, with its defaults; answers whether it is another one then. Raises InternalError for what
        is no such object, RequestEntityTooLarge."""
        attributes = self.attributes
        before = attributes.obj
        size_bytes = before.ByteSize()
        after = await self._of(version, value, size_bytes)
        if after.ByteSize() > MAX_BYTES:
            raise status_error("RequestEntityTooLarge", f"the object would have more than {MAX_BYTES} bytes after admission")
        self._keep_managers(after)
        if after == before:
            return False
        before.CopyFrom(after)
        self._objects.clear()
        return True

    async def _in(self, version: Version, obj: Any) -> Json | None:
        """Raises StatusError where a webhook does not convert it."""
        if obj is None:
            return None
        own = self.attributes.request.ref.version
        if version is own or version.resource.converter is None or not isinstance(obj, own.message):
            return await in_turn_if_large(obj.ByteSize(), _json, version, obj)
        raw = await self._outside.conversions.between(own, version, obj.SerializeToString(), self.attributes.request.deadline)
        return await in_turn_if_large(len(raw), _json, version, version.message.FromString(raw))

    async def _of(self, version: Version, value: Any, size_bytes: int) -> Any:
        """The object, as the request has it, that JSON in a version describes."""
        attributes = self.attributes
        try:
            found = await in_turn_if_large(size_bytes, _message, attributes, version, value)
        except StatusError as error:
            raise internal(error.status.message) from None
        own = attributes.request.ref.version
        if version is not own and version.resource.converter is not None and isinstance(found, version.message):
            raw = await self._outside.conversions.between(version, own, found.SerializeToString(), attributes.request.deadline)
            found = own.message.FromString(raw)
        if isinstance(found, (own.resource.storage.message, own.message)):
            strategy = self._outside.strategies(own)
            await in_turn_if_large(size_bytes, strategy.default, found)
            canonicalize(found)
        return found

    def _keep_managers(self, after: Any) -> None:
        """Whoever changes objects must leave their managers in order; else they stay as they were, as in Kubernetes."""
        before = getattr(self.attributes.obj, "metadata", None)
        if before is None or after.metadata.managed_fields == before.managed_fields:
            return
        try:
            entries.given(after.metadata.managed_fields)
        except ValueError as error:
            copy_field("managed_fields", after.metadata, before)
            self.attributes.request.warn(INVALID_MANAGERS.format(error))


def kind_of(attributes: Attributes, version: Version) -> tuple[str, str]:
    """apiVersion and kind of what a request brings, where it is looked at in ``version``."""
    if attributes.subresource and (subresource := version.subresource(attributes.subresource)) is not None:
        return subresource.body_names or version.names
    return version.names


def _json(version: Version, obj: Any) -> Json:
    shown = version.from_storage(obj)
    found: Json = version.form_of(shown).to_dict(shown)
    return found


def _message(attributes: Attributes, version: Version, value: Any) -> Any:
    """Raises StatusError for what is none."""
    budget.check(value)
    own = attributes.obj
    if isinstance(own, face.ExecStart):
        return _start_of(attributes, value)
    if isinstance(own, (version.message, version.resource.storage.message, attributes.request.ref.version.message)):
        return version.to_storage(version.form.from_json(value, UnknownFields.DROP).message)
    return version.form_of(own).from_json(value, UnknownFields.DROP).message


def _options_shown(attributes: Attributes) -> Any:
    """The start of a command as Kubernetes' options."""
    obj = attributes.obj
    if attributes.operation != CONNECT or not isinstance(obj, face.ExecStart):
        return obj
    found = core.PodExecOptions() if attributes.subresource == "exec" else core.PodAttachOptions()
    for name in COMMAND_FIELDS:
        setattr(found, name, getattr(obj, name))
    if isinstance(found, core.PodExecOptions):
        found.command.extend(obj.command)
    return found


def _start_of(attributes: Attributes, value: Any) -> face.ExecStart:
    """The start of a command that was changed: what Kubernetes' options do not say is as it was."""
    options = _options_shown(attributes)
    found = message_form(type(options)).from_json(value, UnknownFields.DROP).message
    start = face.ExecStart(namespace=attributes.obj.namespace, pod=attributes.obj.pod)
    for name in COMMAND_FIELDS:
        setattr(start, name, getattr(found, name))
    start.command.extend(getattr(found, "command", ()))
    return start
