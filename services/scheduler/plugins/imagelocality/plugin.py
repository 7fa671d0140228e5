"""A node that has the pod's images already is the better one, the more so the larger they are and the more nodes have them.

How many nodes have an image counts, so that not all pods go where the first one was.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from knarr.api.core.v1 import core_pb2 as core
from services.scheduler.nodes import Nodes, Rows, of_rows
from services.scheduler.parts import Part, Subject
from services.scheduler.plugin import MAX_SCORE, Cluster, Plugin, Scores
from services.scheduler.pod_facts import LARGEST_AMOUNT, PodFacts
from services.scheduler.row_cache import RowCache

MIB = 1024 * 1024
# Less makes no difference; more than this for each image that the pod names makes none either.
LEAST_BYTES, MOST_BYTES = 23 * MIB, 1000 * MIB
# Where a pod names images: its containers', and those that are laid into them as volumes.
PLACES = ("spec.containers", "spec.initContainers", "spec.volumes")
IMAGES = Part(Subject.NODE, "status.images")


class ImageLocality(Plugin):
    name: ClassVar[str] = "ImageLocality"
    reads: ClassVar[frozenset[Part]] = frozenset({IMAGES, *(Part(Subject.POD, path) for path in PLACES)})

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._sizes = RowCache(self.reads, _size_on, np.int64)

    def score(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Scores | None:
        images = list(_images(pod))
        there = [sizes for image in images if (sizes := self._sizes.some(nodes, image, image)) is not None]
        if not there:
            return None
        total = np.zeros(len(rows), np.int64)
        for sizes in there:
            total += (of_rows(sizes, rows) * (np.count_nonzero(sizes) / len(nodes))).astype(np.int64)
        if not total.any():
            return None
        most = MOST_BYTES * len(images)
        return (np.clip(total, LEAST_BYTES, most) - LEAST_BYTES) * MAX_SCORE // (most - LEAST_BYTES)


def _images(pod: PodFacts) -> Iterator[str]:
    spec = pod.pod.spec
    for containers in (spec.init_containers, spec.containers):
        for container in containers:
            yield _tagged(container.image)
    for volume in spec.volumes:
        if volume.volume_source.HasField("image"):
            yield _tagged(volume.volume_source.image.reference)


def _tagged(image: str) -> str:
    return image if image.rfind(":") > image.rfind("/") else f"{image}:latest"


def _size_on(image: str, node: core.Node) -> int:
    size = next((found.size_bytes for found in node.status.images if image in found.names), 0)
    return min(max(size, 0), LARGEST_AMOUNT)
