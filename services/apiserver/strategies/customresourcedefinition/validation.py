"""Rules of CustomResourceDefinitions besides those about schemas: names, versions, sub-resources, columns, conversion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from google.protobuf.internal.containers import RepeatedScalarFieldContainer

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.machinery.custom.definitions import Definition, schema_of
from knarr.machinery.custom.jsonpath import fields_of, is_simple
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    CUT_LIST,
    Format,
    Path,
    check_immutable,
    dns1035_label,
    dns1123_subdomain,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
    too_many,
)
from services.apiserver.strategies.customresourcedefinition.schemas import check_schema
from services.apiserver.strategies.paths import METADATA, SPEC, STATUS
from services.apiserver.strategies.webhookclient import validate_authorities, validate_client

COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS = ("binary", "bool", "byte", "date", "date-time", "double", "float", "int32", "int64", "password")
MAX_SELECTABLE_FIELDS = 8
REVIEW_VERSIONS = ("v1", "v1beta1")
APPROVAL = "api-approved.kubernetes.io"
WARNING_LETTERS = 256


def check_definition(definition: Definition) -> list[Cause]:
    spec = definition.spec
    causes = _group(spec.group, SPEC.child("group"))
    if not spec.scope:
        causes.append(required(SPEC.child("scope")))
    elif spec.scope not in ("Cluster", "Namespaced"):
        causes.append(not_supported(SPEC.child("scope"), spec.scope, ("Cluster", "Namespaced")))
    causes += _versions(spec)
    names = SPEC.child("names")
    wanted = spec.names
    for name, value in (("plural", wanted.plural), ("singular", wanted.singular), ("kind", wanted.kind), ("listKind", wanted.list_kind)):
        if not value:
            causes.append(required(names.child(name)))
    causes += check_names(wanted, names)
    if spec.HasField("conversion"):
        causes += _conversion(spec.conversion, SPEC.child("conversion"))
    expected = f"{wanted.plural}.{spec.group}"
    if definition.metadata.name and definition.metadata.name != expected:
        causes.append(invalid(METADATA.child("name"), definition.metadata.name, 'must be spec.names.plural+"."+spec.group'))
    if spec.preserve_unknown_fields:
        words = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        causes.append(invalid(SPEC.child("preserveUnknownFields"), True, words))
    return causes + check_names(definition.status.accepted_names, STATUS.child("acceptedNames"))


def check_change(new: Definition, old: Definition) -> list[Cause]:
    """What a definition may not change any more."""
    causes: list[Cause] = []
    if any(condition.type == "Established" and condition.status == "True" for condition in old.status.conditions):
        causes += check_immutable(SPEC.child("scope"), new.spec.scope, old.spec.scope)
        causes += check_immutable(SPEC.child("names", "kind"), new.spec.names.kind, old.spec.names.kind)
        causes += _authorities(new, old)
    causes += check_immutable(SPEC.child("group"), new.spec.group, old.spec.group)
    causes += check_immutable(SPEC.child("names", "plural"), new.spec.names.plural, old.spec.names.plural)
    if _approval(new) != _approval(old):
        causes += check_approval(new)
    return causes


def _authorities(new: Definition, old: Definition) -> list[Cause]:
    """Before it is served a definition may wait for those who sign, as cert-manager does; and what could not be read may stay."""
    path = SPEC.child("conversion", "webhook", "clientConfig", "caBundle")
    found, known = (definition.spec.conversion.webhook.client_config.ca_bundle for definition in (new, old))
    if new.spec.conversion.strategy != "Webhook" or not found or (known and validate_authorities(known, path)):
        return []
    return validate_authorities(found, path)


def check_stored_versions(definition: Definition) -> list[Cause]:
    """Every version that objects may be stored in must be one of the definition."""
    stored, path = list(definition.status.stored_versions), STATUS.child("storedVersions")
    if not stored:
        return [invalid(path, stored, "must have at least one stored version")]
    known = {version.name for version in definition.spec.versions}
    causes = [
        invalid(path, stored, f"must have the storage version {version.name}")
        for version in definition.spec.versions
        if version.storage and version.name not in stored
    ]
    return causes + [
        invalid(
            path.index(index),
            name,
            f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage "
            f"migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions",
        )
        for index, name in enumerate(stored)
        if name not in known
    ]


def check_approval(definition: Definition) -> list[Cause]:
    """The groups of Kubernetes itself are not for everybody."""
    group, path = definition.spec.group, METADATA.child("annotations").key(APPROVAL)
    if not (group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))):
        return []
    found = _approval(definition)
    reason = f'protected groups must have approval annotation "{APPROVAL}", see https://github.com/kubernetes/enhancements/pull/1111'
    if not found:
        return [required(path, reason)]
    if found.startswith("unapproved") or (urlsplit(found).scheme and urlsplit(found).netloc):
        return []
    return [invalid(path, found, f'"{APPROVAL}" must have a URL or begin with "unapproved"')]


def _approval(definition: Definition) -> str:
    return str(definition.metadata.annotations.get(APPROVAL, ""))


def _group(group: str, path: Path) -> list[Cause]:
    if not group:
        return [required(path)]
    if errors := dns1123_subdomain(group):
        return [invalid(path, group, ",".join(errors))]
    return [] if "." in group else [invalid(path, group, "should be a domain with at least one dot")]


def check_names(names: apiextensions.CustomResourceDefinitionNames, path: Path) -> list[Cause]:
    causes = [*_label(path.child("plural"), names.plural), *_label(path.child("singular"), names.singular)]
    for name, value in (("kind", names.kind), ("listKind", names.list_kind)):
        if value and (errors := dns1035_label(value.lower())):
            causes.append(invalid(path.child(name), value, "may have mixed case, but should otherwise match: " + ",".join(errors)))
    for index, short in enumerate(names.short_names):
        causes += _label(path.child("shortNames").index(index), short, empty=True)
    if names.kind and names.kind == names.list_kind:
        causes.append(invalid(path.child("listKind"), names.list_kind, "kind and listKind may not be the same"))
    for index, category in enumerate(names.categories):
        causes += _label(path.child("categories").index(index), category, empty=True)
    return causes


def _label(path: Path, value: str, *, empty: bool = False, format_: Format = dns1035_label) -> list[Cause]:
    errors = format_(value) if value or empty else []
    return [invalid(path, value, ",".join(errors))] if errors else []


def _versions(spec: apiextensions.CustomResourceDefinitionSpec) -> list[Cause]:
    path, causes = SPEC.child("versions"), list[Cause]()
    listed = CUT_LIST if spec.versions else []
    for index, version in enumerate(spec.versions):
        here = path.index(index)
        causes += _label(here.child("name"), version.name, empty=True)
        causes += _version(version, here)
    if len({version.name for version in spec.versions}) != len(spec.versions):
        causes.append(invalid(path, listed, "must contain unique version names"))
    if sum(version.storage for version in spec.versions) != 1:
        causes.append(invalid(path, listed, "must have exactly one version marked as storage version"))
    return causes


def _version(version: apiextensions.CustomResourceDefinitionVersion, path: Path) -> Iterable[Cause]:
    if version.HasField("deprecation_warning"):
        yield from _deprecation(version, path.child("deprecationWarning"))
    schema_path = path.child("schema", "openAPIV3Schema")
    if not version.schema.HasField("open_apiv3_schema"):
        yield required(schema_path)
        schema: dict[str, Any] = {}
    else:
        schema = schema_of(version)
        yield from check_schema(schema, schema_path, has_status=version.subresources.HasField("status"))
    if version.subresources.HasField("scale"):
        yield from _scale(version.subresources.scale, path.child("subresources", "scale"))
    for index, column in enumerate(version.additional_printer_columns):
        yield from _column(column, path.child("additionalPrinterColumns").index(index))
    yield from _selectable_fields(version.selectable_fields, schema, path.child("selectableFields"))


def _deprecation(version: apiextensions.CustomResourceDefinitionVersion, path: Path) -> Iterable[Cause]:
    text = version.deprecation_warning
    if not version.deprecated:
        yield invalid(path, text, "can only be set for deprecated versions")
    if len(text.encode()) > WARNING_LETTERS:
        yield invalid(path, text, f"must be <= {WARNING_LETTERS} characters long")
    if not text:
        yield invalid(path, text, "must not be an empty string")
    strange = next((index for index, letter in enumerate(text) if not letter.isprintable()), None)
    if strange is not None:
        words = f"must only contain printable UTF-8 characters; non-printable character found at index {strange}"
        yield invalid(path, text, words)


def _scale(scale: apiextensions.CustomResourceSubresourceScale, path: Path) -> Iterable[Cause]:
    for name, value, where, words in (
        ("specReplicasPath", scale.spec_replicas_path, (".spec.",), "should be a json path under .spec"),
        ("statusReplicasPath", scale.status_replicas_path, (".status.",), "should be a json path under .status"),
        ("labelSelectorPath", scale.label_selector_path, (".spec.", ".status."), "should be a json path under either .spec or .status"),
    ):
        here = path.child(name)
        if not value:
            if name != "labelSelectorPath":
                yield required(here)
        elif not value.startswith("."):
            yield invalid(here, value, "must be a simple json path starting with .")
        elif not value.startswith(where):
            yield invalid(here, value, words)
        elif not is_simple(value):
            yield invalid(here, value, "must be a json path in the dot notation")


def _column(column: apiextensions.CustomResourceColumnDefinition, path: Path) -> Iterable[Cause]:
    types, formats = f"must be one of {','.join(COLUMN_TYPES)}", f"must be one of {','.join(COLUMN_FORMATS)}"
    if not column.name:
        yield required(path.child("name"))
    if not column.type:
        yield required(path.child("type"), types)
    elif column.type not in COLUMN_TYPES:
        yield invalid(path.child("type"), column.type, types)
    if column.format and column.format not in COLUMN_FORMATS:
        yield invalid(path.child("format"), column.format, formats)
    here = path.child("jsonPath")
    if not column.json_path:
        yield required(here)
    elif not column.json_path.startswith("."):
        yield invalid(here, column.json_path, "must be a simple json path starting with .")


def _selectable_fields(fields: Sequence[apiextensions.SelectableField], schema: dict[str, Any], path: Path) -> Iterable[Cause]:
    seen: set[str] = set()
    for index, field in enumerate(fields):
        here, text = path.index(index).child("jsonPath"), field.json_path
        if not text:
            yield required(here)
            continue
        found = _field(schema, text)
        if found is None:
            yield invalid(here, text, "is an invalid path: it does not refer to a valid field")
            continue
        if fields_of(text)[0] == "metadata":
            yield invalid(here, text, "must not point to fields in metadata")
        if found.get("type") not in ("string", "boolean", "integer"):
            words = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
            yield invalid(here, text, words)
        if text in seen:
            yield duplicate(here, text)
        seen.add(text)
    if len(seen) > MAX_SELECTABLE_FIELDS:
        yield too_many(path, len(seen), MAX_SELECTABLE_FIELDS)


def _field(schema: dict[str, Any], path: str) -> dict[str, Any] | None:
    """The schema of a field that a simple path names."""
    if not is_simple(path):
        return None
    found: Any = schema
    for name in fields_of(path):
        found = found.get("properties", {}).get(name)
        if found is None:
            return None
    return found if isinstance(found, dict) else None


def _conversion(conversion: apiextensions.CustomResourceConversion, path: Path) -> Iterable[Cause]:
    if not conversion.strategy:
        yield required(path.child("strategy"))
    elif conversion.strategy not in ("None", "Webhook"):
        yield not_supported(path.child("strategy"), conversion.strategy, ("None", "Webhook"))
    webhook, config = path.child("webhook"), conversion.webhook.client_config
    if conversion.strategy != "Webhook":
        if conversion.HasField("webhook"):
            yield forbidden(webhook, "should not be set when strategy is not set to Webhook")
        return
    place = webhook.child("clientConfig")
    if not conversion.webhook.HasField("client_config"):
        yield required(place, "required when strategy is set to Webhook")
    else:
        yield from validate_client(config, place)
    yield from _review_versions(conversion.webhook.conversion_review_versions, webhook.child("conversionReviewVersions"))


def _review_versions(versions: RepeatedScalarFieldContainer[str], path: Path) -> Iterable[Cause]:
    if not versions:
        yield required(path)
        return
    for index, name in enumerate(versions):
        if name in versions[:index]:
            yield invalid(path.index(index), name, "duplicate version")
        else:
            yield from _label(path.index(index), name, empty=True)
    if not set(versions) & set(REVIEW_VERSIONS):
        yield invalid(path, list(versions), f"must include at least one of {', '.join(REVIEW_VERSIONS)}")
