"""What a request is, in the words of Kubernetes' AdmissionRequest: told to webhooks, and to expressions as ``request``."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from knarr.machinery import codec
from knarr.machinery.resources import Version
from services.apiserver.admission.attributes import CONNECT, Attributes
from services.apiserver.admission.matching import place_of
from services.apiserver.admission.shown import Json, kind_of

OPTIONS_VERSION = "meta.k8s.io/v1"


def facts_of(attributes: Attributes, version: Version) -> Json:
    """All but its uid and its objects; ``version`` is the one that it is looked at in."""
    own = attributes.request.ref.version
    found: Json = {"kind": _kind(attributes, version), "resource": _resource(version)}
    found["requestKind"], found["requestResource"] = _kind(attributes, own), _resource(own)
    if attributes.subresource:
        found["subResource"] = found["requestSubResource"] = attributes.subresource
    if attributes.name:
        found["name"] = attributes.name
    if namespace := place_of(attributes):
        found["namespace"] = namespace
    found |= {"operation": attributes.operation, "userInfo": _user(attributes)}
    found |= {"dryRun": attributes.dry_run, "options": _options(attributes)}
    return found


def _kind(attributes: Attributes, version: Version) -> Json:
    api_version, kind = kind_of(attributes, version)
    group, _, name = api_version.rpartition("/")
    return {"group": group, "version": name, "kind": kind}


def _resource(version: Version) -> Json:
    return {"group": version.group, "version": version.version, "resource": version.resource.plural}


def _user(attributes: Attributes) -> Json:
    user = attributes.user
    found: Json = {}
    if user.name:
        found["username"] = user.name
    if user.uid:
        found["uid"] = user.uid
    if user.groups:
        found["groups"] = list(user.groups)
    if user.extra:
        found["extra"] = {key: list(values) for key, values in user.extra}
    return found


def _options(attributes: Attributes) -> Any:
    """Those of what is done, which may not be those that were given: a patch is an update. A CONNECT has none: they are its object."""
    options = attributes.options
    if attributes.operation == CONNECT or not isinstance(options, Message):
        return None
    given, kind = codec.to_dict(options), options.DESCRIPTOR.name
    if kind == "PatchOptions":
        kind = "UpdateOptions"
        given.pop("force", None)
    return {**given, "kind": kind, "apiVersion": OPTIONS_VERSION}
