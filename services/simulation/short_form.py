"""Workloads in a few words: so many pods that ask for so much, for ever (a Deployment) or for a time (a Job). Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import Message

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core

# By which pods are told apart in the report, whatever made them.
WORKLOAD = "knarr.dev/workload"
CONTAINER, IMAGE = "main", "app:1"


@dataclass(frozen=True, slots=True)
class Short:
    """``seconds``: how long a pod runs; None: until it is stopped."""

    name: str
    namespace: str = "default"
    replicas: int = 1
    requests: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[core.Toleration, ...] = ()
    priority_class: str = ""

    def made(self, name: str) -> Message:
        """The object, under this name."""
        return self._deployment(name) if self.seconds is None else self._job(name)

    def _deployment(self, name: str) -> apps.Deployment:
        found = apps.Deployment()
        found.metadata.name, found.metadata.namespace = name, self.namespace
        found.spec.replicas = self.replicas
        found.spec.selector.match_labels["app"] = name
        found.spec.template.metadata.labels.update({"app": name, WORKLOAD: self.name})
        self._fill(found.spec.template.spec)
        return found

    def _job(self, name: str) -> batch.Job:
        found = batch.Job()
        found.metadata.name, found.metadata.namespace = name, self.namespace
        found.spec.parallelism = found.spec.completions = self.replicas
        found.spec.template.metadata.labels[WORKLOAD] = self.name
        spec = found.spec.template.spec
        self._fill(spec)
        spec.restart_policy = "Never"
        spec.containers[0].command.extend(["sleep", f"{self.seconds:g}"])
        return found

    def _fill(self, spec: core.PodSpec) -> None:
        container = spec.containers.add(name=CONTAINER, image=IMAGE)
        for resource, amount in self.requests.items():
            container.resources.requests[resource].string = amount
        spec.node_selector.update(self.node_selector)
        spec.tolerations.extend(self.tolerations)
        spec.priority_class_name = self.priority_class


@dataclass(frozen=True, slots=True)
class Arrivals:
    """``count`` of a workload, one each ``every`` seconds; ``by_chance``: so often in the mean, at times that nobody can tell."""

    every: float
    count: int
    by_chance: bool = False

    def times(self, begin: float, seed: str) -> Iterator[float]:
        source, at = random.Random(seed), begin
        for _ in range(self.count):
            yield at
            at += source.expovariate(1 / self.every) if self.by_chance else self.every
