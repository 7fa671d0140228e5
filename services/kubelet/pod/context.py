"""What all pods of a node share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.client.events import EventRecorder
from services.kubelet.node.files import NodeFiles
from services.kubelet.node.images import Images
from services.kubelet.node.view import NodeView
from services.kubelet.pod.references import ReferenceReader
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
