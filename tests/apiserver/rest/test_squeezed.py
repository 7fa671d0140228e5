"""A compressed end of an answer is good behind any beginning, for whoever reads gzip."""

from __future__ import annotations

import gzip
import random
import shutil
import subprocess
import zlib

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.entries import Entries
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rest.request import BODY_LIMIT_BYTES, unpacked
from services.apiserver.rest.squeezed import Squeezed
from tests.support.faces import RestClient

SOURCE = random.Random(7)


@pytest.mark.parametrize("length", [0, 1, 2, 255, 4096, 65535, 65536, 1_000_003])
def test_the_whole_is_one_member_of_gzip(length: int) -> None:
    data = SOURCE.randbytes(length // 2) + b"x" * (length - length // 2)
    squeezed = Squeezed(data)
    for before in (b"", b"{", b'{"kind":"List"', SOURCE.randbytes(65535), SOURCE.randbytes(200_000)):
        found = squeezed.behind(before)
        assert gzip.decompress(found) == before + data
        if len(before) + len(data) <= BODY_LIMIT_BYTES:
            # Nothing is left over, and nothing follows.
            assert unpacked(found) == before + data


def test_checksums_are_looked_at() -> None:
    found = bytearray(Squeezed(b"data").behind(b"before"))
    found[-6] ^= 1
    with pytest.raises((gzip.BadGzipFile, zlib.error)):
        gzip.decompress(bytes(found))


@pytest.mark.skipif(shutil.which("gzip") is None, reason="no gzip is installed")
def test_another_program_reads_it() -> None:
    found = Squeezed(b"data" * 50_000).behind(b"before")
    assert subprocess.run(["gzip", "-dc"], input=found, capture_output=True, check=True).stdout == b"before" + b"data" * 50_000


async def test_a_list_is_compressed_once_as_long_as_nothing_of_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    api = ApiInMemory()
    for number in range(200):
        made = core.ConfigMap(data={"k": f"{number}" * 500})
        made.metadata.name, made.metadata.namespace = f"c{number}", "default"
        api.seed(made)
    made_of: list[int] = []
    init = Squeezed.__init__

    def counted(self: Squeezed, data: bytes) -> None:
        made_of.append(len(data))
        init(self, data)

    monkeypatch.setattr(Squeezed, "__init__", counted)
    path = "/api/v1/namespaces/default/configmaps"
    async with api:
        client = RestClient(api)

        async def both() -> None:
            plain = await client.get(path)
            small = await client.get(path, accept_encoding="gzip")
            assert "content-encoding" not in plain.headers and small.headers["content-encoding"] == ["gzip"]
            assert small.headers["content-length"] == [str(len(small.body))]
            assert gzip.decompress(small.body) == plain.body
            assert len(small.body) < len(plain.body) / 4

        await both()
        await both()
        assert len(made_of) == 1
        # Another revision: another head, the same items.
        await client.call("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}})
        await both()
        assert len(made_of) == 1
        await client.call("DELETE", f"{path}/c7")
        await both()
        assert len(made_of) == 2
        pages = await client.get(f"{path}?limit=150", accept_encoding="gzip")
        assert len(gzip.decompress(pages.body)) > 0 and len(made_of) == 3


def test_entries_begin_without() -> None:
    assert Entries().squeezed is None
