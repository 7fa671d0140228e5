"""What belongs into a pod's volumes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import quantity
from knarr.objects.pods import init_and_main_containers
from services.kubelet.cgroups.values import of_pod
from services.kubelet.csi.places import seen_here
from services.kubelet.csi.volume import inline
from services.kubelet.node.view import NodeView
from services.kubelet.pod.claims import claimed, network_directory
from services.kubelet.pod.contents import DEFAULT_MODE, Content, EmptyDirectory, File, Files, HostDirectory, ImageDirectory, VolumeError
from services.kubelet.pod.credentials import Credential
from services.kubelet.pod.downward import UnknownField, field_value, resource_value
from services.kubelet.pod.missing import Missing
from services.kubelet.pod.references import References
from services.kubelet.pod.tokens import Wanted

CLOSED_MODE = 0o600
# The longest name of a file that Linux takes.
MAX_NAME_BYTES = 255


# What a volume shows that may say whose it is.
HasUser = core.ServiceAccountTokenProjection | core.ClusterTrustBundleProjection | core.PodCertificateProjection
# Volumes whose files the kubelet writes.
WRITTEN = ("config_map", "secret", "downward_api", "projected")
# Of projected volumes, what belongs on no disk.
SECRET_PARTS = ("secret", "service_account_token", "pod_certificate")


def content_of(pod: core.Pod, volume: core.Volume, references: References, node: NodeView, pod_ip: str = "") -> Content:
    """What belongs into a volume of the pod; raises VolumeError naming it."""
    try:
        return _content(pod, volume, references, node, pod_ip)
    except (VolumeError, UnknownField, Missing) as error:
        raise failed(volume.name, error) from error


def laid(pod: core.Pod, volume: core.Volume, references: References, node: NodeView) -> Content:
    """What a volume is that has been laid. Of files that is all that is told: what they came from may be gone by now, they are not.
    Raises VolumeError naming it."""
    source = volume.volume_source
    return Files() if any(map(source.HasField, WRITTEN)) else content_of(pod, volume, references, node)


def failed(volume: str, error: Exception) -> VolumeError:
    """What went wrong with a volume, in Kubernetes' words."""
    return VolumeError(f'MountVolume.SetUp failed for volume "{volume}" : {error}')


def shows_metadata(pod: core.Pod) -> bool:
    """Whether a volume of the pod shows its labels or annotations."""
    sources = [volume.volume_source for volume in pod.spec.volumes]
    return any(
        source.HasField("downward_api") or any(part.HasField("downward_api") for part in source.projected.sources) for source in sources
    )


def shown_metadata(pod: core.Pod) -> tuple[dict[str, str], dict[str, str]]:
    """What may change of a pod that its volumes show."""
    return dict(pod.metadata.labels), dict(pod.metadata.annotations)


def _content(pod: core.Pod, volume: core.Volume, references: References, node: NodeView, pod_ip: str) -> Content:
    source = volume.volume_source
    if source.HasField("persistent_volume_claim") or source.HasField("ephemeral"):
        return claimed(pod, volume, references, node)
    if source.HasField("csi"):
        return inline(pod, volume)
    if source.HasField("nfs"):
        return network_directory(source.nfs)
    if source.HasField("empty_dir"):
        return _empty_directory(pod, source.empty_dir, node)
    if source.HasField("image"):
        return ImageDirectory(source.image.reference, source.image.pull_policy)
    if source.HasField("host_path"):
        return HostDirectory(seen_here(source.host_path.path, node.root), source.host_path.type)
    if source.HasField("config_map"):
        config = source.config_map
        name = config.local_object_reference.name
        return Files(_config_map(references, name, config.items, _given(config), config.optional, pod.metadata.namespace))
    if source.HasField("secret"):
        secret = source.secret
        return Files(_secret(references, secret.secret_name, secret.items, _given(secret), secret.optional, pod.metadata.namespace), True)
    if source.HasField("downward_api"):
        return Files(_downward(pod, source.downward_api.items, _given(source.downward_api), node, pod_ip))
    if source.HasField("projected"):
        parts = {kind for part in source.projected.sources for kind in SECRET_PARTS if part.HasField(kind)}
        return Files(
            _projected(pod, volume.name, source.projected, references, node, pod_ip), bool(parts), "service_account_token" in parts
        )
    kinds = [descriptor.json_name for descriptor, _ in source.ListFields()]
    raise VolumeError(f"no volume plugin matched: this kubelet has none for {', '.join(kinds) or 'an empty source'}")


def _empty_directory(pod: core.Pod, source: core.EmptyDirVolumeSource, node: NodeView) -> EmptyDirectory:
    """In memory it has as much as it says, and no more than its pod, or else the node, may use."""
    memory, limit = source.medium == "Memory", source.size_limit.string
    sizes = [quantity.value(limit) if limit else 0]
    if memory:
        sizes += [of_pod(pod).memory_bytes, quantity.value(node.allocatable.get("memory", "0"))]
    return EmptyDirectory(memory, min((size for size in sizes if size > 0), default=0), source.mode if source.HasField("mode") else None)


@dataclass(frozen=True, slots=True)
class _Given:
    """Mode and owner of the files of a volume that say nothing else."""

    mode: int
    owner: int | None

    def file(self, path: str, data: bytes, item: core.KeyToPath | core.DownwardAPIVolumeFile | None = None) -> File:
        mode = item.mode if item is not None and item.HasField("mode") else self.mode
        owner = item.user if item is not None and item.HasField("user") else self.owner
        return File(_safe(path), data, mode, owner)


