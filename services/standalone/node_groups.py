"""The control groups of a cluster's nodes that run containers."""

from __future__ import annotations

from services.kubelet.cgroups.names import Group, root_of
from services.standalone.fellows.plan import node_names
from services.standalone.settings import ClusterSettings


def node_groups(settings: ClusterSettings) -> list[Group]:
    """Of each node, also of one that is to be no more, what its kubelet makes those of its pods in."""
    cluster_id = settings.files.cluster_id()
    return [root_of(cluster_id, name) for name in node_names(settings)]
