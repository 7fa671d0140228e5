"""What a pod names beside itself: ConfigMaps and Secrets of its namespace, bundles of certificates that are trusted."""

from __future__ import annotations

from collections.abc import Iterator

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
        names.add(volume.volume_source.csi.node_publish_secret_ref.name)
        names |= {source.secret.local_object_reference.name for source in volume.volume_source.projected.sources}
    return names - {""}


def trust_bundles(pod: core.Pod) -> Iterator[core.ClusterTrustBundleProjection]:
    """What its volumes show of ClusterTrustBundles."""
    for volume in pod.spec.volumes:
        for source in volume.volume_source.projected.sources:
            if source.HasField("cluster_trust_bundle"):
                yield source.cluster_trust_bundle


def pod_certificates(pod: core.Pod) -> Iterator[core.PodCertificateProjection]:
    """What its volumes show of keys and certificates that are made for it."""
    for volume in pod.spec.volumes:
        for source in volume.volume_source.projected.sources:
            if source.HasField("pod_certificate"):
                yield source.pod_certificate


def trust_bundle_prefix(signer_name: str) -> str:
    """How the name of each ClusterTrustBundle of a signer begins."""
    return signer_name.replace("/", ":") + ":"


def names_trust_bundle(pod: core.Pod, name: str) -> bool:
    """Whether a volume of the pod may show a ClusterTrustBundle of a name: itself, or what its signer says."""
    return any(
        name == wanted.name if wanted.HasField("name") else name.startswith(trust_bundle_prefix(wanted.signer_name))
        for wanted in trust_bundles(pod)
    )
