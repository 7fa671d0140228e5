"""What a simulation needs to know of an object that was seen in a cluster: its manifest without what others wrote into it. Pure.

Of pods that is what decides where they go and how long they stay: what they ask for, where they may run, their probes. What others would
have to do for them is not waited for (gates, another scheduler). Volumes, the
environment, identities, and commands but for how they end are left out: a trace may be shown to others, and what they name is not in it.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.machinery.type_names import names_of
from knarr.objects.copies import copy_of
from knarr.objects.owners import controller_of
from knarr.objects.pods import every_container
from services.kubelet.runtime.hollow_process import fate_of
from services.kubelet.runtime.plan import Process
from services.simulation.short_form import WORKLOAD

OF_POD = (
    "volumes", "node_name", "service_account_name", "service_account", "security_context", "image_pull_secrets", "priority",
    "preemption_policy", "overhead", "ephemeral_containers", "runtime_class_name", "resource_claims", "dns_config", "dns_policy",
    "host_users", "automount_service_account_token", "enable_service_links", "readiness_gates", "scheduling_gates", "scheduler_name",
    "scheduling_group", "eviction_responders",
)  # fmt: skip
OF_CONTAINER = (
    "env", "env_from", "volume_mounts", "volume_devices", "security_context", "lifecycle", "image_pull_policy", "termination_message_path",
    "termination_message_policy", "working_dir",
)  # fmt: skip
# By which the controller of a Job tells its pods apart, and which it gives by itself.
OF_JOB = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")


def manifest(obj: Message, seconds: float | None = None) -> dict[str, Any]:
    """An object as JSON. ``seconds``: how long its pods run, where that is known."""
    found: Any = copy_of(obj)
    name, namespace, labels = found.metadata.name, found.metadata.namespace, dict(found.metadata.labels)
    found.ClearField("metadata")
    found.metadata.name, found.metadata.namespace = name, namespace
    found.metadata.labels.update({key: value for key, value in labels.items() if key not in OF_JOB})
    if isinstance(found, apps.StatefulSet):
        found.spec.ClearField("volume_claim_templates")
    if isinstance(found, batch.Job) and not found.spec.manual_selector:
        found.spec.ClearField("selector")
    if isinstance(found, core.Pod):
        _plain(found.spec, seconds)
    elif (template := _template_of(found)) is not None:
        kept = {key: value for key, value in template.metadata.labels.items() if key not in OF_JOB}
        template.ClearField("metadata")
        template.metadata.labels.update(kept)
        if (owner := controller_of(obj)) is not None:
            template.metadata.labels[WORKLOAD] = _label(owner.name)
        _plain(template.spec, seconds)
    api_version, kind = names_of(type(found))
    shown = _without_nulls(codec.to_dict(found))
    shown.pop("status", None)
    return {"apiVersion": api_version, "kind": kind, **shown}


def _template_of(obj: Any) -> Any | None:
    """The template of a workload's pods, of any message."""
    spec = getattr(obj, "spec", None)
    return spec.template if spec is not None and "template" in spec.DESCRIPTOR.fields_by_name else None


def _label(name: str) -> str:
    """A name as the value of a label, which is shorter."""
    return name[:63].rstrip("-._")


def _plain(spec: Any, seconds: float | None) -> None:
    """``seconds``: after which its main containers end well; None: as their commands say, if they do."""
    for field in OF_POD:
        spec.ClearField(field)
    for container in every_container(spec):
        for field in OF_CONTAINER:
            container.ClearField(field)
        container.resources.ClearField("claims")
        for probe in (container.liveness_probe, container.readiness_probe, container.startup_probe):
            _make_plain(probe)
        fate = fate_of(Process(tuple(container.command), tuple(container.args)))
        container.ClearField("args")
        container.command[:] = [] if fate is None else ["sh", "-c", f"sleep {fate.seconds:.3f}; exit {fate.exit_code}"]
    for container in spec.containers if seconds is not None else ():
        container.command[:] = ["sleep", f"{seconds:.3f}"]


def _make_plain(probe: Any) -> None:
    """When it is made, not what it says; those of simulated containers succeed."""
    if probe.handler.HasField("exec"):
        probe.handler.exec.command[:] = ["true"]
    if probe.handler.HasField("http_get"):
        probe.handler.http_get.ClearField("http_headers")


def _without_nulls(value: Any) -> Any:
    """What is empty may say something (a selector that chooses all), but null nothing."""
    if isinstance(value, dict):
        return {name: _without_nulls(one) for name, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value
