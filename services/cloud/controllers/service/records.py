"""What has become of each Service's wish: for the waits between tries, and for whoever asks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from knarr.api.cloud.v1 import cloud_service_pb2 as api
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.backoff import Backoff
from knarr.objects.keys import Key
from services.cloud.controllers.service.decide import Step, wants
from services.cloud.errors import ProviderError, Refused

# A rest of time too small for the clock to tell must not keep a worker spinning.
SHORTEST_WAIT_SECONDS = 0.01


@dataclass(slots=True)
class Record:
    """One Service. ``not_before`` is the loop's time of the next try to do the same: to remove, or to make by the same wishes."""

    last_error: str = ""
    failures: int = 0
    refused: bool = False
    not_before: float = 0.0
    failed_at: tuple[bool, bytes] | None = None
    # Unix time of the last success, 0 before.
    last_success_seconds: float = 0.0
    limitations: tuple[str, ...] = ()


@dataclass(slots=True)
class Records:
    """What is remembered of each Service, by its key."""

    backoff: Backoff
    found: dict[Key, Record] = field(default_factory=dict)

    def get(self, key: Key) -> Record:
        return self.found.setdefault(key, Record())

    def wait(self, key: Key, step: Step, wishes: bytes) -> float:
        """Seconds until the step may be tried; a change of the wishes need not wait."""
        record = self.found.get(key)
        if record is None or record.failed_at != (step is Step.DELETE, wishes):
            return 0.0
        left = record.not_before - asyncio.get_running_loop().time()
        return left if left >= SHORTEST_WAIT_SECONDS else 0.0

    def failed(self, key: Key, step: Step, wishes: bytes, error: ProviderError) -> float:
        """Seconds until the next try."""
        record = self.get(key)
        what = (step is Step.DELETE, wishes)
        record.failures = record.failures + 1 if record.failed_at == what else 1
        record.last_error, record.refused = str(error), isinstance(error, Refused)
        record.failed_at = what
        delay = max(self.backoff.delay(record.failures), error.retry_after_seconds)
        record.not_before = asyncio.get_running_loop().time() + delay
        return delay

    def succeeded(self, key: Key, now_seconds: float) -> None:
        limitations = self.get(key).limitations
        self.found[key] = Record(last_success_seconds=now_seconds, limitations=limitations)

    def settle(self, key: Key) -> None:
        """Nothing is to be done, so nothing failed."""
        record = self.found.get(key)
        if record is not None and record.last_error:
            self.found[key] = Record(last_success_seconds=record.last_success_seconds, limitations=record.limitations)

    def hurry(self, key: Key) -> None:
        """The next try need not wait."""
        record = self.found.get(key)
        if record is not None:
            record.not_before = 0.0

    def forget(self, key: Key) -> None:
        self.found.pop(key, None)

    def refused(self) -> list[Key]:
        """Those that wait for somebody to change something."""
        return [key for key, record in self.found.items() if record.refused]


def state_of(service: core.Service, record: Record) -> api.LoadBalancerState:
    """What has become of the wish of a Service that is ours."""
    if not wants(service):
        return api.LOAD_BALANCER_STATE_DELETING
    if record.last_error:
        return api.LOAD_BALANCER_STATE_FAILED
    return api.LOAD_BALANCER_STATE_IN_FORCE if service.status.load_balancer.ingress else api.LOAD_BALANCER_STATE_PENDING
