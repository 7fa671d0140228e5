"""OpenAPI v3 documents, one for each group version, derived from the registry of resources and the schema.

They serve what clients do with them: ``kubectl explain`` (schemas with descriptions), client-side apply (patch strategies and merge
keys) and the question whether the server knows ``fieldValidation`` and ``dryRun`` (query parameters of the PATCH operations).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.resources import Registry, Route, Subresource, Version
from knarr.machinery.schema import Field, Form, description_of, descriptor_of, form_of, json_fields
from knarr.machinery.type_names import api_version_and_kind

Json = dict[str, Any]

REFERENCE = "#/components/schemas/"
PACKAGES = {
    "knarr.api.meta.v1": "io.k8s.apimachinery.pkg.apis.meta.v1",
    "knarr.api.runtime.v1": "io.k8s.apimachinery.pkg.runtime",
    "knarr.api.apiextensions.v1": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
    "knarr.api.apiregistration.v1": "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1",
}
PATCH_NAME = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"
NAMES = {
    "knarr.api.meta.v1.Quantity": "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "knarr.api.meta.v1.IntOrString": "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
}
SCALARS: dict[int, Json] = {
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "format": "byte"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_INT64: {"type": "integer", "format": "int64"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
}
FORMS: dict[int, Json] = {
    Form.JSON_FORM_QUANTITY: {"oneOf": [{"type": "string"}, {"type": "number"}]},
    Form.JSON_FORM_INT_OR_STRING: {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    Form.JSON_FORM_TIME: {"type": "string", "format": "date-time"},
    Form.JSON_FORM_MICRO_TIME: {"type": "string", "format": "date-time"},
    Form.JSON_FORM_DURATION: {"type": "string"},
    Form.JSON_FORM_RAW: {"type": "object"},
    Form.JSON_FORM_LIST: {"type": "array", "items": {"type": "string"}},
    Form.JSON_FORM_SCHEMA_OR_ARRAY: {},
    Form.JSON_FORM_SCHEMA_OR_BOOL: {},
    Form.JSON_FORM_SCHEMA_OR_STRING_ARRAY: {},
}
BODY_TYPES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
PATCH_TYPES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)


def _parameter(name: str, kind: str, description: str, place: str = "query") -> Json:
    found: Json = {"name": name, "in": place, "description": description, "schema": {"type": kind, "uniqueItems": True}}
    return {**found, "required": True} if place == "path" else found


NAMESPACE = _parameter("namespace", "string", "the namespace that the object is in", "path")
NAME = _parameter("name", "string", "name of the object", "path")
PRETTY = _parameter("pretty", "string", "Indents the answer when 'true'.")
DRY_RUN = _parameter("dryRun", "string", "Runs the whole request but keeps nothing; the one value is All.")
FIELD_MANAGER = _parameter("fieldManager", "string", "Who makes the change, for the record of field ownership.")
FIELD_VALIDATION = _parameter(
    "fieldValidation", "string", "What to do with unknown or duplicate fields: Ignore drops them, Warn (the default) warns, Strict refuses."
)
FORCE = _parameter("force", "boolean", "Takes over fields that others own; only for apply.")
WRITES = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION]
DELETES = [
    DRY_RUN,
    _parameter("gracePeriodSeconds", "integer", "Seconds until the object is removed; 0 means at once."),
    _parameter("propagationPolicy", "string", "What happens to dependents: Orphan, Background or Foreground."),
]
SELECTS = [
    _parameter("labelSelector", "string", "Only objects whose labels match."),
    _parameter("fieldSelector", "string", "Only objects whose fields match."),
    _parameter("limit", "integer", "At most this many objects; the answer says how to continue."),
    _parameter("continue", "string", "Where to continue, from the last answer."),
    _parameter("resourceVersion", "string", "The state that the answer must at least show."),
    _parameter("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
    _parameter("timeoutSeconds", "integer", "Ends the call after this many seconds."),
    _parameter("watch", "boolean", "Streams changes instead of answering once."),
    _parameter("allowWatchBookmarks", "boolean", "Lets a watch send bookmarks."),
    _parameter("sendInitialEvents", "boolean", "Lets a watch start with the present objects."),
]


def builder(registry: Registry) -> Callable[[str, str], Json]:
    """A function from group and version to its document."""
    return lambda group, version: document(registry, group, version)


def index(registry: Registry) -> dict[str, tuple[str, str]]:
    """``api/v1`` or ``apis/apps/v1`` → group and version, for every group version that is served."""
    pairs = sorted({(served.group, served.version) for served in registry.versions})
    return {(f"apis/{group}/{version}" if group else f"api/{version}"): (group, version) for group, version in pairs}


def document(registry: Registry, group: str, version: str) -> Json:
    """The OpenAPI v3 document of a group version."""
    schemas = _Schemas()
    paths: Json = {}
    for served in registry.versions:
        if (served.group, served.version) == (group, version):
            _write_paths(paths, served, schemas)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Knarr", "version": "v1"},
        "paths": paths,
        "components": {"schemas": schemas.found},
    }


def schema_name(message: Descriptor) -> str:
    """``io.k8s.api.core.v1.Pod``."""
    special = NAMES.get(message.full_name)
    if special:
        return special
    package = message.file.package
    return f"{PACKAGES.get(package) or 'io.k8s.api.' + package.removeprefix('knarr.api.')}.{message.name}"


class _Schemas:
    """The schemas that a document refers to; asking for a reference adds what it refers to."""

    def __init__(self) -> None:
        self.found: Json = {}

    def reference(self, message: Descriptor) -> Json:
        name = schema_name(message)
        if name not in self.found:
            self.found[name] = {}
            self.found[name] = self._schema(message)
        return {"$ref": REFERENCE + name}

    def patch(self) -> Json:
        """The schema of a patch body: any object or list."""
        self.found[PATCH_NAME] = {"type": "object", "description": "A patch in one of the listed content types."}
        return {"$ref": REFERENCE + PATCH_NAME}

    def _schema(self, message: Descriptor) -> Json:
        described = {"description": description_of(message)} if description_of(message) else {}
        form = form_of(message)
        if form != Form.JSON_FORM_UNSPECIFIED:
            return {**described, **FORMS[form]}
        schema: Json = {**described, "type": "object"}
        names = api_version_and_kind(message)
        properties = dict(_type_meta()) if names else {}
        fields = json_fields(message)
        for name, (_, field) in fields.items():
            properties[name] = self._property(field)
        if properties:
            schema["properties"] = properties
        required = [name for name, (_, field) in fields.items() if not (field.optional or field.omitempty or field.pointer)]
        if required and not names:
            schema["required"] = required
        if names:
            group, _, version = names[0].rpartition("/")
            schema["x-kubernetes-group-version-kind"] = [{"group": group, "kind": names[1], "version": version}]
        return schema

    def _property(self, field: Field) -> Json:
        found: Json = {"description": field.description} if field.description else {}
        one: Json = self.reference(field.message) if field.message is not None else dict(SCALARS[field.element.type])
        if field.is_map:
            found |= {"type": "object", "additionalProperties": {"allOf": [one]} if "$ref" in one else one}
        elif field.is_list:
            found |= {"type": "array", "items": {"allOf": [one]} if "$ref" in one else one}
        elif "$ref" in one:
            found["allOf"] = [one]
        else:
            found |= one
        if field.default_json:
            found["default"] = json.loads(field.default_json)
        return found | _extensions(field)


def _extensions(field: Field) -> Json:
    found: Json = {}
    if field.patch_strategy:
        found["x-kubernetes-patch-strategy"] = ",".join(field.patch_strategy)
    if field.patch_merge_key:
        found["x-kubernetes-patch-merge-key"] = field.patch_merge_key
    if field.list_type:
        found["x-kubernetes-list-type"] = field.list_type
    if field.list_map_keys:
        found["x-kubernetes-list-map-keys"] = list(field.list_map_keys)
    return found


def _type_meta() -> Json:
    return {
        "apiVersion": {"type": "string", "description": "The group and version of the schema that this object follows."},
        "kind": {"type": "string", "description": "The kind of object."},
    }


def _write_paths(paths: Json, served: Version, schemas: _Schemas) -> None:
    resource = served.resource
    root = f"/apis/{served.api_version}" if served.group else f"/api/{served.version}"
    collection = f"{root}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"{root}/{resource.plural}"
    place = [NAMESPACE] if resource.namespaced else []
    body, listed = descriptor_of(served.message), descriptor_of(served.list_message)
    maker = _Operations(served, schemas)
    verbs = set(resource.verbs)
    entry: Json = {}
    if "list" in verbs:
        entry["get"] = maker.operation("list", "get", listed, SELECTS)
    if "create" in verbs:
        entry["post"] = maker.operation("create", "post", body, WRITES, body)
    if "deletecollection" in verbs:
        entry["delete"] = maker.operation(
            "deletecollection", "delete", descriptor_of(meta.Status), DELETES + SELECTS, descriptor_of(meta.DeleteOptions)
        )
    paths[collection] = {**entry, "parameters": [*place, PRETTY]}
    paths[f"{collection}/{{name}}"] = {**maker.object_operations(verbs, body), "parameters": [NAME, *place, PRETTY]}
    if resource.namespaced and "list" in verbs:
        everywhere = maker.operation("list", "get", listed, SELECTS, suffix="ForAllNamespaces")
        paths[f"{root}/{resource.plural}"] = {"get": everywhere, "parameters": [PRETTY]}
    for subresource in resource.subresources:
        entry = maker.subresource_operations(subresource)
        if entry:
            paths[f"{collection}/{{name}}/{subresource.name}"] = {**entry, "parameters": [NAME, *place, PRETTY]}


class _Operations:
    """Makes the operations of one version of a resource."""

    def __init__(self, served: Version, schemas: _Schemas) -> None:
        self.served = served
        self.schemas = schemas

    def operation(
        self,
        action: str,
        method: str,
        answer: Descriptor,
        parameters: list[Json],
        body: Descriptor | None = None,
        subresource: Subresource | None = None,
        suffix: str = "",
    ) -> Json:
        served = self.served
        reference = self.schemas.reference(answer)
        place = "Namespaced" if served.resource.namespaced else ""
        name = subresource.name.capitalize() if subresource else ""
        api_version, kind = (subresource.body_names if subresource else None) or (served.api_version, served.kind)
        group, _, version = api_version.rpartition("/")
        area = "".join(part.capitalize() for part in (served.group.split(".")[0] or "core", served.version))
        found: Json = {
            "operationId": f"{action}{area}{place}{served.kind}{name}{suffix}",
            "tags": [area],
            "parameters": parameters,
            "responses": {
                "200": {"description": "OK", "content": {media: {"schema": reference} for media in BODY_TYPES}},
                "401": {"description": "Unauthorized"},
            },
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
        }
        if method == "patch":
            patch = self.schemas.patch()
            found["requestBody"] = {"required": True, "content": {media: {"schema": patch} for media in PATCH_TYPES}}
        elif body is not None:
            found["requestBody"] = {"content": {media: {"schema": self.schemas.reference(body)} for media in BODY_TYPES}}
        return found

    def object_operations(self, verbs: set[str], body: Descriptor, subresource: Subresource | None = None) -> Json:
        found: Json = {}
        for verb, method, parameters in (
            ("get", "get", []),
            ("update", "put", WRITES),
            ("patch", "patch", [*WRITES, FORCE]),
            ("delete", "delete", DELETES),
            ("create", "post", WRITES),
        ):
            if verb not in verbs or (verb == "create" and subresource is None):
                continue
            sent = {"put": body, "post": body, "delete": descriptor_of(meta.DeleteOptions)}.get(method)
            answer = descriptor_of(meta.Status) if method == "delete" else body
            found[method] = self.operation(verb if verb != "update" else "put", method, answer, parameters, sent, subresource)
        return found

    def subresource_operations(self, subresource: Subresource) -> Json:
        """Empty for those that carry no objects."""
        if subresource.route not in (Route.OBJECT, Route.CREATE):
            return {}
        return self.object_operations(set(subresource.verbs), descriptor_of(self.served.body_of(subresource)), subresource)
