"""A pod that a file of the node's describes: from text to a pod that the kubelet can run. Pure.

Such a pod is nobody's but the node's: its uid is made of the node, the file and what it says, so that one that changes is another pod.
It must not need anything of the API, which may be away, or know the node by nothing but its credentials.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.machinery.errors import StatusError
from knarr.machinery.validation import dns1123_label, dns1123_subdomain
from knarr.machinery.yaml_text import yaml_documents
from knarr.objects.pods import CONFIG_HASH, CONFIG_SOURCE, MIRROR, every_container
from knarr.objects.references import config_map_names, pod_certificates, secret_names, trust_bundles
from knarr.objects.restarts import ALWAYS, NEVER, ON_FAILURE
from services.kubelet.node.manifest_rules import judge

FILE_SOURCE = "file"
RESTART_POLICIES = (ALWAYS, ON_FAILURE, NEVER)


class BadManifest(Exception):
    """A file that describes no pod that this node could run: why, and what to do."""


def static_pod(data: bytes, file: str, node_name: str) -> core.Pod:
    """The pod of a file named ``file`` on a node; raises BadManifest."""
    pod = _decoded(data)
    if problem := next(_problems(pod), ""):
        raise BadManifest(problem)
    uid = hashlib.md5(f"host:{node_name}file:{file}".encode(), usedforsecurity=False)
    uid.update(pod.SerializeToString(deterministic=True))
    metadata, spec = pod.metadata, pod.spec
    metadata.uid = uid.hexdigest()
    metadata.name = f"{metadata.name}-{node_name.lower()}"
    metadata.namespace = metadata.namespace or "default"
    metadata.annotations[CONFIG_HASH], metadata.annotations[CONFIG_SOURCE] = metadata.uid, FILE_SOURCE
    metadata.generation = 1
    spec.node_name = node_name
    spec.restart_policy = spec.restart_policy or ALWAYS
    spec.dns_policy = spec.dns_policy or "ClusterFirst"
    if not any((found.operator, found.effect, found.key) == ("Exists", "NoExecute", "") for found in spec.tolerations):
        # Trouble of the node ends others there, not these.
        spec.tolerations.add(operator="Exists", effect="NoExecute")
    if problems := dns1123_subdomain(metadata.name):
        raise BadManifest(f"metadata.name: {metadata.name}: {problems[0]}")
    return pod


def _decoded(data: bytes) -> core.Pod:
    try:
        documents = yaml_documents(data)
        if len(documents) != 1:
            raise BadManifest(f"a file describes one pod, this one has {len(documents)} documents; put each into a file of its own")
        kind = documents[0].get("apiVersion"), documents[0].get("kind")
        if kind != ("v1", "Pod"):
            raise BadManifest(f"apiVersion {kind[0]}, kind {kind[1]}: only v1 Pod can be run")
        pod: core.Pod = codec.from_json(core.Pod, documents[0]).message
    except StatusError as error:
        raise BadManifest(str(error)) from error
    pod.ClearField("status")
    # What only the API server writes: such a pod would be on its way out before it began.
    for field in ("deletion_timestamp", "deletion_grace_period_seconds"):
        pod.metadata.ClearField(field)
    return pod


def _problems(pod: core.Pod) -> Iterator[str]:
    if not pod.metadata.name:
        yield "metadata.name: Required value"
    # Its files and logs lie in folders of these names, and nothing has judged them.
    if pod.metadata.namespace and (problems := dns1123_label(pod.metadata.namespace)):
        yield f"metadata.namespace: {pod.metadata.namespace!r}: {problems[0]}"
    if pod.spec.restart_policy not in ("", *RESTART_POLICIES):
        yield f"spec.restartPolicy: {pod.spec.restart_policy!r} is none of {', '.join(RESTART_POLICIES)}"
    if not pod.spec.containers:
        yield "spec.containers: Required value"
    if MIRROR in pod.metadata.annotations:
        yield f"metadata.annotations: {MIRROR} is what the kubelet sets"
    if pod.spec.ephemeral_containers:
        yield "static pods may not have ephemeral containers"
    yield from (f"container {container.name!r}: image: Required value" for container in every_container(pod.spec) if not container.image)
    yield from _named("container", [container.name for container in every_container(pod.spec)])
    yield from _named("volume", [volume.name for volume in pod.spec.volumes])
    yield from (f"{cause.field}: {cause.message}" for cause in judge(pod.spec))
    yield from (f"static pods may not reference {what}" for what, found in _references(pod).items() if found)


def _named(what: str, names: list[str]) -> Iterator[str]:
    for at, name in enumerate(names):
        if problems := dns1123_label(name):
            yield f"{what} {name!r}: name: {problems[0]}"
        if name in names[:at]:
            yield f"{what} {name!r}: name: Duplicate value"


def _references(pod: core.Pod) -> dict[str, bool]:
    """What of the API a pod would need: a node that could name what it likes would see more than it may."""
    sources: list[Message] = [volume.volume_source for volume in pod.spec.volumes]
    tokens = any(part.HasField("service_account_token") for volume in pod.spec.volumes for part in volume.volume_source.projected.sources)
    return {
        "serviceaccounts": bool(pod.spec.service_account_name or pod.spec.service_account) or tokens,
        "secrets": bool(secret_names(pod)),
        "configmaps": bool(config_map_names(pod)),
        "clustertrustbundles": any(trust_bundles(pod)),
        "podcertificates": any(pod_certificates(pod)),
        "persistentvolumeclaims": any(source.HasField("persistent_volume_claim") or source.HasField("ephemeral") for source in sources),
        "resourceclaims": bool(pod.spec.resource_claims),
    }
