"""Those who decide, by the names that `--authorization-mode` has for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from services.apiserver.authorization import ALLOWED, Mode, Verdict
from services.apiserver.authorizers.node.authorizer import NodeAuthorizer
from services.apiserver.authorizers.node.pods import PodsByNode
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.rbac.authorizer import RoleAuthorizer
from services.apiserver.rbac.grants import Grants
from services.apiserver.request import Request
from services.apiserver.settings import AUTHORIZATION_MODES
from services.apiserver.strategies import strategy_for


@dataclass(frozen=True, slots=True)
class Parts:
    """What they decide by."""

    cache: WatchCache
    grants: Grants


class Always:
    """Says the same to everybody."""

    def __init__(self, name: str, verdict: Verdict) -> None:
        self.name, self._verdict = name, verdict

    def decide(self, request: Request) -> Verdict:
        return self._verdict


def _node(parts: Parts) -> Mode:
    return NodeAuthorizer(parts.cache, PodsByNode(parts.cache, strategy_for(version_of(core.Pod))))


MODES: Mapping[str, Callable[[Parts], Mode]] = {
    "Node": _node,
    "RBAC": lambda parts: RoleAuthorizer(parts.grants),
    "AlwaysAllow": lambda parts: Always("AlwaysAllow", ALLOWED),
    "AlwaysDeny": lambda parts: Always("AlwaysDeny", Verdict(reason="Everything is forbidden.")),
}


def modes(parts: Parts, names: Sequence[str] = AUTHORIZATION_MODES) -> list[Mode]:
    return [MODES[name](parts) for name in names]
