"""Objects for the controllers' tests, defaulted as the API server would."""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.message import Message

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import version_of
from knarr.objects import int_or_string
from knarr.objects.conditions import get_condition
from knarr.objects.keys import metadata_of

M = TypeVar("M", bound=Message)

NAMESPACE = "default"


def amount(value: int | str) -> meta.IntOrString:
    return int_or_string.of(value)


def template(image: str = "app:1", **labels: str) -> core.PodTemplateSpec:
    result = core.PodTemplateSpec()
    result.metadata.labels.update(labels or {"app": "web"})
    result.spec.containers.add(name="app", image=image)
    result.spec.termination_grace_period_seconds = 30
    return result


def deployment(
    name: str = "web",
    replicas: int = 3,
    *,
    image: str = "app:1",
    surge: int | str = "25%",
    unavailable: int | str = "25%",
    strategy: str = "RollingUpdate",
    deadline: int = 600,
    history: int = 10,
    min_ready: int = 0,
) -> apps.Deployment:
    result = apps.Deployment()
    result.metadata.name, result.metadata.namespace = name, NAMESPACE
    result.spec.replicas = replicas
    result.spec.selector.match_labels["app"] = name
    result.spec.template.CopyFrom(template(image, app=name))
    result.spec.strategy.type = strategy
    if strategy == "RollingUpdate":
        result.spec.strategy.rolling_update.max_surge.CopyFrom(amount(surge))
        result.spec.strategy.rolling_update.max_unavailable.CopyFrom(amount(unavailable))
    result.spec.progress_deadline_seconds = deadline
    result.spec.revision_history_limit = history
    result.spec.min_ready_seconds = min_ready
    return result


def replica_set(name: str = "web", replicas: int = 3, *, min_ready: int = 0) -> apps.ReplicaSet:
    result = apps.ReplicaSet()
    result.metadata.name, result.metadata.namespace = name, NAMESPACE
    result.spec.replicas = replicas
    result.spec.min_ready_seconds = min_ready
    result.spec.selector.match_labels["app"] = "web"
    result.spec.template.CopyFrom(template())
    return result


def replication_controller(name: str = "web", replicas: int = 3, *, min_ready: int = 0) -> core.ReplicationController:
    result = core.ReplicationController()
    result.metadata.name, result.metadata.namespace = name, NAMESPACE
    result.spec.replicas = replicas
    result.spec.min_ready_seconds = min_ready
    result.spec.selector["app"] = "web"
    result.spec.template.CopyFrom(template())
    return result


def daemon_set(
    name: str = "web",
    *,
    image: str = "app:1",
    surge: int | str = 0,
    unavailable: int | str = 1,
    strategy: str = "RollingUpdate",
    min_ready: int = 0,
    history: int = 10,
) -> apps.DaemonSet:
    result = apps.DaemonSet()
    result.metadata.name, result.metadata.namespace = name, NAMESPACE
    result.spec.selector.match_labels["app"] = name
    result.spec.template.CopyFrom(template(image, app=name))
    result.spec.update_strategy.type = strategy
    if strategy == "RollingUpdate":
        result.spec.update_strategy.rolling_update.max_surge.CopyFrom(amount(surge))
        result.spec.update_strategy.rolling_update.max_unavailable.CopyFrom(amount(unavailable))
    result.spec.revision_history_limit = history
    result.spec.min_ready_seconds = min_ready
    return result


def job(name: str = "sums", completions: int | None = 1, parallelism: int = 1, **spec: Any) -> batch.Job:
    """``spec``: further fields of it, as they are called in Python."""
    result = batch.Job()
    result.metadata.name, result.metadata.namespace = name, NAMESPACE
    if completions is not None:
        result.spec.completions = completions
    result.spec.parallelism = parallelism
    result.spec.template.CopyFrom(template(app="sums"))
    result.spec.template.spec.restart_policy = spec.pop("restart_policy", "Never")
    for field, value in spec.items():
        if isinstance(value, Message):
            getattr(result.spec, field).CopyFrom(value)
        else:
            setattr(result.spec, field, value)
    return result


def cron_job(name: str, schedule: str, **spec: Any) -> batch.CronJob:
    """``spec``: further fields of it, as they are called in Python."""
    result = batch.CronJob()
    result.metadata.name, result.metadata.namespace = name, NAMESPACE
    result.spec.schedule = schedule
    result.spec.job_template.spec.CopyFrom(job().spec)
    for field, value in spec.items():
        setattr(result.spec, field, value)
    return result


def pod(name: str, *, node: str = "", phase: str = "Pending", ready: bool = False, ip: str = "", **labels: str) -> core.Pod:
    result = core.Pod()
    result.metadata.name, result.metadata.namespace, result.metadata.uid = name, NAMESPACE, f"uid-{name}"
    result.metadata.labels.update(labels or {"app": "web"})
    result.spec.containers.add(name="app", image="app:1")
    result.spec.node_name = node
    result.status.phase = phase
    result.status.conditions.add(type="Ready", status="True" if ready else "False")
    if ip:
        result.status.pod_ip = ip
        result.status.pod_ips.add(ip=ip)
    return result


def owned(obj: M, owner: Any, *, controller: bool = True, blocks: bool = True) -> M:
    """``obj`` with a reference to ``owner``."""
    version = version_of(type(owner))
    metadata_of(obj).owner_references.add(
        api_version=version.api_version,
        kind=version.kind,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=controller,
        block_owner_deletion=blocks,
    )
    return obj


def service(name: str = "web", *, port: int = 80, target: int | str = 8080) -> core.Service:
    result = core.Service()
    result.metadata.name, result.metadata.namespace, result.metadata.uid = name, NAMESPACE, f"uid-service-{name}"
    result.spec.selector["app"] = "web"
    result.spec.cluster_ip = "10.96.0.9"
    result.spec.ports.add(name="http", protocol="TCP", port=port, target_port=amount(target))
    return result


def node(name: str = "node-1", ready: str = "True") -> core.Node:
    result = core.Node()
    result.metadata.name, result.metadata.uid = name, f"uid-{name}"
    result.status.conditions.add(type="Ready", status=ready, reason="KubeletReady")
    return result


def namespace(name: str = NAMESPACE) -> core.Namespace:
    result = core.Namespace()
    result.metadata.name = name
    result.spec.finalizers.append("kubernetes")
    result.status.phase = "Active"
    return result


def claim(name: str = "data") -> core.PersistentVolumeClaim:
    result = core.PersistentVolumeClaim()
    result.metadata.name, result.metadata.namespace = name, NAMESPACE
    result.spec.access_modes.append("ReadWriteOnce")
    result.spec.resources.requests["storage"].string = "1Gi"
    return result


def with_scratch(obj: core.Pod) -> core.Pod:
    """The pod with a generic ephemeral volume."""
    template = obj.spec.volumes.add(name="scratch").volume_source.ephemeral.volume_claim_template
    template.metadata.labels["for"] = "scratch"
    template.spec.CopyFrom(claim().spec)
    return obj


def volume(name: str = "disk") -> core.PersistentVolume:
    result = core.PersistentVolume()
    result.metadata.name = name
    result.spec.access_modes.append("ReadWriteOnce")
    result.spec.capacity["storage"].string = "1Gi"
    result.spec.persistent_volume_source.host_path.path = "/data"
    return result


def condition_of(status: Any, kind: str) -> Any:
    """A condition that must be there."""
    found = get_condition(status, kind)
    assert found is not None, kind
    return found
