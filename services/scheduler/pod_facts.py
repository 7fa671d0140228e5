"""What the scheduler needs to know of a pod, read once from the object."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.amounts import Amounts, assumed_requests, is_resizing, pod_requests, taken
from knarr.objects.devices import may_be_devices
from knarr.objects.host_ports import HostPort, host_ports
from knarr.objects.keys import Key, key_of
from knarr.objects.volumes import claim_names
from services.scheduler.likeness import Likeness
from services.scheduler.parts import Part, Subject
from services.scheduler.terms import Terms

# No machine has more of anything, and what all pods of a node ask for together still fits into 64 bits.
LARGEST_AMOUNT = 2**52
# What many pods have nothing of, and the plugins about it then nothing to say.
TELLING = frozenset({"affinity_key", "claims", "devices", "host_ports", "node_name"})


def bounded(amounts: Amounts) -> Amounts:
    """Amounts that can be added up in arrays: one that is beyond all machines stays so. In order: maps of messages have none that holds."""
    return {name: min(amount, LARGEST_AMOUNT) for name, amount in sorted(amounts.items())}


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod as the plugins see it. ``pod`` is the shared object: read it only.

    ``requests`` are in whole units (see ``knarr.objects.amounts``); ``assumed`` are CPU and memory for scoring.
    ``claims`` are the names of those that its volumes use.
    ``affinity_key`` and ``toleration_key`` are equal for pods that ask the same of nodes.
    """

    pod: core.Pod
    key: Key
    uid: str
    priority: int
    likeness: Likeness
    requests: Amounts
    assumed: tuple[int, int]
    host_ports: Sequence[HostPort]
    claims: Sequence[str]
    affinity_key: bytes
    toleration_key: bytes
    # The node that it names itself; the resources that classes of devices may stand for; whether it has such, or claims to devices.
    node_name: str
    extended: Sequence[str]
    devices: bool
    # Equal for pods that ask for the same amounts.
    asked_key: Hashable
    # Whether its containers have not what they ask for: then what it takes follows from its status, too.
    resizing: bool
    # Which facts of ``TELLING`` it has.
    has: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "has", frozenset(name for name in TELLING if getattr(self, name)))

    @classmethod
    def of(cls, pod: core.Pod) -> PodFacts:
        spec = pod.spec
        # Most pods that are placed are not being resized, and those that wait have no containers yet.
        resizing = is_resizing(pod)
        asked, (cpu, memory) = taken(pod) if resizing else (pod_requests(pod), assumed_requests(pod))
        requests, assumed = bounded(asked), (min(cpu, LARGEST_AMOUNT), min(memory, LARGEST_AMOUNT))
        extended = tuple(name for name, amount in requests.items() if "/" in name and amount > 0 and may_be_devices(name))
        return cls(
            pod=pod,
            key=key_of(pod),
            uid=pod.metadata.uid,
            priority=spec.priority,
            likeness=Likeness.of(pod),
            requests=requests,
            assumed=assumed,
            host_ports=host_ports(spec),
            claims=tuple(claim_names(pod)),
            affinity_key=_affinity_key(spec),
            toleration_key=b"\0".join(toleration.SerializeToString(deterministic=True) for toleration in spec.tolerations),
            node_name=spec.node_name,
            extended=extended,
            devices=bool(spec.resource_claims or extended),
            asked_key=(frozenset(requests.items()), assumed),
            resizing=resizing,
        )

    @property
    def labels(self) -> Mapping[str, str]:
        return self.likeness.labels

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """The labels, to be compared as a whole."""
        return self.likeness.pairs

    @property
    def owner(self) -> str:
        return self.likeness.owner

    @property
    def ending(self) -> bool:
        return self.likeness.ending

    @property
    def affinity(self) -> bytes:
        """Equal for pods that ask the same of other pods."""
        return self.likeness.affinity

    @property
    def terms(self) -> Terms:
        return self.likeness.terms


# Where each fact is read; what names the pod (key, uid) is nobody's dependency.
SOURCES: Mapping[str, Sequence[str]] = {
    "priority": ["spec.priority"],
    "labels": ["metadata.labels"],
    "pairs": ["metadata.labels"],
    "owner": ["metadata.ownerReferences"],
    "ending": ["metadata.deletionTimestamp"],
    "affinity": ["spec.affinity.podAffinity", "spec.affinity.podAntiAffinity"],
    "terms": ["spec.affinity.podAffinity", "spec.affinity.podAntiAffinity"],
    "asked_key": ["spec.containers", "spec.initContainers", "spec.overhead", "spec.resources"],
    "requests": ["spec.containers", "spec.initContainers", "spec.overhead", "spec.resources"],
    "assumed": ["spec.containers", "spec.initContainers", "spec.overhead", "spec.resources"],
    "host_ports": ["spec.containers", "spec.initContainers"],
    "claims": ["spec.volumes"],
    "affinity_key": ["spec.affinity.nodeAffinity", "spec.nodeSelector"],
    "toleration_key": ["spec.tolerations"],
    "node_name": ["spec.nodeName"],
    "extended": ["spec.containers", "spec.initContainers"],
    "devices": ["spec.resourceClaims", "spec.containers", "spec.initContainers"],
}


def facts_of(subject: Subject, *names: str) -> frozenset[Part]:
    """The parts of a pod (``Subject.POD`` or ``Subject.PLACED``) that facts of these names are read from."""
    return frozenset(Part(subject, path) for name in names for path in SOURCES[name])


def _affinity_key(spec: core.PodSpec) -> bytes:
    affinity = spec.affinity.node_affinity.SerializeToString(deterministic=True) if spec.HasField("affinity") else b""
    return affinity + b"\0" + repr(sorted(spec.node_selector.items())).encode() if affinity or spec.node_selector else b""
