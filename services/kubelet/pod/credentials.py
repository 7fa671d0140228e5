"""A key and a certificate of a pod, from the first request for it on: what is known of it, and what is to be done. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.times import to_datetime
from knarr.objects import pem

# After so long a request of which nothing is heard is taken for gone.
ABANDONED = timedelta(minutes=10)
# So long after it should have been renewed somebody is told.
OVERDUE = timedelta(minutes=10)
FINAL = ("Issued", "Denied", "Failed")
# A Warning on the pod: reason and message.
Event = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Credential:
    """A private key and the certificates that were issued for it, the pod's own first; both in PEM."""

    key: str
    chain: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was made, and the key that it is for."""

    name: str
    key: str
    abandon_at: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """A credential that was issued; times by whoever issued it. ``told`` are the events that were told of it."""

    credential: Credential
    refresh_at: datetime
    ends_at: datetime
    told: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class State:
    """Of one source of one volume. ``refused``: nothing is asked for any more, and why."""

    held: Held | None = None
    asked: Asked | None = None
    refused: str = ""

    def is_due(self, now: datetime) -> bool:
        """Whether a request is to be made."""
        return not self.refused and self.asked is None and (self.held is None or now >= self.held.refresh_at)

    def next_at(self) -> datetime | None:
        """When there is something to be done or told, if nothing is heard before; None: never."""
        if self.refused:
            return None
        times = [self.asked.abandon_at] if self.asked is not None else []
        if self.held is not None:
            times += [self.held.refresh_at] if self.asked is None else []
            times += [at for reason, _, at in _alarms(self.held) if reason not in self.held.told]
        return min(times, default=None)


def begun(state: State, name: str, key: str, now: datetime, jitter: timedelta) -> State:
    """A request was made."""
    return replace(state, asked=Asked(name, key, now + ABANDONED + jitter))


def given_up(state: State) -> State:
    """The request is gone without an answer."""
    return replace(state, asked=None)


def answered(state: State, request: certificates.PodCertificateRequest, jitter: timedelta) -> tuple[State, Event | None]:
    """What a request says by now; the same state where it is another one, or says nothing yet."""
    asked, kind = state.asked, _answer(request)
    if asked is None or request.metadata.name != asked.name or kind is None:
        return state, None
    if kind.type == "Issued":
        refresh, ends = (to_datetime(time) for time in (request.status.begin_refresh_at, request.status.not_after))
        chain = "".join(pem.encoded(pem.CERTIFICATE, block.data) for block in pem.blocks(request.status.certificate_chain))
        return State(Held(Credential(asked.key, chain), refresh + jitter, ends)), None
    word = {"Denied": "denied", "Failed": "failed"}[kind.type]
    refused = f'PodCertificateRequest was permanently {word}: reason="{kind.reason}" message="{kind.message}"'
    happened = f"{'was ' if word == 'denied' else ''}{word}"
    name = f"{request.metadata.namespace}/{request.metadata.name}"
    message = f'PodCertificateRequest {name} {happened}, reason="{kind.reason}", message="{kind.message}"'
    return replace(state, asked=None, refused=refused), (kind.type, message)


def alarmed(state: State, now: datetime) -> tuple[State, list[Event]]:
    """What somebody should hear of a credential that gets old, once each."""
    held = state.held
    if held is None or state.refused:
        return state, []
    due = [(reason, message) for reason, message, at in _alarms(held) if now >= at and reason not in held.told]
    return replace(state, held=replace(held, told=held.told | {reason for reason, _ in due})), due


def _alarms(held: Held) -> list[tuple[str, str, datetime]]:
    return [
        ("CertificateOverdueForRefresh", "PodCertificate refresh overdue", held.refresh_at + OVERDUE),
        ("CertificateExpired", "PodCertificate expired", held.ends_at),
    ]


def _answer(request: certificates.PodCertificateRequest) -> meta.Condition | None:
    """The condition that ends a request."""
    found = (condition for condition in request.status.conditions if condition.type in FINAL and condition.status == "True")
    return next(found, None)
