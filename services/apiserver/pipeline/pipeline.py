"""The parts of one API server that every path of a request may use."""

from __future__ import annotations

from dataclasses import dataclass, field

from knarr.service.authentication import User, unauthorized
from services.apiserver.admission.chain import Chain
from services.apiserver.allocators.allocator import Allocators
from services.apiserver.audit.auditor import Auditor
from services.apiserver.authorization import ALLOW_AUTHENTICATED, Authorizer
from services.apiserver.backend import Backend
from services.apiserver.conversion.conversions import Conversions
from services.apiserver.elsewhere import Elsewhere
from services.apiserver.fairness.fairness import Fairness
from services.apiserver.identity.callers import Callers
from services.apiserver.node_stats import NodeStats, NoNodeStats
from services.apiserver.node_streams import CredentialsOf, NodeStreams, NoNodeStreams
from services.apiserver.strategies import Strategies, strategy_for
from services.apiserver.turns import Turns


def nobody(authorization: str) -> User:
    """Of a server that knows no tokens."""
    raise unauthorized()


def _none(node: str) -> None:
    """Of a server that shows kubelets nothing."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """``backend`` is the store, its cache, the clock and the waits; ``strategies`` are the rules of the kinds."""

    backend: Backend
    admission: Chain
    allocators: Allocators = field(default_factory=Allocators)
    authorizer: Authorizer = ALLOW_AUTHENTICATED
    strategies: Strategies = strategy_for
    # Whose a token is, and what signs new ones.
    callers: Callers = field(default_factory=lambda: Callers(nobody))
    node_streams: NodeStreams = field(default_factory=NoNodeStreams)
    # What webhooks make of objects in other versions.
    conversions: Conversions = field(default_factory=Conversions)
    turns: Turns = field(default_factory=Turns)
    node_stats: NodeStats = field(default_factory=NoNodeStats)
    # By which requests are passed on to the kubelet of a node.
    kubelet_credentials: CredentialsOf = _none
    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    # What keeps the audit log, where one is kept.
    auditor: Auditor | None = None
    # Who says whose request is next, where somebody does.
    fairness: Fairness | None = None
