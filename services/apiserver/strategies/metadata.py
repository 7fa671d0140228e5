"""Rules about ``metadata`` that hold for every kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause
from knarr.machinery.forms import write_time
from knarr.machinery.validation import (
    IMMUTABLE,
    Format,
    Path,
    Structure,
    check_format,
    check_named,
    check_not_negative,
    dns1123_label,
    dns1123_subdomain,
    forbidden,
    invalid,
    label_value,
    qualified_name,
    required,
    shown,
    too_long,
)
from services.apiserver.strategies.paths import METADATA

ANNOTATIONS_LIMIT_BYTES = 256 * 1024
STANDARD_FINALIZERS = frozenset({"kubernetes", "foregroundDeletion", "orphan"})


def validate_object_meta(
    metadata: meta.ObjectMeta,
    *,
    namespaced: bool,
    name_format: Format = dns1123_subdomain,
    path: Path = METADATA,
    full_finalizers: bool = True,
) -> list[Cause]:
    """Names, labels, annotations, owners and finalizers of an object as it is to be stored.

    ``full_finalizers``: one that is none of Kubernetes' own must have a domain and a slash.
    """
    causes: list[Cause] = []
    if metadata.generate_name:
        causes += check_format(path.child("generateName"), metadata.generate_name, _as_prefix(name_format))
    # Each create comes here: paths are made for what is wrong.
    if not metadata.name:
        causes.append(required(path.child("name"), "name or generateName is required"))
    elif name_format(metadata.name):
        causes += check_format(path.child("name"), metadata.name, name_format)
    if not namespaced or not metadata.namespace or dns1123_label(metadata.namespace):
        causes += _namespace(metadata.namespace, namespaced, path.child("namespace"))
    if metadata.generation < 0:
        causes += check_not_negative(path.child("generation"), metadata.generation)
    return causes + _rest(metadata, path, full_finalizers=full_finalizers)


def validate_object_meta_update(
    new: meta.ObjectMeta, old: meta.ObjectMeta, *, path: Path = METADATA, full_finalizers: bool = True
) -> list[Cause]:
    """Identity does not change; a deletion under way is not taken back and gets no new finalizers."""
    # Each write of a status comes here: paths are made for what is wrong.
    causes: list[Cause] = []
    if old.HasField("deletion_timestamp"):
        causes += _new_finalizers(new, old, path.child("finalizers"))
    if new.generation < old.generation:
        causes.append(invalid(path.child("generation"), new.generation, "must not be decremented"))
    for field in ("name", "namespace", "uid"):
        if (found := getattr(new, field)) != getattr(old, field):
            causes.append(invalid(path.child(field), found, IMMUTABLE))
    for field, name in (("creation_timestamp", "creationTimestamp"), ("deletion_timestamp", "deletionTimestamp")):
        if new.HasField(field) != old.HasField(field) or getattr(new, field).seconds != getattr(old, field).seconds:
            causes.append(invalid(path.child(name), write_time(getattr(new, field)), IMMUTABLE))
    grace = "deletion_grace_period_seconds"
    if (new.HasField(grace), getattr(new, grace)) != (old.HasField(grace), getattr(old, grace)):
        value = getattr(new, grace) if new.HasField(grace) else None
        causes.append(invalid(path.child("deletionGracePeriodSeconds"), value, IMMUTABLE))
    return causes + _rest(new, path, full_finalizers=full_finalizers)


def validate_labels(labels: Mapping[str, str], path: Path) -> list[Cause]:
    causes: list[Cause] = []
    for key in sorted(labels):
        causes += check_format(path, key, qualified_name)
        causes += check_format(path, labels[key], label_value)
    return causes


def validate_annotations(annotations: Mapping[str, str], path: Path) -> list[Cause]:
    causes: list[Cause] = []
    for key in sorted(annotations):
        causes += [invalid(path, key, sentence) for sentence in qualified_name(key.lower())]
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > ANNOTATIONS_LIMIT_BYTES:
        causes.append(too_long(path, ANNOTATIONS_LIMIT_BYTES))
    return causes


def validate_user_annotations(annotations: Mapping[str, str], path: Path) -> list[Cause]:
    """As annotations of objects, and each of somebody's domain."""
    causes = validate_annotations(annotations, path)
    bare = (key for key in sorted(annotations) if "/" not in key)
    return causes + [invalid(path, key, 'must be a domain-prefixed key (such as "acme.io/foo")') for key in bare]


def _rest(metadata: meta.ObjectMeta, path: Path, *, full_finalizers: bool) -> list[Cause]:
    """Looks only at what is there: most objects have none of it."""
    causes: list[Cause] = []
    if metadata.labels:
        causes += validate_labels(metadata.labels, path.child("labels"))
    if metadata.annotations:
        causes += validate_annotations(metadata.annotations, path.child("annotations"))
    if metadata.owner_references:
        causes += _owners(metadata.owner_references, path.child("ownerReferences"))
    if metadata.finalizers:
        causes += _finalizers(metadata.finalizers, path.child("finalizers"), full=full_finalizers)
    return causes


def _as_prefix(name_format: Format) -> Format:
    """A prefix may end in a dash: the generated part follows it."""
    return lambda value: name_format(value[:-1] + "a" if len(value) > 1 and value.endswith("-") else value)


def _namespace(namespace: str, namespaced: bool, path: Path) -> list[Cause]:
    if namespaced:
        return check_named(path, namespace, dns1123_label)
    return [forbidden(path, "not allowed on this type")] if namespace else []


def _owners(owners: Sequence[meta.OwnerReference], path: Path) -> list[Cause]:
    causes: list[Cause] = []
    controllers: list[str] = []
    for index, owner in enumerate(owners):
        here = path.index(index)
        if owner.api_version.count("/") > 1 or not owner.api_version.rpartition("/")[2]:
            causes.append(invalid(here.child("apiVersion"), owner.api_version, "version must not be empty"))
        for field in ("kind", "name", "uid"):
            if not getattr(owner, field):
                causes.append(invalid(here.child(field), "", "must not be empty"))
        if (owner.api_version, owner.kind) == ("v1", "Event"):
            causes.append(invalid(here, Structure(Group="", Version="v1", Kind="Event"), "is disallowed from being an owner"))
        if owner.controller:
            controllers.append(f"{owner.kind}/{owner.name}")
    if len(controllers) > 1:
        names = " and ".join(controllers[:2])
        sentence = f'Only one reference can have Controller set to true. Found "true" in references for {names}'
        causes.append(invalid(path, [owner.name for owner in owners], sentence))
    return causes


def check_finalizer_name(finalizer: str, path: Path) -> list[Cause]:
    """Names without a prefix are Kubernetes' own."""
    if "/" in finalizer or finalizer in STANDARD_FINALIZERS:
        return []
    return [invalid(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified")]


def _finalizers(finalizers: Sequence[str], path: Path, *, full: bool) -> list[Cause]:
    causes: list[Cause] = []
    for index, finalizer in enumerate(finalizers):
        causes += check_format(path, finalizer, qualified_name)
        if full:
            causes += check_finalizer_name(finalizer, path.index(index))
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        causes.append(invalid(path, list(finalizers), "finalizer orphan and foregroundDeletion cannot be both set"))
    return causes


def _new_finalizers(new: meta.ObjectMeta, old: meta.ObjectMeta, path: Path) -> list[Cause]:
    """``old`` is being deleted."""
    added = sorted(set(new.finalizers) - set(old.finalizers))
    if not added:
        return []
    return [forbidden(path, f"no new finalizers can be added if the object is being deleted, found new finalizers {shown(added)}")]
