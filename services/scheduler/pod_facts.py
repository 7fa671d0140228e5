"""What the scheduler needs to know of a pod, read once from the object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.amounts import Amounts, assumed_requests, pod_requests
from knarr.objects.host_ports import HostPort, host_ports
from knarr.objects.keys import Key, key_of
from knarr.objects.owners import controller_of

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod as the plugins see it. ``pod`` is the shared object: read it only.

    ``requests`` are in whole units (see ``knarr.objects.amounts``); ``assumed`` are CPU and memory for scoring.
    ``affinity_key`` and ``toleration_key`` are equal for pods that ask the same of nodes.
    """

    pod: core.Pod
    key: Key
    uid: str
    priority: int
    labels: Labels
    controlled: bool
    requests: Amounts
    assumed: tuple[int, int]
    host_ports: Sequence[HostPort]
    affinity_key: bytes
    toleration_key: bytes

    @classmethod
    def of(cls, pod: core.Pod) -> PodFacts:
        spec = pod.spec
        return cls(
            pod=pod,
            key=key_of(pod),
            uid=pod.metadata.uid,
            priority=spec.priority,
            labels=frozenset(pod.metadata.labels.items()),
            controlled=controller_of(pod) is not None,
            requests=pod_requests(pod),
            assumed=assumed_requests(pod),
            host_ports=host_ports(spec),
            affinity_key=_affinity_key(spec),
            toleration_key=b"\0".join(toleration.SerializeToString(deterministic=True) for toleration in spec.tolerations),
        )


def _affinity_key(spec: core.PodSpec) -> bytes:
    affinity = spec.affinity.node_affinity.SerializeToString(deterministic=True) if spec.HasField("affinity") else b""
    return affinity + b"\0" + repr(sorted(spec.node_selector.items())).encode() if affinity or spec.node_selector else b""
