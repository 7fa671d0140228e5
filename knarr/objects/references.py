"""The ConfigMaps and Secrets of its namespace that a pod names."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.pods import every_container


def config_map_names(pod: core.Pod) -> set[str]:
    """Every ConfigMap that a pod's environment or volumes name."""
    names: set[str] = set()
    for spec in every_container(pod.spec):
        names |= {env.value_from.config_map_key_ref.local_object_reference.name for env in spec.env}
        names |= {source.config_map_ref.local_object_reference.name for source in spec.env_from}
    for volume in pod.spec.volumes:
        names.add(volume.volume_source.config_map.local_object_reference.name)
        names |= {source.config_map.local_object_reference.name for source in volume.volume_source.projected.sources}
    return names - {""}


def secret_names(pod: core.Pod) -> set[str]:
    """Every Secret that a pod's environment, volumes or image pulls name."""
    names = {reference.name for reference in pod.spec.image_pull_secrets}
    for spec in every_container(pod.spec):
        names |= {env.value_from.secret_key_ref.local_object_reference.name for env in spec.env}
        names |= {source.secret_ref.local_object_reference.name for source in spec.env_from}
    for volume in pod.spec.volumes:
        names.add(volume.volume_source.secret.secret_name)
        names |= {source.secret.local_object_reference.name for source in volume.volume_source.projected.sources}
    return names - {""}
