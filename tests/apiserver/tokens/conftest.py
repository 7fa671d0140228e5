"""Fixtures: an API server in memory that issues tokens, with an account, a node, a pod on it and a Secret."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rbac.defaults import defaults
from services.apiserver.tokens.keys import SigningKeys
from tests.support.faces import TOKENS, RestClient
from tests.support.set_clock import SetClock
from tests.support.signing import signing_keys


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def keys() -> SigningKeys:
    return signing_keys()


def pod(name: str = "web", account: str = "robot") -> core.Pod:
    found = core.Pod(metadata=meta.ObjectMeta(name=name, namespace="shop"))
    found.spec.service_account_name, found.spec.node_name = account, "node-1"
    found.spec.containers.add(name="main", image="busybox:local")
    return found


@pytest.fixture
async def api(clock: SetClock, keys: SigningKeys) -> AsyncIterator[ApiInMemory]:
    made = ApiInMemory(clock, authenticate=TOKENS.authenticate, keys=keys)
    made.seed(
        core.ServiceAccount(metadata=meta.ObjectMeta(name="robot", namespace="shop")),
        core.Node(metadata=meta.ObjectMeta(name="node-1")),
        core.Secret(metadata=meta.ObjectMeta(name="key", namespace="shop")),
        pod(),
        *defaults(),
    )
    async with made:
        yield made


@pytest.fixture
def rest(api: ApiInMemory) -> RestClient:
    return RestClient(api)
