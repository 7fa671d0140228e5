"""The APIServices of what a server serves itself, and the ConfigMap by which others know it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.apiregistration.v1 import apiregistration_pb2 as apiregistration
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.objects.copies import copy_of
from knarr.service.certificates import CertificateAuthority
from knarr.service.tasks import cancel
from services.apiserver.aggregation import local
from services.apiserver.aggregation.front_proxy import NAME, NAMESPACE, FrontProxy
from services.apiserver.aggregation.local import ALWAYS, LABEL, ON_START, LocalServices
from services.apiserver.allocators.addresses import AddressRange
from services.apiserver.announcement import Announcer
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.upkeep import Upkeep
from services.standalone.credentials import front_proxy_files, keep_front_proxy
from tests.apiserver.definitions.asgi import definition

WIDGETS = "v1.example.org"


@asynccontextmanager
async def keeping(api: ApiInMemory) -> AsyncIterator[None]:
    """A start of the server; those of built-in groups are there."""
    kept = LocalServices(api.client(), api.server.registry, api.server.backend.cache)
    task = asyncio.create_task(kept.run())
    try:
        await until(lambda: len(api.all(apiregistration.APIService)) >= len(kept.wanted()))
        yield
    finally:
        await cancel([task])


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def named(api: ApiInMemory) -> dict[str, apiregistration.APIService]:
    return {found.metadata.name: found for found in api.all(apiregistration.APIService)}


async def test_one_for_each_group_version_that_is_built_in() -> None:
    async with ApiInMemory() as api, keeping(api):
        found = named(api)
        versions = {f"{version.version}.{version.group}" for version in api.server.registry.versions}
        assert found.keys() == versions
        apps = found["v1.apps"]
        assert dict(apps.metadata.labels) == {LABEL: ON_START}
        assert (apps.spec.group_priority_minimum, apps.spec.version_priority) == (17800, 15)
        assert (found["v1."].spec.group_priority_minimum, found["v1."].spec.version_priority) == (18000, 1)
        assert found["v2.autoscaling"].spec.version_priority > found["v1.autoscaling"].spec.version_priority
        assert {service.status.conditions[0].reason for service in found.values()} == {"Local"}


async def test_those_of_definitions_come_and_go() -> None:
    async with ApiInMemory() as api, keeping(api):
        defined = codec.from_json(apiextensions.CustomResourceDefinition, definition()).message
        await api.client().create(defined)
        await until(lambda: WIDGETS in named(api))
        found = named(api)[WIDGETS]
        assert dict(found.metadata.labels) == {LABEL: ALWAYS}
        assert (found.spec.group_priority_minimum, found.spec.version_priority) == (1000, 100)
        # Whoever changes or removes it finds it as it was.
        changed = copy_of(found)
        changed.spec.version_priority = 7
        await api.client().update(changed)
        await until(lambda: named(api)[WIDGETS].spec.version_priority == 100)
        await api.client().delete(apiregistration.APIService, WIDGETS)
        await until(lambda: WIDGETS in named(api))
        await api.client().delete(apiextensions.CustomResourceDefinition, "widgets.example.org")
        await until(lambda: WIDGETS not in named(api))


async def test_a_definition_that_went_while_no_server_ran() -> None:
    async with ApiInMemory() as api:
        stale = local._local(WIDGETS, "example.org", "v1", custom=True)
        others = local._local("v1.other.org", "other.org", "v1", custom=False)
        await api.client().create(stale)
        await api.client().create(others)
        async with keeping(api):
            await until(lambda: WIDGETS not in named(api))
            # A server of another release may serve it.
            assert "v1.other.org" in named(api)


async def test_what_people_give_to_another_server_stays_theirs_until_a_start() -> None:
    async with ApiInMemory() as api:
        async with keeping(api):
            given = copy_of(named(api)["v1.apps"])
            given.spec.service.namespace, given.spec.service.name = "default", "apps"
            await api.client().update(given)
            await asyncio.sleep(0.05)
            assert named(api)["v1.apps"].spec.HasField("service")
            kept = copy_of(named(api)["v1.batch"])
            del kept.metadata.labels[LABEL]
            kept.spec.service.namespace, kept.spec.service.name = "default", "batch"
            await api.client().update(kept)
        async with keeping(api):
            await until(lambda: not named(api)["v1.apps"].spec.HasField("service"))
            assert named(api)["v1.batch"].spec.HasField("service")


async def test_a_group_version_that_was_given_away_before_it_was_defined() -> None:
    async with ApiInMemory() as api, keeping(api):
        given = local._local(WIDGETS, "example.org", "v1", custom=True)
        given.metadata.labels.clear()
        given.spec.service.namespace, given.spec.service.name = "default", "widgets"
        await api.client().create(given)
        await api.client().create(codec.from_json(apiextensions.CustomResourceDefinition, definition()).message)
        await until(lambda: api.server.registry.served("example.org", "v1", "widgets") is not None)
        await asyncio.sleep(0.05)
        assert named(api)[WIDGETS].spec.HasField("service")


async def test_extension_api_servers_read_whom_to_believe(tmp_path: Path) -> None:
    keep_front_proxy(tmp_path / "front-proxy")
    CertificateAuthority.create().pair.save(tmp_path, "ca")
    front_proxy = FrontProxy(front_proxy_files(tmp_path / "front-proxy", tmp_path / "ca.crt"))

    def published(api: ApiInMemory) -> dict[str, str]:
        found = [config for config in api.all(core.ConfigMap, NAMESPACE) if config.metadata.name == NAME]
        return dict(found[0].data) if found else {}

    async with ApiInMemory() as api:
        announcer = Announcer(api.client(), "", 6443, shared=False)
        addresses, clock = AddressRange("10.96.0.0/16"), api.server.backend.clock
        task = asyncio.create_task(Upkeep(api.client(), addresses, announcer, clock, front_proxy).run())
        try:
            await until(lambda: published(api))
        finally:
            await cancel([task])
        found = published(api)
        assert found["client-ca-file"] == (tmp_path / "ca.crt").read_text()
        assert found["requestheader-client-ca-file"] == (tmp_path / "front-proxy/ca.crt").read_text() != found["client-ca-file"]
        assert {name: orjson.loads(value) for name, value in found.items() if not name.endswith("-file")} == {
            "requestheader-allowed-names": ["front-proxy-client"],
            "requestheader-username-headers": ["X-Remote-User"],
            "requestheader-uid-headers": ["X-Remote-Uid"],
            "requestheader-group-headers": ["X-Remote-Group"],
            "requestheader-extra-headers-prefix": ["X-Remote-Extra-"],
        }
