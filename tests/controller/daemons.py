"""A DaemonSet's world without an API server: decisions are applied, pods become ready or fail when told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_time
from knarr.objects.conditions import set_condition
from knarr.objects.keys import Key, is_deleting
from knarr.objects.node_selection import node_named_by
from knarr.objects.pods import is_ready
from services.controller.controllers.daemonset.decide import Facts, Plan, decide
from services.controller.controllers.daemonset.placement import new_pod
from services.controller.workloads.failures import FailedPods
from services.controller.workloads.history import POD_REVISION
from tests.controller.objects import daemon_set, node
from tests.controller.stepped import SteppedWorld, said_amount

KEY = Key("default", "web")


@dataclass
class World(SteppedWorld[apps.DaemonSet]):
    """A revision's hash is its image. Pods that are deleted go at once unless they ``linger``."""

    target: apps.DaemonSet = field(default_factory=daemon_set)
    nodes: dict[str, core.Node] = field(default_factory=dict)
    pods: list[core.Pod] = field(default_factory=list)
    failed: FailedPods = field(default_factory=FailedPods)
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    linger: bool = False
    made: int = 0
    most_steps = 60

    def change(self, name: str, value: str) -> None:
        """``ready`` is minReadySeconds, ``zone`` that of the selector."""
        spec = self.target.spec
        rolling = spec.update_strategy.rolling_update
        match name:
            case "image":
                spec.template.spec.containers[0].image = value
            case "surge" | "unavailable":
                getattr(rolling, f"max_{name}").CopyFrom(said_amount(value))
            case "strategy":
                spec.update_strategy.type = value
            case "ready":
                spec.min_ready_seconds = int(value)
            case "zone":
                spec.template.spec.node_selector["zone"] = value
            case _:
                raise ValueError(name)

    @property
    def image(self) -> str:
        return str(self.target.spec.template.spec.containers[0].image)

    def add_node(self, name: str, zone: str = "") -> None:
        made = self.nodes[name] = node(name)
        if zone:
            made.metadata.labels["zone"] = zone

    def on(self, *names: str) -> list[core.Pod]:
        """The pods on these nodes, or on all, that are not being deleted."""
        return [pod for pod in self.pods if (not names or pod.spec.node_name in names) and not is_deleting(pod)]

    def mark(self, pods: Iterable[core.Pod], ready: bool) -> None:
        for pod in pods:
            pod.status.phase = "Running"
            set_condition(pod.status, "Ready", ready, now=self.now)

    def plan(self) -> Plan:
        seconds, generation = self.now.timestamp(), self.target.metadata.generation
        held = lambda name: self.failed.held(KEY, generation, name, seconds)  # noqa: E731
        return decide(self.target, Facts(self.nodes.values(), self.pods, {self.image}, self.now, held))

    def step(self) -> list[str]:
        plan = self.plan()
        told = [self._create(name) for name in plan.create]
        for name, pod in plan.ended:
            if pod.status.phase == "Failed":
                self.failed.note(KEY, self.target.metadata.generation, name, self.now.timestamp())
        told += [self._delete(pod) for pod in plan.delete]
        self.target.status.CopyFrom(plan.status)
        return told

    def turn(self) -> tuple[list[str], bool]:
        done = self.step()
        return done, not done

    def _create(self, name: str) -> str:
        made = new_pod(self.target, name, self.image)
        self.made += 1
        self.now += timedelta(milliseconds=1)
        made.metadata.name, made.metadata.uid = f"web-{self.made}", f"uid-{self.made}"
        made.metadata.creation_timestamp.CopyFrom(to_time(self.now))
        assert node_named_by(made.spec) == name
        made.spec.node_name, made.status.phase = name, "Running"
        self.pods.append(made)
        return f"create {self.image} on {name}"

    def _delete(self, pod: core.Pod) -> str:
        if self.linger:
            pod.metadata.deletion_timestamp.CopyFrom(to_time(self.now))
        else:
            self.pods.remove(pod)
        return f"delete {told(pod)} on {pod.spec.node_name or node_named_by(pod.spec)}"


def told(pod: core.Pod) -> str:
    """A pod in words: its image and how it is."""
    state = pod.status.phase if pod.status.phase != "Running" else "ready" if is_ready(pod) else "not ready"
    return f"{pod.metadata.labels[POD_REVISION] or '?'} {state}{' leaving' if is_deleting(pod) else ''}"
