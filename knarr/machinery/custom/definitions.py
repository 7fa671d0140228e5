"""From a CustomResourceDefinition to the resource that it defines. Pure; what a definition must be like, its strategy judges."""

from __future__ import annotations

from typing import Any

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.machinery import codec
from knarr.machinery.custom.form import CustomForm
from knarr.machinery.custom.objects import TYPE_FIELDS, custom_class
from knarr.machinery.custom.scale import ScalePaths
from knarr.machinery.resources import Resource, Subresource, Version

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

    All versions are there, ``served`` or not: objects may be stored in any of them.
    """
    spec, names = definition.spec, definition.status.accepted_names
    stored = next((found for found in spec.versions if found.storage), None)
    if stored is None or not any(found.served for found in spec.versions):
        return None
    versions = tuple(_version(definition, found) for found in sorted(spec.versions, key=lambda found: not found.storage))
    return Resource(
        names.plural,
        versions,
        namespaced=spec.scope == "Namespaced",
        singular=names.singular,
        short_names=tuple(names.short_names),
        categories=tuple(names.categories),
        key=f"{spec.group}/{names.plural}",
        subresources=tuple({found.name: found for version in versions for found in version.own_subresources or ()}.values()),
        converter=spec.conversion if len(versions) > 1 else None,
    )


def _version(definition: Definition, described: DefinedVersion) -> Version:
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
        deprecation_warning=warning,
        openapi=lambda: openapi_of(described),
        form=CustomForm(message, lambda: ANYTHING if free else schema_of(described), described),
        served=described.served,
        list_kind=definition.status.accepted_names.list_kind,
        own_subresources=(
            *((Subresource("status"),) if described.subresources.HasField("status") else ()),
            *((Subresource("scale", body=autoscaling.Scale),) if described.subresources.HasField("scale") else ()),
        ),
    )
