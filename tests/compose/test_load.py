"""`knarr load` against a stand-in for the Docker engine that keeps its images in folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.service.errors import CommandError
from services.compose.load import load
from tests.compose.docker_stand_in import serving


class Store:
    """The engines of the host and of two nodes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("host", "c1", "c2"):
            (folder / name / "layers").mkdir(parents=True)
        self.nodes("node-2 c2 running", "node-1 c1 running")

    def nodes(self, *lines: str) -> None:
        (self.folder / "nodes").write_text("".join(f"{line}\n" for line in lines))

    def add(self, engine: str, image: str, *layers: str, env: str = "") -> None:
        """An image whose layers have these contents."""
        digests = {layer: hashlib.sha256(layer.encode()).hexdigest() for layer in layers}
        for layer, digest in digests.items():
            (self.folder / engine / "layers" / digest).write_text(layer)
        found = {"layers": [f"sha256:{digest}" for digest in digests.values()], "env": env}
        (self.folder / engine / f"{image}.json").write_text(json.dumps(found))

    def image(self, engine: str, image: str) -> str:
        return (self.folder / engine / f"{image}.json").read_text()

    def received_layers(self, engine: str) -> int:
        return (self.folder / engine / "received").read_text().count("blobs/")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    made = Store(tmp_path / "store")
    made.add("host", "web:1", "base", "web")
    with serving(tmp_path / "engine.sock", made.folder):
        yield made


def test_only_nodes_that_lack_it_get_an_image(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.add("c1", "web:1", "base", "web")
    load(["web:1"])
    assert store.image("c2", "web:1") == store.image("host", "web:1")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["node-1: has web:1", "node-2: lacks web:1 (0 of 2 layers are there)"]
    assert lines[2].startswith("loaded web:1 into node-2 in ")
    load(["web:1"])
    assert capsys.readouterr().out.splitlines() == ["node-1: has web:1", "node-2: has web:1"]


def test_a_node_gets_only_the_layers_it_lacks(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.add("c1", "other:1", "base", "other")
    store.add("host", "tools:1", "base", "tools")
    load(["web:1", "tools:1"])
    for image in ("web:1", "tools:1"):
        assert store.image("c1", image) == store.image("c2", image) == store.image("host", image)
    assert (store.received_layers("c1"), store.received_layers("c2")) == (2, 3)
    assert "node-1: lacks web:1, tools:1 (1 of 3 layers are there)" in capsys.readouterr().out


def test_an_engine_that_keeps_blobs_gets_every_layer(store: Store) -> None:
    store.add("c1", "other:1", "base", "other")
    (store.folder / "c1/store").write_text('[["driver-type","io.containerd.snapshotter.v1"]]')
    load(["web:1"])
    assert store.received_layers("c1") == 2


def test_an_image_of_the_same_name_but_other_content_is_replaced(store: Store) -> None:
    store.add("c1", "web:1", "base", "web", env="OLD=1")
    load(["web:1"])
    assert store.image("c1", "web:1") == store.image("host", "web:1")
    assert store.received_layers("c1") == 0


def test_what_cannot_be_done_is_said(store: Store) -> None:
    with pytest.raises(CommandError, match="this machine's engine has no image other:1; build it"):
        load(["other:1"])
    (store.folder / "c2/full").touch()
    with pytest.raises(CommandError, match="not on all nodes:\n  - node-2: no space left on device"):
        load(["web:1"])
    assert store.image("c1", "web:1")
    store.nodes("node-1 c1 exited")
    with pytest.raises(CommandError, match="no node of the compose cluster 'knarr' runs"):
        load(["web:1"])


def test_a_node_that_does_not_run_keeps_no_other_from_its_images(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.nodes("node-1 c1 running", "node-2 c2 exited")
    for _ in range(2):
        with pytest.raises(CommandError, match="node-2: does not run; `docker compose up -d --wait` starts it"):
            load(["web:1"])
        assert store.image("c1", "web:1") == store.image("host", "web:1")
        assert "node-2: does not run" in capsys.readouterr().out


def test_an_engine_that_cannot_save_is_blamed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    (store.folder / "save-fails").touch()
    with pytest.raises(CommandError, match="docker save: the engine stumbled"):
        load(["web:1"])
    assert "loaded" not in capsys.readouterr().out


def test_an_archive_that_breaks_off_is_no_image(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    (store.folder / "save-breaks").touch()
    with pytest.raises(CommandError, match=r"docker save: .*\n  - node-1: unexpected EOF"):
        load(["web:1"])
    assert "loaded" not in capsys.readouterr().out
    assert not (store.folder / "c1/web:1.json").exists()


def test_no_engine_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(CommandError, match="no Docker engine answers; run `make install`, or start it"):
        load(["web:1"])
