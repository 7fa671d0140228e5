"""Rules about environment variables and references to fields and keys."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Path,
    check_format,
    check_named,
    config_key,
    dns1123_subdomain,
    env_var_name,
    invalid,
    not_found,
    not_supported,
    qualified_name,
    required,
    too_long,
)
from services.apiserver.strategies.volumes import check_relative

ENV_FIELDS = frozenset(
    {
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    }
)
VOLUME_FIELDS = frozenset({"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"})
RESOURCES = frozenset(f"{kind}.{name}" for kind in ("limits", "requests") for name in ("cpu", "memory", "ephemeral-storage"))
SOURCES = (
    ("field_ref", "fieldRef"),
    ("resource_field_ref", "resourceFieldRef"),
    ("config_map_key_ref", "configMapKeyRef"),
    ("secret_key_ref", "secretKeyRef"),
    ("file_key_ref", "fileKeyRef"),
)
MAX_FILE_KEY = 128
SUBSCRIPT = re.compile(r"(metadata\.(?:annotations|labels))\['(.*)'\]")
MORE_THAN_ONE = "may not have more than one field specified at a time"


def validate_env(variables: Iterable[core.EnvVar], volumes: Container[str], path: Path) -> list[Cause]:
    """``volumes`` are the names of the pod's."""
    causes: list[Cause] = []
    for index, variable in enumerate(variables):
        here = path.index(index)
        causes += check_named(here.child("name"), variable.name, env_var_name)
        if variable.HasField("value_from"):
            causes += _value_from(variable, volumes, here.child("valueFrom"))
    return causes


def _value_from(variable: core.EnvVar, volumes: Container[str], path: Path) -> list[Cause]:
    source = variable.value_from
    given = [(field, name) for field, name in SOURCES if source.HasField(field)]
    causes: list[Cause] = []
    for field, name in given:
        reference, here = getattr(source, field), path.child(name)
        if field == "field_ref":
            causes += validate_field_ref(reference, ENV_FIELDS, here)
        elif field == "resource_field_ref":
            causes += validate_resource_field_ref(reference, here, in_volume=False)
        elif field == "file_key_ref":
            causes += _file_key_ref(reference, volumes, here)
        else:
            causes += _key_ref(reference, here)
    if not given:
        one_of = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        causes.append(invalid(path, "", f"must specify one of: {one_of}"))
    elif variable.value:
        causes.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(given) > 1:
        causes.append(invalid(path, "", MORE_THAN_ONE))
    return causes


def _key_ref(reference: Any, path: Path) -> list[Cause]:
    causes = check_format(path.child("name"), reference.local_object_reference.name, dns1123_subdomain)
    return causes + check_named(path.child("key"), reference.key, config_key)


def _file_key_ref(reference: core.FileKeySelector, volumes: Container[str], path: Path) -> list[Cause]:
    """A key of a file that lies on a volume of the pod, whether or not the container mounts it."""
    key = path.child("key")
    if not reference.key:
        causes = [required(key)]
    elif len(reference.key) > MAX_FILE_KEY:
        causes = [too_long(key, MAX_FILE_KEY)]
    else:
        causes = check_format(key, reference.key, env_var_name)
    name = path.child("volumeName")
    if not reference.volume_name:
        causes.append(required(name))
    elif reference.volume_name not in volumes:
        causes.append(not_found(name, reference.volume_name))
    return causes + (
        check_relative(reference.path, path.child("path"), reserved=True) if reference.path else [required(path.child("path"))]
    )


def validate_field_ref(reference: core.ObjectFieldSelector, fields: frozenset[str], path: Path) -> list[Cause]:
    """``fields`` are the plain paths allowed; annotations and labels may be subscripted anywhere."""
    if not reference.api_version:
        return [required(path.child("apiVersion"))]
    here = path.child("fieldPath")
    if not reference.field_path:
        return [required(here)]
    subscript = SUBSCRIPT.fullmatch(reference.field_path)
    if subscript:
        return check_format(here, subscript[2].lower() if "annotations" in subscript[1] else subscript[2], qualified_name)
    if reference.field_path in fields:
        return []
    if reference.field_path in ENV_FIELDS | VOLUME_FIELDS:
        return [not_supported(here, reference.field_path, fields)]
    sentence = f"error converting fieldPath: field label not supported: {reference.field_path}"
    return [invalid(here, reference.field_path, sentence)]


def validate_resource_field_ref(reference: core.ResourceFieldSelector, path: Path, *, in_volume: bool) -> list[Cause]:
    if in_volume and not reference.container_name:
        return [required(path.child("containerName"))]
    if not reference.resource:
        return [required(path.child("resource"))]
    if reference.resource in RESOURCES or re.fullmatch(r"(limits|requests)\.hugepages-.+", reference.resource):
        return []
    return [not_supported(path.child("resource"), reference.resource, RESOURCES)]


def validate_env_from(sources: Iterable[core.EnvFromSource], path: Path) -> list[Cause]:
    causes: list[Cause] = []
    for index, source in enumerate(sources):
        here = path.index(index)
        if source.prefix:
            causes += check_format(here.child("prefix"), source.prefix, env_var_name)
        given = [
            (field, name) for field, name in (("config_map_ref", "configMapRef"), ("secret_ref", "secretRef")) if source.HasField(field)
        ]
        for field, name in given:
            target = getattr(source, field).local_object_reference.name
            at = here.child(name, "name")
            causes += check_named(at, target, dns1123_subdomain)
        if not given:
            causes.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            causes.append(invalid(path, "", MORE_THAN_ONE))
    return causes
