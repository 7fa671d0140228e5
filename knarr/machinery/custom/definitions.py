"""From a CustomResourceDefinition to the resource that it defines. Pure; what a definition must be like, its strategy judges."""

from __future__ import annotations

from typing import Any

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.machinery import codec
from knarr.machinery.custom.form import CustomForm
from knarr.machinery.custom.objects import TYPE_FIELDS, CustomObject, custom_class
from knarr.machinery.custom.scale import ScalePaths
from knarr.machinery.resources import Conversion, Resource, Subresource, Version

Definition = apiextensions.CustomResourceDefinition
DefinedVersion = apiextensions.CustomResourceDefinitionVersion

# What a definition that says no more is stored with.
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def schema_of(version: DefinedVersion) -> dict[str, Any]:
    """The OpenAPI schema of a version as JSON."""
    return codec.to_dict(version.schema.open_apiv3_schema) if version.schema.HasField("open_apiv3_schema") else ANYTHING


def openapi_of(version: DefinedVersion) -> dict[str, Any]:
    """The same as it is published: without what every object has."""
    found = schema_of(version)
    if "properties" in found:
        found = {**found, "properties": {name: inner for name, inner in found["properties"].items() if name not in TYPE_FIELDS}}
    return found


def resource_of(definition: Definition) -> Resource | None:
    """The resource, with the names that were accepted and the versions that are served; None when none is.

    All versions are there, ``served`` or not: objects may be stored in any of them. Where a webhook would have to convert between them,
    which a definition that another server stored may ask for, there is the stored version alone.
    """
    spec, names = definition.spec, definition.status.accepted_names
    stored = next((found for found in spec.versions if found.storage), None)
    if stored is None or not any(found.served for found in spec.versions):
        return None
    by_webhook = spec.conversion.strategy == "Webhook"
    if by_webhook and not stored.served:
        return None
    others = [] if by_webhook else [found for found in spec.versions if found is not stored]
    storage = _version(definition, stored)
    versions = (storage, *(_version(definition, found, storage) for found in others))
    subresources = stored.subresources
    return Resource(
        names.plural,
        versions,
        namespaced=spec.scope == "Namespaced",
        singular=names.singular,
        short_names=tuple(names.short_names),
        categories=tuple(names.categories),
        key=f"{spec.group}/{names.plural}",
        subresources=(
            *((Subresource("status"),) if subresources.HasField("status") else ()),
            *((Subresource("scale", body=autoscaling.Scale),) if subresources.HasField("scale") else ()),
        ),
    )


def _version(definition: Definition, described: DefinedVersion, storage: Version | None = None) -> Version:
    group, kind = definition.spec.group, definition.status.accepted_names.kind
    scale = ScalePaths(described.subresources.scale) if described.subresources.HasField("scale") else None
    message = custom_class(f"{group}/{described.name}", kind, scale)
    # Definitions of old may say that nothing is pruned, whatever their schema is.
    free = definition.spec.preserve_unknown_fields
    warning = ""
    if described.deprecated:
        warning = described.deprecation_warning or f"{group}/{described.name} {kind} is deprecated"
    return Version(
        group,
        described.name,
        kind,
        message,
        message,
        conversion=_renamed(message, storage.message) if storage is not None else None,
        deprecation_warning=warning,
        openapi=lambda: openapi_of(described),
        form=CustomForm(message, lambda: ANYTHING if free else schema_of(described), described),
        served=described.served,
        list_kind=definition.status.accepted_names.list_kind,
    )


def _renamed(served: Any, stored: Any) -> Conversion:
    """Between versions whose objects differ in their apiVersion only."""
    return Conversion(lambda obj: _as(stored, obj), lambda obj: _as(served, obj))


def _as(wanted: type[CustomObject], obj: CustomObject) -> CustomObject:
    found = wanted()
    found.CopyFrom(obj)
    return found
