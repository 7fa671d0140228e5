"""Where the control groups are, and what engines call them. Pure.

A group is the names from the top: a node's own, ``kubepods``, the class of service unless it is Guaranteed, the pod.
"""

from __future__ import annotations

import re

from knarr.objects.qos import BEST_EFFORT, BURSTABLE

CGROUPFS, SYSTEMD = "cgroupfs", "systemd"
ALL_PODS = "kubepods"
_CLASSES = {BURSTABLE: "burstable", BEST_EFFORT: "besteffort"}
CLASSES = tuple(_CLASSES)

Group = tuple[str, ...]


def root_of(cluster_id: str, node_name: str) -> Group:
    """A node's own: several may be on one machine. Underscores keep systemd from taking it for more than one."""
    return (re.sub(r"[^a-z0-9_.]", "_", f"knarr_{cluster_id}_{node_name}".lower()), ALL_PODS)


def class_group(root: Group, name: str) -> Group:
    """Of a class of service; Guaranteed pods are in that of all pods."""
    return (*root, _CLASSES[name]) if name in _CLASSES else root


def pod_group(root: Group, name: str, uid: str) -> Group:
    """Of a pod of that class."""
    return (*class_group(root, name), f"pod{uid}")


def folder(group: Group, driver: str) -> str:
    """Below each hierarchy, without a slash at either end."""
    if driver != SYSTEMD:
        return "/".join(group)
    return "/".join(unit(group[: count + 1]) for count in range(len(group)))


def unit(group: Group) -> str:
    """systemd's slice: a dash is a step down."""
    return "-".join(part.replace("-", "_") for part in group) + ".slice"


def parent(group: Group, driver: str) -> str:
    """What an engine is told to put a pod's containers into."""
    return unit(group) if driver == SYSTEMD else "/" + "/".join(group)
