"""In which order the pods of a machine that shuts down are ended, and whether it does. Kubernetes' graceful node shutdown.

Kubernetes holds the machine back by a lock of systemd-logind. This kubelet is a unit that systemd stops before the container engine's, and
asks at its own end whether the whole machine stops; see docs/decisions/node-shutdown.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.settings import ShutdownPeriod

log = logging.getLogger(__name__)

# In the words of Kubernetes' kubelet.
TERMINATED, TERMINATED_MESSAGE = "Terminated", "Pod was terminated in response to imminent node shutdown."
REFUSED, REFUSED_MESSAGE = "NodeShutdown", "Pod was rejected as the node is shutting down."
NOT_READY = "node is shutting down"
# What systemd says of itself while the machine stops, and how long it may take to say it.
STOPPING, ASK_SECONDS = b"stopping", 2.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Pods that are ended together, in so many seconds."""

    seconds: float
    pods: tuple[core.Pod, ...]


def stages(pods: Iterable[core.Pod], periods: Sequence[ShutdownPeriod]) -> list[Stage]:
    """Least important first. A pod belongs to the period with the highest priority that is not above its own, or to the first. Pure."""
    ordered = sorted(periods, key=lambda period: period.priority)
    groups: list[list[core.Pod]] = [[] for _ in ordered]
    for pod in pods:
        reached = sum(period.priority <= pod.spec.priority for period in ordered)
        groups[max(reached - 1, 0)].append(pod)
    return [Stage(period.seconds, tuple(group)) for period, group in zip(ordered, groups, strict=True) if group]


def grace_seconds(pod: core.Pod, stage: Stage) -> float:
    """How long the pod's containers get: what it asks for, within the stage."""
    asked = float(pod.spec.termination_grace_period_seconds) if pod.spec.HasField("termination_grace_period_seconds") else stage.seconds
    return min(asked, stage.seconds)


async def machine_stops() -> bool:
    """Whether systemd is stopping the machine; False where there is none."""
    try:
        asking = await asyncio.create_subprocess_exec(
            "systemctl", "is-system-running", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError:
        return False
    try:
        async with asyncio.timeout(ASK_SECONDS):
            said, _ = await asking.communicate()
    except TimeoutError:
        log.warning("systemd does not say whether the machine stops")
        with suppress(ProcessLookupError):
            asking.kill()
        return False
    return said.strip() == STOPPING
