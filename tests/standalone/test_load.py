"""`knarr load` against a stand-in for the docker command that keeps its images in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.standalone.load import load
from services.standalone.process import ProcessError

# `docker exec --interactive C docker --host E …` works on the images of C, everything else on those of `host`.
DOCKER = """#!/bin/sh
at=host
if [ "$1" = exec ]; then at=$3; shift 6; fi
case "$1" in
ps) cat "$STORE/nodes" ;;
save) shift; for image in "$@"; do [ -e "$STORE/host/$image" ] && echo "$image"; done ;;
load) if [ -e "$STORE/$at/full" ]; then echo "no space left on device" >&2; exit 1; fi
      while read -r image; do cp "$STORE/host/$image" "$STORE/$at/$image"; done ;;
image) for image in "$@"; do :; done; if [ "$4" = "{{.Size}}" ]; then echo 10; else cat "$STORE/$at/$image" 2>/dev/null; fi ;;
esac
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One folder an engine: the host's and two nodes'."""
    folder = tmp_path / "store"
    for name in ("host", "c1", "c2"):
        (folder / name).mkdir(parents=True)
    (folder / "nodes").write_text("node-2 c2\nnode-1 c1\n")
    program = tmp_path / "bin/docker"
    program.parent.mkdir()
    program.write_text(DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("STORE", str(folder))
    (folder / "host/web:1").write_text("layers of web")
    return folder


def test_only_nodes_that_lack_it_get_an_image(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (store / "c1/web:1").write_text("layers of web")
    load(["web:1"])
    assert (store / "c2/web:1").read_text() == "layers of web"
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["node-1: has web:1", "node-2: lacks web:1"]
    assert lines[2].startswith("loaded web:1 into node-2 in ")
    load(["web:1"])
    assert capsys.readouterr().out.splitlines() == ["node-1: has web:1", "node-2: has web:1"]


def test_an_image_of_the_same_name_but_other_content_is_replaced(store: Path) -> None:
    (store / "c1/web:1").write_text("layers of an older web")
    load(["web:1"])
    assert (store / "c1/web:1").read_text() == "layers of web"


def test_what_cannot_be_done_is_said(store: Path) -> None:
    with pytest.raises(ProcessError, match="this machine's engine has no image other:1; build it"):
        load(["other:1"])
    (store / "c2/full").touch()
    with pytest.raises(ProcessError, match="not loaded everywhere:\n  - node-2: no space left on device"):
        load(["web:1"])
    assert (store / "c1/web:1").exists()
    (store / "nodes").write_text("")
    with pytest.raises(ProcessError, match="no node of the compose cluster 'knarr' runs"):
        load(["web:1"])
