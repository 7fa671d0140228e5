"""What a container's plan is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.container.env_files import EnvFiles
from services.kubelet.cpus.view import ALL_SHARED, PodCpus
from services.kubelet.devices.cdi import NOTHING, Edits
from services.kubelet.node.view import NodeView
from services.kubelet.pod.directory import PodDirectory
from services.kubelet.pod.references import References
from services.kubelet.runtime.plan import SeccompProfile
from services.kubelet.runtime.port import Accounts, Image, Sandbox


class ConfigError(Exception):
    """The container cannot be configured: the message of CreateContainerConfigError, in Kubernetes' words."""


@dataclass(frozen=True, slots=True)
class SecurityFacts:
    """What was looked up for a container's security: the accounts of its image, None where its engine goes by them itself, and the profile
    of seccomp that it names."""

    accounts: Accounts | None = None
    seccomp: SeccompProfile | None = None


@dataclass(frozen=True, slots=True)
class ContainerInputs:
    """Everything that was looked up before the plan is made.

    ``attempt`` counts the container's starts from 0, ``image`` lies on the node, ``lowest_oom_score`` is the least
    ``oom_score_adj`` that the kernel lets this kubelet give.
    """

    pod: core.Pod
    spec: core.Container
    attempt: int
    sandbox: Sandbox
    image: Image
    references: References
    node: NodeView
    directory: PodDirectory
    lowest_oom_score: int = -1000
    # The container whose processes an ephemeral one is to see; empty: none.
    target_id: str = ""
    # What lies in the files that its variables come from; None on a node whose containers see no files.
    env_files: EnvFiles | None = None
    security: SecurityFacts = SecurityFacts()
    # Where the images that are its volumes lie on the node, by the names of the volumes.
    images: Mapping[str, str] = field(default_factory=dict)
    # The control group of its pod, as the engine is told it; empty: what the engine likes.
    cgroup_parent: str = ""
    # The processors of the pod's containers.
    cpus: PodCpus = ALL_SHARED
    # What it gets by its claims: by name where its engine looks that up, else what it is.
    cdi_devices: tuple[str, ...] = ()
    edits: Edits = NOTHING
    # What it may use of the node's swap, bytes.
    swap_bytes: int = 0

    @property
    def pod_ip(self) -> str:
        """The pod's address; the node's for a pod in the node's network."""
        return self.sandbox.ip or self.node.ip
