"""How a Binding gives a pod its node. Pure."""

from __future__ import annotations

from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, required
from knarr.objects.conditions import set_condition
from knarr.objects.keys import is_deleting
from services.apiserver.strategies.metadata import validate_labels
from services.apiserver.strategies.paths import METADATA

TARGET = Path("target")


def validate_binding(binding: core.Binding) -> list[Cause]:
    """What is wrong with a Binding whatever the pod is."""
    # They become the pod's.
    causes = validate_labels(binding.metadata.labels, METADATA.child("labels"))
    if binding.target.kind not in ("", "Node"):
        message = f'Unsupported value: "{binding.target.kind}": supported values: "Node", "<empty>"'
        causes.append(Cause("FieldValueNotSupported", message, TARGET.child("kind")))
    return causes if binding.target.name else [*causes, required(TARGET.child("name"))]


def refusal(pod: core.Pod) -> str:
    """Why a pod can be given no node; empty when it can."""
    name = pod.metadata.name
    if is_deleting(pod):
        return f"pod {name} is being deleted, cannot be assigned to a host"
    if pod.spec.node_name:
        return f'pod {name} is already assigned to node "{pod.spec.node_name}"'
    return f"pod {name} has non-empty .spec.schedulingGates" if pod.spec.scheduling_gates else ""


def bind(pod: core.Pod, binding: core.Binding, now: datetime) -> None:
    """Writes the node, the labels and the annotations of a Binding into a pod that can have one."""
    pod.spec.node_name = binding.target.name
    # Where it might have gone is of no more interest.
    pod.status.nominated_node_name = ""
    pod.metadata.labels.update(binding.metadata.labels)
    pod.metadata.annotations.update(binding.metadata.annotations)
    set_condition(pod.status, "PodScheduled", True, now=now)
