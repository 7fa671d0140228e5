"""A Deployment's world without an API server: decisions are applied, pods become ready when told."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.machinery.times import to_time
from services.controller.controllers.deployment.decide import Action, CreateReplicaSet, DeleteReplicaSet, UpdateReplicaSet, decide
from services.controller.controllers.deployment.limits import limits
from services.controller.controllers.deployment.revision import REVISION
from tests.controller.objects import deployment
from tests.controller.stepped import SteppedWorld, said_amount


@dataclass
class World(SteppedWorld[apps.Deployment]):
    """``pods`` has one ready flag for each pod of a ReplicaSet, by its name."""

    target: apps.Deployment = field(default_factory=lambda: _fresh())
    sets: dict[str, apps.ReplicaSet] = field(default_factory=dict)
    pods: dict[str, list[bool]] = field(default_factory=dict)
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    old_pods_linger: bool = False
    most_steps = 30

    def change(self, name: str, value: str) -> None:
        spec = self.target.spec
        match name:
            case "image":
                spec.template.spec.containers[0].image = value
            case "surge":
                spec.strategy.rolling_update.max_surge.CopyFrom(said_amount(value))
            case "unavailable":
                spec.strategy.rolling_update.max_unavailable.CopyFrom(said_amount(value))
            case "strategy":
                spec.strategy.type = value
                spec.strategy.ClearField("rolling_update")
            case "paused":
                spec.paused = value == "true"
            case "replicas":
                spec.replicas = int(value)
            case "deadline":
                spec.progress_deadline_seconds = int(value)
            case "history":
                spec.revision_history_limit = int(value)
            case _:
                raise ValueError(name)

    def image_of(self, replica_set: apps.ReplicaSet) -> str:
        return str(replica_set.spec.template.spec.containers[0].image)

    def named(self, image: str) -> apps.ReplicaSet:
        return next(rs for rs in self.sets.values() if self.image_of(rs) == image)

    def make_ready(self, image: str, count: int) -> None:
        pods = self.pods[self.named(image).metadata.name]
        pods[:] = [number < count for number in range(len(pods))]

    def observe(self, *names: str) -> None:
        """The ReplicaSet controller reports; without names, on all of them."""
        for name, replica_set in self.sets.items():
            if not names or name in names:
                pods = self.pods[name]
                status = replica_set.status
                status.replicas, status.observed_generation = len(pods), replica_set.metadata.generation
                status.ready_replicas = status.available_replicas = sum(pods)

    def step(self) -> list[str]:
        plan = decide(self.target, list(self.sets.values()), old_pods_run=self._old_pods_run(), now=self.now)
        told = [self._apply(action) for action in plan.actions]
        if plan.revision is not None:
            self.target.metadata.annotations[REVISION] = plan.revision
            told.append(f"revision {plan.revision}")
        self.target.status.CopyFrom(plan.status)
        return told

    def turn(self) -> tuple[list[str], bool]:
        """The ReplicaSets report after each step."""
        before = apps.DeploymentStatus()
        before.CopyFrom(self.target.status)
        done = self.step()
        self.observe()
        return done, not done and self.target.status == before

    @property
    def total(self) -> int:
        return sum(len(pods) for pods in self.pods.values())

    @property
    def available(self) -> int:
        return sum(sum(pods) for pods in self.pods.values())

    @property
    def reported(self) -> int:
        """Available pods as far as the ReplicaSets have told since their size last changed."""
        told = (rs for rs in self.sets.values() if rs.status.observed_generation == rs.metadata.generation)
        return sum(min(rs.status.available_replicas, len(self.pods[rs.metadata.name])) for rs in told)

    def _old_pods_run(self) -> bool:
        wanted = self.target.spec.template.spec.containers[0].image
        return self.old_pods_linger or any(self.pods[name] for name, rs in self.sets.items() if self.image_of(rs) != wanted)

    def _apply(self, action: Action) -> str:
        replica_set = action.replica_set
        name, image = replica_set.metadata.name, self.image_of(replica_set)
        size = replica_set.spec.replicas
        revision = replica_set.metadata.annotations[REVISION]
        match action:
            case CreateReplicaSet():
                replica_set.metadata.uid = f"uid-{name}"
                self.now += timedelta(seconds=1)
                replica_set.metadata.creation_timestamp.CopyFrom(to_time(self.now))
                replica_set.metadata.generation = 1
                self.sets[name], self.pods[name] = replica_set, [False] * size
                return f"create {image} with {size} as revision {revision}"
            case UpdateReplicaSet(before=before):
                replica_set.metadata.generation += 1
                self.sets[name] = replica_set
                self._resize(self.pods[name], size)
                return f"scale {image} from {before} to {size}" if before != size else f"update {image}, revision {revision}"
            case DeleteReplicaSet():
                assert not self.pods[name]
                del self.sets[name], self.pods[name]
                return f"delete {image}, revision {revision}"

    def _resize(self, pods: list[bool], size: int) -> None:
        """The ReplicaSet controller removes pods that are not ready first."""
        pods.sort(reverse=True)
        del pods[size:]
        pods.extend([False] * (size - len(pods)))


def check_step(world: World, reported: int) -> None:
    """What no step may do: more pods than the surge allows, or fewer available ones by its own hand.

    ``reported`` were known to be available before the step; nobody can spare what nobody told.
    """
    spec = world.target.spec
    bound = limits(spec)
    assert world.total <= spec.replicas + bound.surge, f"{world.total} pods"
    assert world.available >= min(reported, spec.replicas - bound.unavailable), f"{world.available} available"


def random_amount(rng: random.Random) -> str:
    return rng.choice(["0", "1", "2", "5", "25%", "50%", "100%"])


def _fresh() -> apps.Deployment:
    target = deployment()
    target.metadata.uid = "uid-web"
    return target
