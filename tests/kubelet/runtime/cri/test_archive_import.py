"""Archives of images: what is read of them, what is refused, and that containerd runs what it was given."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from knarr.api.cri.v1 import common_pb2 as common
from knarr.api.cri.v1 import image_pb2 as pb
from services.kubelet.runtime.cri.archive_import import (
    CHUNK_BYTES,
    BadArchive,
    image_is_there,
    import_archive,
    read_images,
    remove_unused_image,
)
from services.kubelet.runtime.cri.engine import Engine
from services.kubelet.runtime.cri.image_import import LAYER
from tests.kubelet.containerd_support import Containerd, containerd
from tests.kubelet.docker_support import busybox_archive


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def archive(*images: tuple[list[str], list[bytes]], **others: Any) -> io.BytesIO:
    """As `docker save` writes it: for each image its names, and its layers. ``others`` change manifest entries or diff ids."""
    made, listed = io.BytesIO(), []
    with tarfile.open(fileobj=made, mode="w") as tar:
        for number, (names, layers) in enumerate(images):
            plain = [gzip.decompress(layer) if layer.startswith(b"\x1f\x8b") else layer for layer in layers]
            identities = others.get("diff_ids", [digest(layer) for layer in plain])
            config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": identities}}).encode()
            put(tar, f"{number}.json", config)
            members = [f"{number}-{place}/layer.tar" for place in range(len(layers))]
            for member, layer in zip(members, layers, strict=True):
                put(tar, member, layer)
            listed.append({"Config": f"{number}.json", "RepoTags": names, "Layers": members, **others.get("entry", {})})
        put(tar, "manifest.json", others.get("manifest", json.dumps(listed).encode()))
    made.seek(0)
    return made


def put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def read(file: io.BytesIO) -> Any:
    with tarfile.open(fileobj=file) as tar:
        return read_images(tar)


def test_names_are_whole_ones_and_layers_known_by_how_they_begin() -> None:
    zipped = gzip.compress(b"a layer")
    (found,) = read(archive((["app:1", "r.io/team/app"], [b"plain", zipped]), ([], [b"other"])))
    assert found.names == ("docker.io/library/app:1", "r.io/team/app:latest")
    assert [(layer.media_type, layer.digest, layer.size) for layer in found.layers] == [
        (LAYER, digest(b"plain"), 5),
        (f"{LAYER}+gzip", digest(zipped), len(zipped)),
    ]
    manifest = json.loads(found.manifest.data)
    assert [layer["digest"] for layer in manifest["layers"]] == [digest(b"plain"), digest(zipped)]
    assert manifest["config"]["digest"] == found.config.digest


def test_a_layer_may_be_a_link_to_another_one() -> None:
    made = archive((["a:1"], [b"layer", b"layer"]))
    with tarfile.open(fileobj=made) as tar:
        parts = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]
    linked = io.BytesIO()
    with tarfile.open(fileobj=linked, mode="w") as tar:
        for name in ("0.json", "0-0/layer.tar", "manifest.json"):
            put(tar, name, parts[name])
        link = tarfile.TarInfo("0-1/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../0-0/layer.tar"
        tar.addfile(link)
    linked.seek(0)
    (found,) = read(linked)
    assert [layer.digest for layer in found.layers] == [digest(b"layer")] * 2


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (archive((["a:1"], [b"x"]), manifest=b"[{"), "manifest.json is not as `docker save` writes it"),
        (archive((["a:1"], [b"x"]), manifest=b'{"a": 1}'), "manifest.json is not as `docker save` writes it"),
        (archive((["../a"], [b"x"])), "'../a' is no image's name"),
        (archive((["a:1"], [b"x"]), entry={"Layers": ["../../etc/passwd"]}), "there is no ../../etc/passwd in it"),
        (archive((["a:1"], [b"x"]), entry={"Config": "no.json"}), "there is no no.json in it"),
        (archive((["a:1"], [b"x"]), diff_ids=[digest(b"y")]), "and the image's config says"),
        (archive((["a:1"], [b"x"]), diff_ids=[]), "1 layers are listed, and the image's config names 0"),
        (archive((["a:1"], [b""])), "0-0/layer.tar is empty"),
    ],
)
def test_what_is_not_as_it_says_is_refused_by_name(made: io.BytesIO, words: str) -> None:
    with pytest.raises(BadArchive) as caught:
        read(made)
    assert words in str(caught.value)


async def test_a_file_of_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"#!/bin/sh\n" * 100)
    with pytest.raises(BadArchive, match="is no tar archive"):
        await import_archive(Engine("unix:///nowhere", 1.0), tmp_path / "a.tar")


@pytest.fixture(scope="module")
def engine() -> Iterator[Containerd]:
    with containerd() as made:
        yield made


def said_of(engine: Containerd, name: str) -> str:
    """What containerd itself finds of an image, blob by blob."""
    command = ["ctr", "--address", engine.endpoint.removeprefix("unix://"), "--namespace", "k8s.io", "images", "check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return next(line for line in checked.splitlines() if name in line)


@pytest.mark.docker
async def test_containerd_has_what_it_was_given_under_a_name_that_moves(engine: Containerd, tmp_path: Path) -> None:
    """A large layer, a compressed one, the same archive twice, and another image by the same name."""
    large = io.BytesIO()
    with tarfile.open(fileobj=large, mode="w") as tar:
        put(tar, "large", bytes(3 * CHUNK_BYTES + 7))
    first = tmp_path / "first.tar"
    first.write_bytes(archive((["mine:1"], [busybox_archive(), gzip.compress(large.getvalue(), mtime=0)])).getvalue())
    second = tmp_path / "second.tar"
    second.write_bytes(archive((["mine:1"], [busybox_archive()])).getvalue())
    asked = Engine(engine.endpoint, 60.0)
    try:
        seen = []
        for path in (first, first, second):
            told: list[tuple[int, int]] = []
            assert await import_archive(asked, path, lambda *so_far, told=told: told.append(so_far)) == ["docker.io/library/mine:1"]
            assert told[-1][0] == told[-1][1] > 0
            found = await asked.image("ImageStatus", pb.ImageStatusRequest(image=common.ImageSpec(image="docker.io/library/mine:1")))
            seen.append(found.image.id)
        assert seen[0] == seen[1] != seen[2]
        assert "complete" in await asyncio.to_thread(said_of, engine, "mine:1")
        assert await image_is_there(asked, "mine:1")
        await remove_unused_image(asked, "mine:1")
        assert not await image_is_there(asked, "mine:1")
        # Twice, and of one that never was.
        await remove_unused_image(asked, "mine:1")
    finally:
        await asked.close()
