"""Settings of the scheduler. Every time is in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from knarr.client.leader import Election
from services.scheduler.extender import Extender
from services.scheduler.profile import ProfileSettings


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """How the scheduler behaves.

    ``profiles``: by which plugins pods are placed that ask for which scheduler name; those that ask for another one are left alone.
    ``election``: whether it acts only while holding the lease ``kube-system/knarr-scheduler``.
    ``extenders``: web services that are asked about nodes, or bind pods.
    ``backoff_first_seconds``, ``backoff_limit_seconds``: pause of a pod after its first and after many failed attempts.
    ``flush_seconds``: how long an unschedulable pod waits at most when nothing that may help it happens.
    ``concurrent_writes``: bindings and status writes under way at once.
    ``seed``: of the choice among equally good nodes; None differs from run to run.
    """

    profiles: tuple[ProfileSettings, ...] = (ProfileSettings(),)
    election: Election = field(default_factory=lambda: Election("scheduler"))
    extenders: tuple[Extender, ...] = ()
    backoff_first_seconds: float = 1.0
    backoff_limit_seconds: float = 10.0
    flush_seconds: float = 300.0
    concurrent_writes: int = 64
    seed: int | None = None
