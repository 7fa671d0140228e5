"""Rules about volumes and where containers mount them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    CLIMBING,
    Path,
    check_choice,
    check_given_choice,
    check_named,
    dns1123_label,
    duplicate,
    forbidden,
    invalid,
    not_found,
    required,
)
from services.apiserver.strategies.amounts import check_amount
from services.apiserver.strategies.pod.environment import VOLUME_FIELDS, validate_field_ref, validate_resource_field_ref
from services.apiserver.strategies.pod.projections import paths_given_twice, validate_pod_certificate, validate_trust_bundle
from services.apiserver.strategies.pod.security import validate_id
from services.apiserver.strategies.volumes import check_relative

HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
MODE_SENTENCE = "must be a number between 0 and 0777 (octal), both inclusive"
FOLDER_MODE_SENTENCE = "must be a number between 0 and 01777 (octal), both inclusive"
BIND_OPTIONS = ("nodev", "noexec", "nosuid")
RECURSIVE = ("Disabled", "Enabled", "IfPossible")
PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
SHORTEST_TOKEN_SECONDS, LONGEST_TOKEN_SECONDS = 600, 1 << 32


def validate_volumes(volumes: Iterable[core.Volume], path: Path) -> tuple[list[Cause], set[str]]:
    """Causes, and the names that a container may mount."""
    causes: list[Cause] = []
    names: set[str] = set()
    for index, volume in enumerate(volumes):
        here = path.index(index)
        found = _source(volume.volume_source, here)
        found += check_named(here.child("name"), volume.name, dns1123_label)
        if volume.name in names:
            found.append(duplicate(here.child("name"), volume.name))
        causes += found
        if not found:
            names.add(volume.name)
    return causes, names


def _source(source: core.VolumeSource, path: Path) -> list[Cause]:
    # In the order of their numbers, emptyDir first: what comes later is one too many.
    given = sorted(((field.name, field.json_name) for field, _ in source.ListFields()), key=lambda names: names[0] != "empty_dir")
    if not given:
        return [required(path, "must specify a volume type")]
    (first, name), *others = given
    rule = _RULES.get(first)
    causes = rule(getattr(source, first), path.child(name)) if rule else []
    return causes + [forbidden(path.child(other), "may not specify more than 1 volume type") for _, other in others]


def validate_host_path(source: core.HostPathVolumeSource, path: Path) -> list[Cause]:
    if not source.path:
        return [required(path.child("path"))]
    causes = [invalid(path.child("path"), source.path, CLIMBING)] if ".." in source.path.split("/") else []
    return causes + check_choice(path.child("type"), source.type, HOST_PATH_TYPES, optional=True)


def _empty_dir(source: core.EmptyDirVolumeSource, path: Path) -> list[Cause]:
    causes = []
    if source.HasField("size_limit") and check_amount(source.size_limit, path):
        causes.append(forbidden(path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity"))
    if source.HasField("mode") and not 0 <= source.mode <= 0o1777:
        causes.append(invalid(path.child("mode"), source.mode, FOLDER_MODE_SENTENCE))
    return causes


def _secret(source: core.SecretVolumeSource, path: Path) -> list[Cause]:
    causes = [] if source.secret_name else [required(path.child("secretName"))]
    return causes + _defaults(source, path) + _items(source.items, path.child("items"))


def _config_map(source: core.ConfigMapVolumeSource, path: Path) -> list[Cause]:
    causes = [] if source.local_object_reference.name else [required(path.child("name"))]
    return causes + _defaults(source, path) + _items(source.items, path.child("items"))


def _downward_api(source: core.DownwardAPIVolumeSource, path: Path) -> list[Cause]:
    return _defaults(source, path) + _downward_items(source.items, path)


def _downward_items(items: Iterable[core.DownwardAPIVolumeFile], path: Path) -> list[Cause]:
    causes: list[Cause] = []
    for item in items:
        causes += [required(path.child("path"))] if not item.path else check_relative(item.path, path.child("path"), reserved=True)
        if item.HasField("field_ref"):
            causes += validate_field_ref(item.field_ref, VOLUME_FIELDS, path.child("fieldRef"))
            if item.HasField("resource_field_ref"):
                causes.append(invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
        elif item.HasField("resource_field_ref"):
            causes += validate_resource_field_ref(item.resource_field_ref, path.child("resourceFieldRef"), in_volume=True)
        else:
            causes.append(required(path, "one of fieldRef and resourceFieldRef is required"))
        causes += _mode(item, "mode", path.child("mode")) + _user(item, "user", path.child("user"))
    return causes


def _image(source: core.ImageVolumeSource, path: Path) -> list[Cause]:
    # A template may leave the reference to whoever changes its pods.
    causes = [required(path.child("reference"))] if not source.reference and "template" not in str(path) else []
    return causes + check_choice(path.child("pullPolicy"), source.pull_policy, ("Always", "IfNotPresent", "Never"), optional=True)


def _claim(source: core.PersistentVolumeClaimVolumeSource, path: Path) -> list[Cause]:
    # Kubernetes looks at no more of it: a claim of a name that none can have is never there.
    return [] if source.claim_name else [required(path.child("claimName"))]


def validate_nfs(source: core.NFSVolumeSource, path: Path) -> list[Cause]:
    causes = [] if source.server else [required(path.child("server"))]
    if not source.path:
        causes.append(required(path.child("path")))
    elif not source.path.startswith("/"):
        causes.append(invalid(path.child("path"), source.path, "must be an absolute path"))
    return causes


def _projected(source: core.ProjectedVolumeSource, path: Path) -> list[Cause]:
    causes = _defaults(source, path)
    for index, projection in enumerate(source.sources):
        here = path.child("sources").index(index)
        given = [(field.name, field.json_name) for field, _ in projection.ListFields()]
        for position, (field, name) in enumerate(given):
            if position:
                causes.append(forbidden(here.child(name), "may not specify more than 1 volume type"))
            else:
                causes += _projection(field, getattr(projection, field), here.child(name))
    return causes + [invalid(path, value, "conflicting duplicate paths") for value in paths_given_twice(source)]


def _projection(kind: str, source: Any, path: Path) -> list[Cause]:
    if kind in ("secret", "config_map"):
        causes = [] if source.local_object_reference.name else [required(path.child("name"))]
        return causes + _items(source.items, path.child("items"))
    if kind == "downward_api":
        return _downward_items(source.items, path)
    if kind == "service_account_token":
        return _token(source, path)
    if kind == "cluster_trust_bundle":
        return validate_trust_bundle(source, path)
    if kind == "pod_certificate":
        return validate_pod_certificate(source, path)
    return []


def _token(source: core.ServiceAccountTokenProjection, path: Path) -> list[Cause]:
    causes = check_relative(source.path, path.child("path"), reserved=True) if source.path else [required(path.child("path"))]
    for too, limit in (
        (source.expiration_seconds < SHORTEST_TOKEN_SECONDS, "less than 10 minutes"),
        (source.expiration_seconds > LONGEST_TOKEN_SECONDS, "larger than 2^32 seconds"),
    ):
        if too:
            causes.append(invalid(path.child("expirationSeconds"), source.expiration_seconds, f"may not specify a duration {limit}"))
    return causes


def _items(items: Iterable[core.KeyToPath], path: Path) -> list[Cause]:
    causes: list[Cause] = []
    for index, item in enumerate(items):
        here = path.index(index)
        causes += [] if item.key else [required(here.child("key"))]
        causes += check_relative(item.path, here.child("path"), reserved=True) if item.path else [required(here.child("path"))]
        causes += _mode(item, "mode", here.child("mode")) + _user(item, "user", here.child("user"))
    return causes


def _defaults(source: Any, path: Path) -> list[Cause]:
    """Mode and owner of files that say nothing else."""
    return _mode(source, "default_mode", path.child("defaultMode")) + _user(source, "default_user", path.child("defaultUser"))


def _user(source: Any, field: str, path: Path) -> list[Cause]:
    return validate_id(getattr(source, field), path) if source.HasField(field) else []


def _mode(source: Any, field: str, path: Path) -> list[Cause]:
    mode = getattr(source, field)
    return [invalid(path, mode, MODE_SENTENCE)] if source.HasField(field) and not 0 <= mode <= 0o777 else []


def validate_mounts(container: core.Container, names: Collection[str], path: Path) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, mount in enumerate(container.volume_mounts):
        here = path.index(index)
        if not mount.name:
            causes.append(required(here.child("name")))
        if mount.name not in names:
            causes.append(not_found(here.child("name"), mount.name))
        if not mount.mount_path:
            causes.append(required(here.child("mountPath")))
        if mount.mount_path in seen:
            causes.append(invalid(here.child("mountPath"), mount.mount_path, "must be unique"))
        seen.add(mount.mount_path)
        causes += _sub_paths(mount, here, path)
        # Kubernetes leaves the index out of this one too.
        causes += _propagation(mount, container, path.child("mountPropagation"))
        causes += _recursive(mount, here.child("recursiveReadOnly"))
        causes += _options(mount, here.child("bindMountOptions"))
    return causes


def validate_devices(container: core.Container, volumes: Mapping[str, core.Volume], path: Path) -> list[Cause]:
    """Of block volumes; ``volumes`` are those of the pod by name."""
    causes: list[Cause] = []
    paths, names = {mount.mount_path for mount in container.volume_mounts}, {mount.name for mount in container.volume_mounts}
    for index, device in enumerate(container.volume_devices):
        here = path.index(index)
        if not device.name:
            causes.append(required(here.child("name")))
        elif device.name not in volumes:
            causes.append(not_found(here.child("name"), device.name))
        else:
            source = volumes[device.name].volume_source
            if not (source.HasField("persistent_volume_claim") or source.HasField("ephemeral")):
                sentence = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
                causes.append(invalid(here.child("name"), device.name, sentence))
        causes += _device_path(device.device_path, paths, here.child("devicePath"))
        if device.name in names:
            causes.append(invalid(here.child("name"), device.name, "must not already exist in volumeMounts or volumeDevices"))
        paths.add(device.device_path)
        names.add(device.name)
    return causes


def _device_path(value: str, taken: Collection[str], path: Path) -> list[Cause]:
    if not value:
        return [required(path)]
    causes = [invalid(path, value, "must not already exist as a path in volumeMounts or volumeDevices")] if value in taken else []
    return causes + ([invalid(path, value, "can not contain backsteps ('..')")] if ".." in value.split("/") else [])


def _sub_paths(mount: core.VolumeMount, path: Path, mounts: Path) -> list[Cause]:
    # Kubernetes leaves the index out of these two.
    causes = check_relative(mount.sub_path, mounts.child("subPath")) + check_relative(mount.sub_path_expr, mounts.child("subPathExpr"))
    if mount.sub_path and mount.sub_path_expr:
        causes.append(invalid(path.child("subPathExpr"), mount.sub_path_expr, "subPathExpr and subPath are mutually exclusive"))
    return causes


def _recursive(mount: core.VolumeMount, path: Path) -> list[Cause]:
    if mount.recursive_read_only in ("", "Disabled"):
        return []
    causes = check_choice(path, mount.recursive_read_only, RECURSIVE)
    if not mount.read_only:
        causes.append(forbidden(path, "may only be specified when readOnly is true"))
    if mount.mount_propagation not in ("", "None"):
        causes.append(forbidden(path, "may only be specified when mountPropagation is None or not specified"))
    return causes


def _options(mount: core.VolumeMount, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, option in enumerate(mount.bind_mount_options):
        causes += check_choice(path.index(index), option, BIND_OPTIONS)
        if option in seen:
            causes.append(duplicate(path.index(index), option))
        seen.add(option)
    return causes


def _propagation(mount: core.VolumeMount, container: core.Container, path: Path) -> list[Cause]:
    causes = check_given_choice(path, mount, "mount_propagation", PROPAGATIONS)
    if mount.mount_propagation == "Bidirectional" and not container.security_context.privileged:
        causes.append(forbidden(path, "Bidirectional mount propagation is available only to privileged containers"))
    return causes


_RULES: dict[str, Callable[[Any, Path], list[Cause]]] = {
    "host_path": validate_host_path,
    "empty_dir": _empty_dir,
    "secret": _secret,
    "config_map": _config_map,
    "downward_api": _downward_api,
    "persistent_volume_claim": _claim,
    "nfs": validate_nfs,
    "projected": _projected,
    "image": _image,
}
