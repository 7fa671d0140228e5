"""What long lists are measured with counts whole answers, and nothing that is none."""

from __future__ import annotations

import asyncio

import pytest

from bench.lister import Lister, measure
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from services.apiserver.rest import reads
from services.apiserver.rest.server import RestServer
from tests.apiserver.rest.conftest import TOKEN
from tests.apiserver.rest.fake_api import FakeApi

LIST = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(params=[False, True], ids=["length", "chunks"])
def url(request: pytest.FixtureRequest, server: RestServer, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> str:
    for number in range(40):
        api.put(core.ConfigMap(metadata=meta.ObjectMeta(name=f"c{number:03}", namespace="default"), data={"a": "x" * 50_000}))
    if request.param:
        monkeypatch.setattr(reads, "WHOLE_BYTES", 1000)
    return f"https://127.0.0.1:{server.port}{LIST}"


async def test_whole_answers_are_counted(url: str) -> None:
    assert await asyncio.to_thread(measure, url, TOKEN, 2, 0.05) > 0


async def test_a_refusal_is_none(url: str) -> None:
    with pytest.raises(RuntimeError, match="401"):
        await asyncio.to_thread(measure, url, "another", 1, 0.05)


async def test_an_answer_of_another_length_is_none(url: str, api: FakeApi) -> None:
    lister = Lister(url, TOKEN)

    def again() -> None:
        lister.ask()
        while not lister.read():
            pass

    with lister.socket:
        await asyncio.to_thread(lister.begin)
        await asyncio.to_thread(again)
        api.put(core.ConfigMap(metadata=meta.ObjectMeta(name="more", namespace="default"), data={"a": "x" * 50_000}))
        with pytest.raises(RuntimeError, match="not as long"):
            await asyncio.to_thread(again)
