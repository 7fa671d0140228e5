"""What the things are called that are made for a Service: the same names every time, so that they are found again. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core

CLUSTER_TAG = "kubernetes.io/cluster/"
SERVICE_TAG = "kubernetes.io/service-name"
# AWS takes at most 32 characters as the name of a load balancer or a target group.
_HASH_LENGTH = 10
_PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "TCP_UDP": "both"}
_READABLE_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Names:
    """The names and tags of one Service. A Service that was deleted and made again has others: its uid goes into them."""

    cluster: str
    service: str
    load_balancer: str
    # How the names of all its target groups begin.
    group_prefix: str

    def group(self, port: int, node_port: int, protocol: str) -> str:
        """All that cannot be changed of a target group is in its name."""
        return f"{self.group_prefix}{port}-{node_port}-{_PROTOCOLS[protocol]}"

    @property
    def tags(self) -> dict[str, str]:
        return {CLUSTER_TAG + self.cluster: "owned", SERVICE_TAG: self.service}

    @property
    def rule_description(self) -> str:
        """Marks the rules of this Service in groups that are not its own."""
        return f"load balancer {self.load_balancer}"


def names_for(cluster: str, service: core.Service) -> Names:
    meta = service.metadata
    digest = hashlib.sha256(f"{cluster}/{meta.namespace}/{meta.name}/{meta.uid}".encode()).hexdigest()[:_HASH_LENGTH]
    readable = f"{meta.namespace[:_READABLE_LENGTH]}-{meta.name[:_READABLE_LENGTH]}"
    return Names(cluster, f"{meta.namespace}/{meta.name}", f"k8s-{readable}-{digest}", f"k8s-{digest}-")