def _given(
    source: core.ConfigMapVolumeSource | core.SecretVolumeSource | core.DownwardAPIVolumeSource | core.ProjectedVolumeSource,
) -> _Given:
    mode = int(source.default_mode) if source.HasField("default_mode") else DEFAULT_MODE
    return _Given(mode, int(source.default_user) if source.HasField("default_user") else None)


def _projected(
    pod: core.Pod, volume: str, source: core.ProjectedVolumeSource, references: References, node: NodeView, pod_ip: str
) -> tuple[File, ...]:
    given = _given(source)
    files: list[File] = []
    for position, part in enumerate(source.sources):
        if part.HasField("config_map"):
            one = part.config_map
            files += _config_map(references, one.local_object_reference.name, one.items, given, one.optional, pod.metadata.namespace)
        elif part.HasField("secret"):
            other = part.secret
            files += _secret(references, other.local_object_reference.name, other.items, given, other.optional, pod.metadata.namespace)
        elif part.HasField("downward_api"):
            files += _downward(pod, part.downward_api.items, given, node, pod_ip)
        elif part.HasField("service_account_token"):
            files.append(_token(pod, part.service_account_token, given, references))
        elif part.HasField("cluster_trust_bundle"):
            bundle = part.cluster_trust_bundle
            files.append(_closed(pod, bundle, bundle.path, references.anchors.of(bundle), given))
        elif part.HasField("pod_certificate"):
            files += _credential(pod, part.pod_certificate, references.credentials.get((volume, position)), given)
        else:
            kinds = [descriptor.json_name for descriptor, _ in part.ListFields()]
            raise VolumeError(f"this kubelet cannot project {', '.join(kinds) or 'an empty source'}")
    return tuple({file.path: file for file in files}.values())


def _token(pod: core.Pod, wanted: core.ServiceAccountTokenProjection, given: _Given, references: References) -> File:
    text = references.tokens.get(Wanted.of(wanted))
    if text is None:
        raise VolumeError("there is no token of the service account yet")
    return _closed(pod, wanted, wanted.path, text.encode(), given)


def _credential(pod: core.Pod, wanted: core.PodCertificateProjection, found: Credential | None, given: _Given) -> Iterator[File]:
    """Key and certificates in one file, which is read as a whole, or each in one of its own."""
    if found is None:
        raise VolumeError("credential bundle is not issued yet")
    written = {
        wanted.credential_bundle_path: found.key + found.chain,
        wanted.key_path: found.key,
        wanted.certificate_chain_path: found.chain,
    }
    for path, text in written.items():
        if path:
            yield _closed(pod, wanted, path, text.encode(), given)


def _closed(pod: core.Pod, wanted: HasUser, path: str, data: bytes, given: _Given) -> File:
    """Closed to all but those who are to read it, as in Kubernetes: the one user of all containers, the group of the pod's volumes."""
    owner = wanted.user if wanted.HasField("user") else given.owner if given.owner is not None else _only_user(pod)
    closed = owner is not None or pod.spec.security_context.HasField("fs_group")
    return File(_safe(path), data, CLOSED_MODE if closed else given.mode, owner)


def _only_user(pod: core.Pod) -> int | None:
    """The user id as which every container runs, if the pod says so."""
    users = {_user(pod, spec) for spec in init_and_main_containers(pod.spec)}
    return users.pop() if len(users) == 1 else None


def _user(pod: core.Pod, spec: core.Container) -> int | None:
    for context in (spec.security_context, pod.spec.security_context):
        if context.HasField("run_as_user"):
            return int(context.run_as_user)
    return None


def _config_map(
    references: References, name: str, items: Iterable[core.KeyToPath], given: _Given, optional: bool, namespace: str
) -> tuple[File, ...]:
    found = references.config_maps.get(name)
    if found is None:
        if optional:
            return ()
        raise VolumeError(f'configmap "{name}" not found')
    data = {**{key: found.data[key].encode() for key in found.data}, **{key: found.binary_data[key] for key in found.binary_data}}
    return _chosen(data, items, given, optional, f"configmap {namespace}/{name}")


def _secret(
    references: References, name: str, items: Iterable[core.KeyToPath], given: _Given, optional: bool, namespace: str
) -> tuple[File, ...]:
    found = references.secrets.get(name)
    if found is None:
        if optional:
            return ()
        raise VolumeError(f'secret "{name}" not found')
    return _chosen({key: found.data[key] for key in found.data}, items, given, optional, f"secret {namespace}/{name}")


def _chosen(data: Mapping[str, bytes], items: Iterable[core.KeyToPath], given: _Given, optional: bool, owner: str) -> tuple[File, ...]:
    wanted = list(items)
    if not wanted:
        return tuple(given.file(key, data[key]) for key in sorted(data))
    files = []
    for item in wanted:
        if item.key in data:
            files.append(given.file(item.path, data[item.key], item))
        elif not optional:
            raise VolumeError(f"references non-existent config key: {item.key} of {owner}")
    return tuple(files)


def _downward(pod: core.Pod, items: Iterable[core.DownwardAPIVolumeFile], given: _Given, node: NodeView, pod_ip: str) -> tuple[File, ...]:
    files = []
    for item in items:
        if item.HasField("field_ref"):
            text = field_value(pod, item.field_ref.field_path, node, pod_ip)
        else:
            text = resource_value(pod, item.resource_field_ref, "", node)
        files.append(given.file(item.path, text.encode(), item))
    return tuple(files)


def _safe(path: str) -> str:
    """The path without empty parts and those that lead nowhere. Raises VolumeError for one that is no file's."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise VolumeError(f"invalid path {path!r}: it must be relative and may not contain '..'")
    if "\0" in path or any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise VolumeError(f"invalid path {path!r}: no name may be longer than {MAX_NAME_BYTES} bytes, nor have a zero byte")
    return "/".join(parts)
