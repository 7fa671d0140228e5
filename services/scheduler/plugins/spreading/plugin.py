"""Pods of one ReplicaSet or one Service are spread: the node with fewer of them is the better one.

Pods of one controller carry the same labels, so they are counted by label set; a Service counts
the label sets that its selector chooses.
"""

from __future__ import annotations

from typing import ClassVar

from knarr.api.core.v1 import core_pb2 as core
from services.scheduler.nodes import Nodes, Rows
from services.scheduler.parts import Part, Subject
from services.scheduler.plugin import Plugin, Scores, normalized
from services.scheduler.pod_facts import Labels, PodFacts, facts_of


class Spreading(Plugin):
    name: ClassVar[str] = "PodSpreading"
    weight: ClassVar[int] = 2
    reads: ClassVar[frozenset[Part]] = (
        frozenset({Part(Subject.SERVICE, "spec.selector")})
        | facts_of(Subject.POD, "labels", "controlled")
        | facts_of(Subject.PLACED, "labels")
    )

    def score(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Scores | None:
        namespace = pod.key.namespace
        selectors = [frozenset(service.spec.selector.items()) for service in self.cluster.list(core.Service, namespace)]
        choosing = [selector for selector in selectors if selector and selector <= pod.labels]

        def is_related(labels: Labels) -> bool:
            return (pod.controlled and labels == pod.labels) or any(selector <= labels for selector in choosing)

        counts = nodes.pods_like(namespace, is_related)
        return normalized(counts[rows], reverse=True) if counts is not None else None
