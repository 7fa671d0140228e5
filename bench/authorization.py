"""What it costs to decide whether somebody may do something: an administrator by a binding of his own, and one of a thousand users."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from bench.result import Result
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.rbac.v1 import rbac_pb2 as rbac
from knarr.machinery.catalog import version_of
from knarr.service.authentication import AUTHENTICATED, User
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rbac.defaults import GROUP, defaults
from services.apiserver.request import GET, Request
from services.apiserver.results import Ref

BINDINGS = 1000
ASKED, ROUNDS = 20_000, 5
TARGETS = {"rbac-decision": 20.0, "rbac-decision-1000": 60.0}


def _bound(kind: Any, role: str, user: str) -> Any:
    binding = kind()
    binding.metadata.name = f"{user}-{role}"
    binding.role_ref.CopyFrom(rbac.RoleRef(api_group=GROUP, kind="ClusterRole", name=role))
    binding.subjects.add(kind="User", api_group=GROUP, name=user)
    return binding


async def rbac_decision() -> list[Result]:
    """Microseconds, the best of some rounds: the authorizer alone, as it is asked for each request."""
    found: list[Result] = []
    for name, bindings, user, role in (("rbac-decision", 0, "root", "cluster-admin"), ("rbac-decision-1000", BINDINGS, "user-500", "view")):
        api = ApiInMemory()
        api.seed(*defaults(), _bound(rbac.ClusterRoleBinding, "cluster-admin", "root"))
        for number in range(bindings):
            binding = _bound(rbac.RoleBinding, role, f"user-{number}")
            binding.metadata.namespace = "default"
            api.seed(binding)
        async with api:
            authorizer = api.server.api.pipeline.authorizer
            ref = Ref(version_of(core.Pod), "default", "web")
            request = Request(User(user, groups=(AUTHENTICATED,)), GET, ref, None)
            cost = min(_microseconds(partial(authorizer.authorize, request)) for _ in range(ROUNDS))
        target = TARGETS[name]
        found.append(Result(name, cost, "µs", "—", 0, f"≤ {target:.0f} µs", cost <= target))
    return found


def _microseconds(decide: Any) -> float:
    began = time.perf_counter()
    for _ in range(ASKED):
        decide()
    return (time.perf_counter() - began) / ASKED * 1e6
