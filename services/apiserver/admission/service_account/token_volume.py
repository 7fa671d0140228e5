"""The volume by which a pod has its account's token, the cluster's certificate and its namespace. Pure; Kubernetes' in every detail."""

from __future__ import annotations

import random

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.names import generated
from knarr.objects.pods import init_and_main_containers

PREFIX = "kube-api-access-"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
# One hour and what tells it from others: the API server knows by it that a client may not have it renewed.
TOKEN_SECONDS = 3607
CERTIFICATE = "kube-root-ca.crt"


def is_wanted(spec: core.PodSpec, account: core.ServiceAccount) -> bool:
    """The pod's own word counts before its account's; nobody's means yes."""
    for owner in (spec, account):
        if owner.HasField("automount_service_account_token"):
            return bool(owner.automount_service_account_token)
    return True


def mount_token(spec: core.PodSpec, source: random.Random) -> bool:
    """Lets each container see the volume that has nothing else there; whether any does."""
    wanting = [found for found in init_and_main_containers(spec) if all(mount.mount_path != MOUNT_PATH for mount in found.volume_mounts)]
    own = next((volume.name for volume in spec.volumes if volume.name.startswith(PREFIX)), "")
    name = own or generated(PREFIX, source)
    for container in wanting:
        container.volume_mounts.add(name=name, read_only=True, mount_path=MOUNT_PATH)
    if wanting and not own:
        _fill(spec.volumes.add(name=name).volume_source.projected)
    return bool(wanting)


def _fill(volume: core.ProjectedVolumeSource) -> None:
    volume.default_mode = 0o644
    volume.sources.add().service_account_token.MergeFrom(core.ServiceAccountTokenProjection(path="token", expiration_seconds=TOKEN_SECONDS))
    certificate = volume.sources.add().config_map
    certificate.local_object_reference.name = CERTIFICATE
    certificate.items.add(key="ca.crt", path="ca.crt")
    namespace = volume.sources.add().downward_api.items.add(path="namespace")
    namespace.field_ref.api_version, namespace.field_ref.field_path = "v1", "metadata.namespace"
