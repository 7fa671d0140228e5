"""A StatefulSet's world without an API server: decisions are applied, and between them pods start and end as told."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_time
from knarr.objects.conditions import set_condition
from knarr.objects.keys import Key, is_deleting
from services.controller.controllers.statefulset.controller import BACKOFF, HASH_LABEL
from services.controller.controllers.statefulset.decide import Facts, Plan, decide
from services.controller.controllers.statefulset.identity import revision_of
from services.controller.controllers.statefulset.status import Version, Versions, is_available
from services.controller.workloads.failures import FailedPods
from services.controller.workloads.history import history, surplus, template_of
from tests.controller.objects import NAMESPACE, claim, template
from tests.controller.stepped import SteppedWorld, said_amount

OWNER = Key(NAMESPACE, "web")


def stateful_set(
    name: str = "web", replicas: int = 3, *, image: str = "v1", claims: tuple[str, ...] = (), history: int = 10
) -> apps.StatefulSet:
    """As the API server defaults it."""
    result = apps.StatefulSet()
    result.metadata.name, result.metadata.namespace = name, NAMESPACE
    spec = result.spec
    spec.replicas, spec.service_name, spec.revision_history_limit = replicas, name, history
    spec.selector.match_labels["app"] = name
    spec.template.CopyFrom(template(image, app=name))
    spec.pod_management_policy = "OrderedReady"
    spec.update_strategy.type = "RollingUpdate"
    spec.update_strategy.rolling_update.partition = 0
    retention = spec.persistent_volume_claim_retention_policy
    retention.when_deleted = retention.when_scaled = "Retain"
    for wanted in claims:
        spec.volume_claim_templates.append(claim(wanted))
        spec.volume_claim_templates[-1].metadata.ClearField("namespace")
    return result


def _fresh() -> apps.StatefulSet:
    made = stateful_set()
    made.metadata.uid, made.metadata.generation = "uid-web", 1
    return made


@dataclass
class World(SteppedWorld[apps.StatefulSet]):
    """``down`` are pods that do not become ready, ``strangers`` pods of others; ``lingers``: pods that were deleted do not go yet."""

    target: apps.StatefulSet = field(default_factory=_fresh)
    pods: dict[str, core.Pod] = field(default_factory=dict)
    claims: dict[str, core.PersistentVolumeClaim] = field(default_factory=dict)
    revisions: list[apps.ControllerRevision] = field(default_factory=list)
    down: set[str] = field(default_factory=set)
    strangers: set[str] = field(default_factory=set)
    failed: FailedPods = field(default_factory=lambda: FailedPods(BACKOFF))
    lingers: bool = False
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    made: int = 0
    most_steps = 80

    def change(self, name: str, value: str) -> None:
        spec = self.target.spec
        match name:
            case "image":
                spec.template.spec.containers[0].image = value
            case "replicas":
                spec.replicas = int(value)
            case "start":
                spec.ordinals.start = int(value)
            case "partition":
                spec.update_strategy.rolling_update.partition = int(value)
            case "unavailable":
                spec.update_strategy.rolling_update.max_unavailable.CopyFrom(said_amount(value))
            case "policy":
                spec.pod_management_policy = value
            case "strategy":
                spec.update_strategy.type = value
                spec.update_strategy.ClearField("rolling_update")
            case "minready":
                spec.min_ready_seconds = int(value)
            case "claims":
                spec.volume_claim_templates.extend(claim(found) for found in value.split(","))
            case "deleted":
                spec.persistent_volume_claim_retention_policy.when_deleted = value
            case "scaled":
                spec.persistent_volume_claim_retention_policy.when_scaled = value
            case "history":
                spec.revision_history_limit = int(value)
            case _:
                raise ValueError(name)

    def decided(self) -> Plan:
        """What is to be done now; the history is settled before."""
        decided = history(self.target, self.revisions, HASH_LABEL)
        update = decided.update
        if decided.is_new:
            self.revisions.append(update)
        elif decided.is_raised:
            self.revisions[[found.metadata.name for found in self.revisions].index(update.metadata.name)] = update
        named = {found.metadata.name: template_of(found) for found in self.revisions}
        current = named.get(self.target.status.current_revision)
        wanted = Version(update.metadata.name, self.target.spec.template)
        versions = Versions(Version(self.target.status.current_revision, current) if current is not None else wanted, wanted)
        return decide(
            self.target,
            Facts(
                list(self.pods.values()),
                versions,
                self.now,
                claims=self.claims.get,
                is_taken=self.strangers.__contains__,
                held=lambda ordinal: self.failed.held(OWNER, 1, str(ordinal), self.now.timestamp()),
            ),
        )

    def step(self) -> list[str]:
        plan = self.decided()
        told = [f"refuse {pod.metadata.name}: {reason}" for pod, reason in plan.refused]
        for changed in plan.claims:
            self.claims[changed.metadata.name] = changed
            told.append(f"claim {changed.metadata.name} is owned by {owners(changed)}")
        for item in plan.make:
            for new in item.claims:
                assert new.metadata.name not in self.claims
                self.claims[new.metadata.name] = new
                told.append(f"claim {new.metadata.name}" + (f" owned by {owners(new)}" if new.metadata.owner_references else ""))
            if not item.exists:
                told.append(self._create(item.pod))
        for better in plan.repair:
            self.pods[better.metadata.name] = better
            told.append(f"repair {better.metadata.name}")
        for ordinal in plan.failed:
            self.failed.note(OWNER, 1, str(ordinal), self.now.timestamp())
        for pod in plan.delete:
            self.delete(pod.metadata.name)
            told.append(f"delete {pod.metadata.name}")
        self.target.status.CopyFrom(plan.status)
        live = {plan.status.current_revision, plan.status.update_revision, *map(revision_of, self.pods.values())}
        for old in surplus(self.revisions, live, self.target.spec.revision_history_limit):
            self.revisions.remove(old)
            told.append(f"forget {self.image_of(old)}")
        return told

    def nature(self) -> None:
        """Deleted pods go, others become ready. A claim goes with its owner."""
        for name, pod in list(self.pods.items()):
            if is_deleting(pod):
                if not self.lingers:
                    del self.pods[name]
                    self._collect(pod.metadata.uid)
            elif pod.status.phase in ("Pending", "Running"):
                image = pod.spec.containers[0].image
                pod.status.phase = "Running"
                set_condition(pod.status, "Ready", name not in self.down and "broken" not in image, now=self.now)

    def turn(self) -> tuple[list[str], bool]:
        """What was done by a decision is one line; pods change after it."""
        before = apps.StatefulSetStatus()
        before.CopyFrom(self.target.status)
        done = self.step()
        self.nature()
        rests = all(word.startswith("refuse") for word in done) and self.target.status == before and not self._changing()
        return [", ".join(done)] if done else [], rests

    def delete(self, name: str) -> None:
        self.pods[name].metadata.deletion_timestamp.CopyFrom(to_time(self.now))

    def image_of(self, revision: apps.ControllerRevision) -> str:
        found = template_of(revision)
        return "" if found is None else str(found.spec.containers[0].image)

    def named(self, revision: str) -> str:
        """The image of a revision."""
        return next((self.image_of(found) for found in self.revisions if found.metadata.name == revision), revision)

    def is_up(self, pod: core.Pod) -> bool:
        return is_available(pod, self.target.spec.min_ready_seconds, self.now)

    def _changing(self) -> bool:
        return any(is_deleting(pod) for pod in self.pods.values()) and not self.lingers

    def _create(self, pod: core.Pod) -> str:
        name = pod.metadata.name
        assert name not in self.pods, f"{name} is there already"
        self.made += 1
        pod.metadata.uid = f"uid-{self.made}"
        pod.status.phase = "Pending"
        self.pods[name] = pod
        return f"create {name} {pod.spec.containers[0].image}"

    def _collect(self, owner: str) -> None:
        for name, found in list(self.claims.items()):
            if any(ref.uid == owner for ref in found.metadata.owner_references):
                del self.claims[name]

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def owners(obj: core.PersistentVolumeClaim) -> str:
    return " and ".join(ref.name for ref in obj.metadata.owner_references) or "nobody"
