"""The Node object as a kubelet registers it, and what it brings to one that is there. Pure."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.copies import copy_of
from knarr.objects.labels import HOSTNAME
from knarr.objects.local_path import FOLDERS
from knarr.objects.pod_ranges import WISH_ANNOTATION
from knarr.objects.tolerations import NO_SCHEDULE, UNINITIALIZED, parse_taint
from services.kubelet.node.machine import Machine
from services.kubelet.settings import EXTERNAL, KubeletSettings


def desired_node(settings: KubeletSettings, machine: Machine, wish: str) -> core.Node:
    """The Node as it is registered, without its status. Where the settings have no range of pod addresses it is left to the controller,
    which is told that of ``wish``, a CIDR or empty."""
    node = core.Node()
    node.metadata.name = settings.node_name
    node.metadata.labels.update(_labels(settings, machine))
    node.metadata.annotations[FOLDERS] = str(settings.folders)
    if settings.pod_cidr:
        node.spec.pod_cidr = settings.pod_cidr
        node.spec.pod_cidrs.append(settings.pod_cidr)
    elif wish:
        node.metadata.annotations[WISH_ANNOTATION] = wish
    node.spec.provider_id = settings.provider_id
    if settings.cloud_provider == EXTERNAL:
        node.spec.taints.add(key=UNINITIALIZED, value="true", effect=NO_SCHEDULE)
    node.spec.taints.extend(map(parse_taint, settings.taints))
    return node


def registered_again(found: core.Node, desired: core.Node) -> core.Node:
    """The Node that a kubelet before this one registered, with this one's labels, and its range of pod addresses if it had none."""
    node = copy_of(found)
    node.metadata.labels.update(desired.metadata.labels)
    node.metadata.annotations[FOLDERS] = desired.metadata.annotations[FOLDERS]
    if desired.spec.pod_cidr and not node.spec.pod_cidr:
        node.spec.pod_cidr = desired.spec.pod_cidr
        node.spec.pod_cidrs.append(desired.spec.pod_cidr)
    return node


def _labels(settings: KubeletSettings, machine: Machine) -> dict[str, str]:
    return {
        HOSTNAME: settings.node_name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": machine.architecture,
        **settings.labels,
    }
