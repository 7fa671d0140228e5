"""Settings of the scheduler. Every time is in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from knarr.client.leader import LeaseSettings


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """How the scheduler behaves.

    ``scheduler_name``: only pods that ask for this one are placed.
    ``leader_election``: act only while holding the lease ``kube-system/knarr-scheduler``.
    ``identity``: the holder's name in that lease.
    ``lease``: timing of the election.
    ``backoff_first_seconds``, ``backoff_limit_seconds``: pause of a pod after its first and after many failed attempts.
    ``flush_seconds``: how long an unschedulable pod waits at most when nothing that may help it happens.
    ``concurrent_writes``: bindings and status writes under way at once.
    ``seed``: of the choice among equally good nodes; None differs from run to run.
    """

    scheduler_name: str = "default-scheduler"
    leader_election: bool = False
    identity: str = "scheduler"
    lease: LeaseSettings = field(default_factory=LeaseSettings)
    backoff_first_seconds: float = 1.0
    backoff_limit_seconds: float = 10.0
    flush_seconds: float = 300.0
    concurrent_writes: int = 64
    seed: int | None = None
