"""Defaults of a pod and of a pod template, as Kubernetes fills them in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import quantity
from knarr.objects.amounts import exact
from knarr.objects.images import valid_image
from knarr.objects.pods import init_and_main_containers
from services.apiserver.strategies.pod.whole import default_as_a_whole

FINER_THAN_MILLI = ("n", "u", "e-9", "e-6")
DEFAULT_MODE = 0o644


def all_containers(spec: core.PodSpec) -> Iterable[Any]:
    """Init, main and ephemeral containers; the last by their common part."""
    yield from spec.init_containers
    yield from spec.containers
    for container in spec.ephemeral_containers:
        yield container.ephemeral_container_common


def default_pod(pod: core.Pod) -> None:
    """What holds for pods but not for templates, and then the spec."""
    spec = pod.spec
    default_pod_spec(spec)
    for container in init_and_main_containers(spec):
        _requests_from_limits(container.resources)
        if spec.host_network:
            for port in container.ports:
                port.host_port = port.host_port or port.container_port
    default_as_a_whole(spec)
    if not spec.HasField("enable_service_links"):
        spec.enable_service_links = True


def default_pod_spec(spec: core.PodSpec) -> None:
    """The defaults that pods and templates share."""
    spec.restart_policy = spec.restart_policy or "Always"
    spec.dns_policy = spec.dns_policy or "ClusterFirst"
    spec.scheduler_name = spec.scheduler_name or "default-scheduler"
    if not spec.HasField("termination_grace_period_seconds"):
        spec.termination_grace_period_seconds = 30
    spec.security_context.SetInParent()
    spec.service_account_name = spec.service_account_name or spec.service_account
    spec.service_account = spec.service_account_name
    for container in all_containers(spec):
        _default_container(container)
    for volume in spec.volumes:
        _default_volume(volume.volume_source)


def image_pull_policy(image: str) -> str:
    """Always for ``latest`` and for no tag at all, else IfNotPresent, also of what is no reference."""
    if not valid_image(image):
        return "IfNotPresent"
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return "Always" if tag == "latest" or (not tag and not digest) else "IfNotPresent"


def _default_container(container: core.Container) -> None:
    _round_amounts(container.resources)
    container.image_pull_policy = container.image_pull_policy or image_pull_policy(container.image)
    container.termination_message_path = container.termination_message_path or "/dev/termination-log"
    container.termination_message_policy = container.termination_message_policy or "File"
    for port in container.ports:
        port.protocol = port.protocol or "TCP"
    for variable in container.env:
        _default_field_ref(variable.value_from)
        if variable.value_from.HasField("file_key_ref") and not variable.value_from.file_key_ref.HasField("optional"):
            variable.value_from.file_key_ref.optional = False
    for name in ("liveness_probe", "readiness_probe", "startup_probe"):
        if container.HasField(name):
            _default_probe(getattr(container, name))
    for hook in ("post_start", "pre_stop"):
        if container.HasField("lifecycle") and container.lifecycle.HasField(hook):
            _default_http_get(getattr(container.lifecycle, hook))


def _round_amounts(resources: core.ResourceRequirements) -> None:
    """Amounts finer than a thousandth are rounded up. Canonical ones show it by their suffix."""
    for amounts in (resources.limits, resources.requests):
        for amount in amounts.values():
            if amount.string.endswith(FINER_THAN_MILLI) and exact(amount) is not None:
                amount.string = quantity.canonical(f"{quantity.milli(amount.string)}m")


def _requests_from_limits(resources: core.ResourceRequirements) -> None:
    for name, limit in resources.limits.items():
        if name not in resources.requests:
            resources.requests[name].CopyFrom(limit)


def _default_probe(probe: core.Probe) -> None:
    probe.timeout_seconds = probe.timeout_seconds or 1
    probe.period_seconds = probe.period_seconds or 10
    probe.success_threshold = probe.success_threshold or 1
    probe.failure_threshold = probe.failure_threshold or 3
    _default_http_get(probe.handler)
    if probe.handler.HasField("grpc") and not probe.handler.grpc.HasField("service"):
        probe.handler.grpc.service = ""


def _default_http_get(handler: Any) -> None:
    if handler.HasField("http_get"):
        handler.http_get.path = handler.http_get.path or "/"
        handler.http_get.scheme = handler.http_get.scheme or "HTTP"


def _default_field_ref(source: Any) -> None:
    if source.HasField("field_ref"):
        source.field_ref.api_version = source.field_ref.api_version or "v1"


def _default_volume(source: core.VolumeSource) -> None:
    if not source.ListFields():
        source.empty_dir.SetInParent()
    for name in ("secret", "config_map", "downward_api", "projected"):
        if source.HasField(name) and not getattr(source, name).HasField("default_mode"):
            getattr(source, name).default_mode = DEFAULT_MODE
    for item in source.downward_api.items:
        _default_field_ref(item)
    for projection in source.projected.sources:
        for item in projection.downward_api.items:
            _default_field_ref(item)
        if projection.HasField("service_account_token") and not projection.service_account_token.HasField("expiration_seconds"):
            projection.service_account_token.expiration_seconds = 3600
    if source.HasField("host_path") and not source.host_path.HasField("type"):
        source.host_path.type = ""
    if source.HasField("image"):
        source.image.pull_policy = source.image.pull_policy or image_pull_policy(source.image.reference)
    if source.HasField("ephemeral") and not source.ephemeral.volume_claim_template.spec.HasField("volume_mode"):
        source.ephemeral.volume_claim_template.spec.volume_mode = "Filesystem"
