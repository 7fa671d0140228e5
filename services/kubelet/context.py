"""What all pods of a node share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.client.events import EventRecorder
from services.kubelet.downward import Node
from services.kubelet.images import Images
from services.kubelet.node_files import NodeFiles
from services.kubelet.references import ReferenceReader
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
    node: Callable[[], Node]
    files: NodeFiles
