"""What the kubelet remembers of a pod beside its spec and what the engine shows.

The worker writes these facts, the pure heart reads them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.backoff import Backoff
from services.kubelet.cgroups.values import GroupLimits
from services.kubelet.cpus.view import ALL_SHARED, PodCpus
from services.kubelet.pod.swap import NodeSwap

# Resources by the names of containers.
Grant = dict[str, core.ResourceRequirements]

# Between two starts of a container that keeps ending, and two pulls of an image that cannot be had.
AGAIN = Backoff(first_seconds=10.0, limit_seconds=300.0)
BACKOFF_RESET = timedelta(minutes=10)

# Why a pod failed that the node ended to protect itself.
EVICTED, PREEMPTED = "Evicted", "Preempting"
# How a container ended that had no memory left.
OOM_KILLED = "OOMKilled"
# How long a failure is shown under its own name before the status speaks of the back-off.
FAILURE_SHOWN = timedelta(seconds=1.5)


@dataclass(frozen=True, slots=True)
class Failing:
    """A thing that failed so many ``times`` in a row, the last of them at ``updated_at``."""

    times: int
    updated_at: datetime

    @property
    def delay(self) -> timedelta:
        """How long it waits after its last failure."""
        return timedelta(seconds=AGAIN.delay(self.times))

    def expired(self, event_at: datetime) -> bool:
        return event_at - self.updated_at > BACKOFF_RESET


def wait_until(backoff: Failing | None, failed_at: datetime, now: datetime) -> datetime | None:
    """When a thing that failed at ``failed_at`` may be tried again; None means now. What is to fail later than it would have to wait did so
    by a clock that was set back since."""
    if backoff is None or backoff.expired(failed_at) or now >= failed_at + backoff.delay or failed_at > now + backoff.delay:
        return None
    return failed_at + backoff.delay


def next_backoff(backoff: Failing | None, failed_at: datetime, now: datetime) -> Failing:
    """The back-off after one more try: 10 s, doubled up to 5 min, forgotten after 10 min of peace."""
    if backoff is None or backoff.expired(failed_at):
        return Failing(1, now)
    return Failing(backoff.times + 1, now)


@dataclass(frozen=True, slots=True)
class StartFailure:
    """Why a container could not be started: the waiting reason and message of its status.

    ``backoff_reason`` takes the reason's place while waiting for ``retry_at``.
    """

    reason: str
    message: str
    failed_at: datetime
    retry_at: datetime
    backoff_reason: str = ""
    backoff_message: str = ""

    def waits(self, now: datetime) -> bool:
        """Whether it is not tried again yet. A clock that was set back since holds nothing up."""
        return self.failed_at <= now < self.retry_at


@dataclass(slots=True)
class ContainerFacts:
    """Of one container id: probes and hooks. None: no answer yet."""

    # By its startup probe, which then is asked no more.
    started: bool | None = None
    ready: bool | None = None
    # Why it must be killed: the words of the Killing event, which adds whether it will be restarted.
    unhealthy: str = ""
    # Why its postStart hook failed.
    hook_failure: str = ""
    # How long it may take to end then, seconds, where the probe that failed says so.
    grace_seconds: float | None = None
    # It was killed for a successor to start: what it exits with says nothing of its work.
    again: bool = False
    # Set with ``started``, for the probes that wait for it.
    has_started: asyncio.Event = field(default_factory=asyncio.Event, compare=False)
    post_start_done: bool = False
    # Its end was told and its preStop hook has run, or was begun ahead of its turn to end: neither comes again when a stop is tried again.
    pre_stop_begun: bool = False
    termination_message: str | None = None
    # It was killed because its pod as a whole had no memory left, whatever its engine tells.
    oom_killed: bool = False

    def start(self) -> None:
        """Its startup probe has succeeded."""
        self.started = True
        self.has_started.set()


@dataclass(slots=True)
class PodFacts:
    """Of one pod."""

    # When the kubelet first saw it.
    seen_at: datetime
    # Its API object is gone; only the engine has something of it.
    gone: bool = False
    volumes_ready: bool = False
    # Drivers have brought volumes to it, or may have.
    driven: bool = False
    # The node's folders that its volumes are, by their paths.
    folders: frozenset[str] = frozenset()
    # Which image each of its volumes that are one shows, by the volumes' names.
    images: dict[str, str] = field(default_factory=dict)
    # Something that volumes show has changed since they were written.
    volumes_stale: bool = False
    # The pod has ended, and its volumes are gone.
    released: bool = False
    # The pod's directory was removed: nothing of it is left on the node.
    cleaned: bool = False
    # The pod was refused or ended by the kubelet itself: reason and message of the Failed phase.
    verdict: tuple[str, str] | None = None
    # The node never took it: it has a verdict, and no container was ever made.
    refused: bool = False
    # The node ended it to protect itself, and tells so as a disruption.
    disrupted: bool = False
    # What is told of that, where it is not the verdict's message.
    disruption: str = ""
    # What is left of it when it has ended is given up: its dead containers, its volumes.
    let_go: bool = False
    # When the pod began to end.
    stopping_since: datetime | None = None
    # Seconds a stop may take when it is not the API object that says so.
    grace_seconds: float | None = None
    crash: dict[str, Failing] = field(default_factory=dict)
    pulls: dict[str, Failing] = field(default_factory=dict)
    failures: dict[str, StartFailure] = field(default_factory=dict)
    containers: dict[str, ContainerFacts] = field(default_factory=dict)
    # What the node has granted its containers, and why not what they ask for by now: reason and message.
    granted: Grant = field(default_factory=dict)
    pending: tuple[str, str] | None = None
    # A container has yet to get what it was granted; and what came of the last try, where it failed.
    resizing: bool = False
    resize_failures: dict[str, StartFailure] = field(default_factory=dict)
    # What its control group is held to; None where it has none, or that is not known yet. And whether pods have groups here.
    held: GroupLimits | None = None
    grouped: bool = False
    # The processors that its containers run on, and why some could not be told theirs, by their names.
    cpus: PodCpus = ALL_SHARED
    pin_failures: dict[str, StartFailure] = field(default_factory=dict)
    # What containers may use of the node's swap.
    swap: NodeSwap = field(default_factory=NodeSwap)
    # What is being done now: "sandbox", "volumes", "cleanup" or a container's name.
    busy: set[str] = field(default_factory=set)

    def of(self, container_id: str) -> ContainerFacts:
        """The facts of a container, made when first asked for."""
        return self.containers.setdefault(container_id, ContainerFacts())

    def recall(self, status: core.PodStatus) -> None:
        """Takes over what the kubelet before this one told of the pod."""
        self.let_go = status.phase == "Failed" and status.reason in (EVICTED, PREEMPTED)
        for told in (*status.init_container_statuses, *status.container_statuses):
            for mount in told.volume_mounts:
                if mount.volume_status.image.image_ref:
                    self.images[mount.name] = mount.volume_status.image.image_ref
            for ended in (told.state.terminated, told.last_state.terminated):
                if ended.reason == OOM_KILLED and ended.container_id:
                    self.of(ended.container_id.partition("://")[2]).oom_killed = True
        self.recall_answers(status)

    def recall_answers(self, status: core.PodStatus) -> None:
        """Takes over how its containers were when a kubelet told of them last, where nothing is known of that yet: one that has started has
        had its postStart hook, and one that was ready is so until its probe says otherwise."""
        for told in (*status.init_container_statuses, *status.container_statuses):
            if not told.started or not told.container_id:
                continue
            known = self.of(told.container_id.partition("://")[2])
            known.post_start_done = True
            if known.started is None:
                known.start()
            if known.ready is None and told.ready:
                known.ready = True
