"""Kinds by the names that objects refer to them by."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.client.client import Client
from knarr.machinery.resources import Resource
from services.controller.versions import NoVersion, Versions
from tests.controller.cluster import cluster
from tests.controller.test_disruption import define
from tests.support.virtual_time import virtual_time


class Counting:
    """Of a client, how often it was asked for what is served."""

    def __init__(self, client: Client) -> None:
        self._client, self.asked = client, 0

    async def resources(self) -> Sequence[Resource]:
        self.asked += 1
        return await self._client.resources()


@virtual_time
async def test_what_is_built_in_is_asked_for_once_and_what_is_defined_each_time() -> None:
    async with cluster(kubelet=False, controllers=()) as c:
        client = Counting(c.client)
        versions = Versions(client)  # type: ignore[arg-type]
        for _ in range(3):
            assert (await versions.of("apps", "Deployment", "apps/v1")).message is apps.Deployment
        assert client.asked == 1
        fleet = await define(c)
        assert (await versions.of("example.com", "Fleet", "example.com/v1")).message is fleet
        await c.client.delete(apiextensions.CustomResourceDefinition, "fleets.example.com")
        async with asyncio.timeout(10):
            while "fleets" in {found.plural for found in await c.client.resources()}:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        with pytest.raises(NoVersion, match='no matches for kind "Fleet"'):
            await versions.of("example.com", "Fleet", "example.com/v1")
        with pytest.raises(NoVersion, match='no matches for kind "Nothing"'):
            await versions.of("apps", "Nothing", "apps/v1")
