"""The parts of one API server that every path of a request may use."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.apiserver.admission.chain import Chain
from services.apiserver.allocators.allocator import Allocators
from services.apiserver.authorization import ALLOW_AUTHENTICATED, Authorizer
from services.apiserver.backend import Backend
from services.apiserver.node_streams import NodeStreams, NoNodeStreams
from services.apiserver.strategies import Strategies, strategy_for


@dataclass(frozen=True, slots=True)
class Pipeline:
    """``backend`` is the store, its cache, the clock and the waits; ``strategies`` are the rules of the kinds."""

    backend: Backend
    admission: Chain
    allocators: Allocators = field(default_factory=Allocators)
    authorizer: Authorizer = ALLOW_AUTHENTICATED
    strategies: Strategies = strategy_for
    node_streams: NodeStreams = field(default_factory=NoNodeStreams)
