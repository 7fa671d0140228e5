"""OpenAPI v3: an index of documents, one for each group version besides those of discovery."""

from __future__ import annotations

from knarr.machinery.openapi import names, paths
from knarr.machinery.openapi.parameters import Parameter
from knarr.machinery.openapi.paths import WORDS, Operation, Path
from knarr.machinery.openapi.schemas import Json, Schemas
from knarr.machinery.resources import Registry
from knarr.machinery.version import GIT_VERSION

TITLE = "Kubernetes"
SECURITY = {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header", "description": "A bearer token."}}


def index(registry: Registry) -> dict[str, tuple[str, str]]:
    """``api/v1`` or ``apis/apps/v1`` → group and version, for every group version that is served."""
    return {names.root_of(*pair).strip("/"): pair for pair in paths.pairs_of(registry)}


def others(registry: Registry) -> list[str]:
    """The names of the documents that are about no version: ``api``, ``apis``, ``apis/apps``, ``version``."""
    groups = sorted({f"apis/{group}" for group, _ in paths.pairs_of(registry) if group})
    return ["api", "apis", *groups, "version"]


def document(registry: Registry, group: str, version: str) -> Json:
    """The document of a group version."""
    schemas = Schemas([(group, version)])
    served = sorted((one for one in registry.versions if (one.group, one.version) == (group, version)), key=lambda one: one.resource.plural)
    found = {path.path: _path(path) for path in paths.of_versions(served, schemas)}
    root = names.root_of(group, version) + "/"
    found |= {path.path: _path(path) for path in paths.of_discovery(registry, schemas) if path.path == root}
    return _document(found, schemas)


def other_document(registry: Registry, name: str) -> Json:
    """One of ``others``."""
    schemas = Schemas()
    return _document({path.path: _path(path) for path in paths.of_discovery(registry, schemas) if path.path.strip("/") == name}, schemas)


def _document(found: Json, schemas: Schemas) -> Json:
    return {
        "openapi": "3.0.0",
        "info": {"title": TITLE, "version": GIT_VERSION},
        "paths": found,
        "components": {"schemas": schemas.found, "securitySchemes": SECURITY},
    }


def _path(path: Path) -> Json:
    found: Json = {operation.method: _operation(operation) for operation in path.operations}
    return {**found, "parameters": [_parameter(one) for one in path.parameters]} if path.parameters else found


def _parameter(parameter: Parameter) -> Json:
    found: Json = {"name": parameter.name, "in": parameter.place}
    if parameter.description:
        found["description"] = parameter.description
    if parameter.place == "path":
        found["required"] = True
    return {**found, "schema": {"type": parameter.type, "uniqueItems": True}}


def _operation(operation: Operation) -> Json:
    found: Json = {"tags": [operation.tag], "description": operation.description, "operationId": operation.identifier}
    if operation.parameters:
        found["parameters"] = [_parameter(one) for one in operation.parameters]
    if operation.body is not None:
        found["requestBody"] = {"content": {media: {"schema": operation.body} for media in operation.consumes}}
        if operation.body_required:
            found["requestBody"]["required"] = True
    content = {media: {"schema": operation.answer} for media in operation.produces}
    found["responses"] = {
        **{code: {"description": WORDS[code], "content": content} for code in operation.codes},
        "401": {"description": WORDS["401"]},
    }
    if operation.action:
        found |= {"x-kubernetes-action": operation.action, "x-kubernetes-group-version-kind": operation.kind}
    return found
