"""An API server in front of a scripted node."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import registry
from services.apiserver.api import Api
from services.apiserver.node_streams import NoNodeStreams
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.rest.application import Application, create_app
from tests.apiserver.pipeline.world import World, fill, running
from tests.apiserver.rest.conftest import TOKENS
from tests.apiserver.rest.streams.fake_node import FakeNode, pod


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """With pods ``one`` and ``two`` on a node and ``waiting`` on none."""
    async with running() as world:
        waiting = pod("waiting", "c")
        waiting.spec.node_name = ""
        node = core.Node(metadata=meta.ObjectMeta(name="node-1"))
        await fill(world, [node, pod("one", "c"), pod("two", "a", "b"), waiting])
        yield world


@pytest.fixture
def pipeline(world: World) -> Pipeline:
    """It has no way to the nodes yet."""
    return dataclasses.replace(world.caller.api.pipeline, node_streams=NoNodeStreams())


@pytest.fixture
def application(pipeline: Pipeline, node: FakeNode) -> Application:
    return create_app(Api(dataclasses.replace(pipeline, node_streams=node)), TOKENS, registry())
