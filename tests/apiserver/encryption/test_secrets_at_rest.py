"""Secrets of a whole API server as they lie in its store: encrypted, under the newest key, and told of where nobody can read them."""

from __future__ import annotations

import dataclasses
import logging

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Conflict, InternalError, StatusError
from services.apiserver.encryption.configuration import parse_encryption
from services.apiserver.encryption.transformer import Encryption
from services.apiserver.in_memory import ADMIN, ApiInMemory
from services.apiserver.request import UPDATE, Request
from services.apiserver.results import Ref
from services.apiserver.settings import ApiServerSettings
from services.apiserver.storage.memory import MemoryStore
from services.apiserver.storage.store import Put, Transaction
from tests.apiserver.encryption.test_configuration import KEYS, SECRET, document, entry

pytestmark = pytest.mark.asyncio

PREFIX = "/registry/secrets/"
OLD = parse_encryption(document(entry({"aescbc": KEYS}, {"identity": {}})))
NEW = parse_encryption(document(entry({"secretbox": {"keys": [{"name": "two", "secret": SECRET}]}}, {"aescbc": KEYS}, {"identity": {}})))
BACK = parse_encryption(document(entry({"identity": {}}, {"aescbc": KEYS})))


def server(encryption: Encryption, store: MemoryStore | None = None) -> ApiInMemory:
    return ApiInMemory(settings=dataclasses.replace(ApiServerSettings(), encryption=encryption), store=store)


def secret(name: str = "a") -> core.Secret:
    return core.Secret(metadata=meta.ObjectMeta(name=name, namespace="default"), data={"password": b"hidden words"})


def stored(api: ApiInMemory, name: str = "a") -> bytes:
    (found,) = (item.value for item in api.store.items(f"{PREFIX}default/{name}"))
    return found


async def test_they_lie_encrypted_and_are_read_watched_and_changed_as_ever() -> None:
    async with server(OLD) as api:
        client = api.client()
        made = await client.create(secret())
        assert stored(api).startswith(b"k8s:enc:aescbc:v1:one:") and b"hidden" not in stored(api)
        assert (await client.get(core.Secret, "a", "default")).data == made.data == {"password": b"hidden words"}
        made.data["password"] = b"other words"
        await client.update(made)
        assert b"other" not in stored(api)
        assert (await client.get(core.Secret, "a", "default")).data["password"] == b"other words"
        (listed,) = (await client.list(core.Secret, "default")).items
        assert listed.data["password"] == b"other words"
        await client.create(core.ConfigMap(metadata=meta.ObjectMeta(name="a", namespace="default"), data={"plain": "words"}))
        assert any(b"words" in item.value for item in api.store.items("/registry/configmaps/default/a"))


async def test_a_secret_is_written_anew_under_the_newest_key_though_it_is_the_same() -> None:
    async with server(OLD) as api:
        made = await api.client().create(secret())
        same = await api.client().update(made)
        assert same.metadata.resource_version == made.metadata.resource_version
    async with server(NEW, api.store) as again:
        found = await again.client().update(await again.client().get(core.Secret, "a", "default"))
        assert found.data == made.data and found.metadata.resource_version != made.metadata.resource_version
        newest = stored(again)
        assert newest.startswith(b"k8s:enc:secretbox:v1:two:")
        assert (await again.client().update(found)).metadata.resource_version == found.metadata.resource_version
        assert stored(again) == newest


async def test_a_dry_run_writes_nothing_anew() -> None:
    async with server(OLD) as api:
        await api.client().create(secret())
    async with server(NEW, api.store) as again:
        before = stored(again)
        ref, options = Ref(version_of(core.Secret), "default", "a"), meta.UpdateOptions(dry_run=["All"])
        await again.server.api.update(Request(ADMIN, UPDATE, ref, options), secret())
        assert stored(again) == before


async def test_what_was_there_before_is_read_and_encrypted_when_it_is_written() -> None:
    async with server(Encryption()) as api:
        await api.client().create(secret())
        assert b"hidden" in stored(api)
    async with server(OLD, api.store) as again:
        found = await again.client().get(core.Secret, "a", "default")
        assert found.data["password"] == b"hidden words"
        await again.client().update(found)
        assert b"hidden" not in stored(again)
    async with server(BACK, api.store) as back:
        await back.client().update(await back.client().get(core.Secret, "a", "default"))
        assert b"hidden" in stored(back)


async def test_without_the_configuration_it_is_told_plainly(caplog: pytest.LogCaptureFixture) -> None:
    async with server(OLD) as api:
        await api.client().create(secret())
    with caplog.at_level(logging.ERROR):
        async with server(Encryption(), api.store) as again:
            client = again.client()
            words = r'secrets "a" is stored, but cannot be read: it is encrypted \(k8s:enc:aescbc:v1:one\): start .*--encryption-prov'
            with pytest.raises(InternalError, match=words):
                await client.get(core.Secret, "a", "default")
            for attempt in (client.create(secret()), client.update(secret()), client.delete(core.Secret, "a", "default")):
                with pytest.raises(InternalError, match=words):
                    await attempt
            assert not (await client.list(core.Secret, "default")).items
    assert any("k8s:enc:aescbc:v1:one" in record.getMessage() for record in caplog.records)
    assert not any("hidden" in record.getMessage() for record in caplog.records)


async def test_a_value_that_was_put_in_anothers_place_is_not_served() -> None:
    gcm = parse_encryption(document(entry({"aesgcm": KEYS})))
    async with server(gcm) as api:
        await api.client().create(secret())
    api.store.apply(Transaction({}, [Put(f"{PREFIX}default/b", stored(api))]))
    async with server(gcm, api.store) as again:
        with pytest.raises(InternalError, match="it was not made with this key for this place, or has been changed"):
            await again.client().get(core.Secret, "b", "default")
        assert (await again.client().get(core.Secret, "a", "default")).data["password"] == b"hidden words"


async def test_a_conflict_is_one_all_the_same() -> None:
    async with server(OLD) as api:
        first = await api.client().create(secret())
        await api.client().update(core.Secret(metadata=first.metadata, data={"password": b"1"}))
        with pytest.raises(Conflict):
            await api.client().update(core.Secret(metadata=first.metadata, data={"password": b"2"}))
        with pytest.raises(StatusError):
            await api.client().create(secret())
