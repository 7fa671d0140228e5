"""What all pods of a node share, and what all that works on one pod shares."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.client.events import EventRecorder
from services.kubelet.cgroups.keeper import PodGroups
from services.kubelet.cpus.keeper import CpuKeeper
from services.kubelet.csi.mounts import DriverMounts
from services.kubelet.devices.keeper import DeviceClaims
from services.kubelet.node.credential_providers import CredentialProviders
from services.kubelet.node.files import NodeFiles
from services.kubelet.node.image_folders import ImageFolders
from services.kubelet.node.images import Images
from services.kubelet.node.view import NodeView
from services.kubelet.pod.directory import PodDirectory
from services.kubelet.pod.events import PodEvents
from services.kubelet.pod.facts import PodFacts
from services.kubelet.pod.references import ReferenceReader
from services.kubelet.pod.status_writer import Turns
from services.kubelet.pod.swap import NodeSwap
from services.kubelet.runtime.plan import PodRef
from services.kubelet.runtime.port import Runtime
from services.kubelet.settings import KubeletSettings


@dataclass(frozen=True, slots=True)
class NodeContext:
    """Shared by the workers of one node. ``starts`` bounds how many sandboxes and containers start at once."""

    client: Client
    runtime: Runtime
    settings: KubeletSettings
    clock: Clock
    recorder: EventRecorder
    references: ReferenceReader
    images: Images
    starts: asyncio.Semaphore
    node: NodeView
    files: NodeFiles
    drivers: DriverMounts
    devices: DeviceClaims
    image_folders: ImageFolders
    groups: PodGroups
    cpus: CpuKeeper
    swap: NodeSwap
    providers: CredentialProviders
    turns: Turns = field(default_factory=Turns)


@dataclass(frozen=True, slots=True)
class PodContext:
    """Shared by all that works on one pod. ``shared`` is the node's."""

    shared: NodeContext
    ref: PodRef
    facts: PodFacts
    directory: PodDirectory
    events: PodEvents
