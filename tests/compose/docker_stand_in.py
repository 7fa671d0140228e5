"""Plays the docker command for the tests of `knarr load`: its engines are folders below $STORE.

An engine is a file for each image, with its layers and environment, and layers/. `docker exec … C docker --host E …` works on the
engine of container C, everything else on that of `host`. `load` wants a file for each layer that lies not there on the same layers.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

STORE = Path(os.environ["STORE"])


def image(engine: Path, name: str) -> dict[str, Any]:
    path = engine / f"{name}.json"
    if not path.exists():
        sys.exit(f"no such image {name}")
    return dict(json.loads(path.read_text()))


def all_layers(engine: Path) -> list[list[str]]:
    return [json.loads(path.read_text())["layers"] for path in engine.glob("*.json")]


def inspect(engine: Path, template: str, name: str) -> None:
    found = image(engine, name)
    if template == "{{.Size}}":
        print(10)
    elif template == "{{json .RootFS.Layers}}":
        print(json.dumps(found["layers"]))
    else:
        print(json.dumps(found["layers"]), found["env"])


def script(engine: Path, text: str) -> None:
    store = engine / "store"
    if "docker info" in text:
        print(store.read_text() if store.exists() else "[]")
    else:
        print(*map(json.dumps, all_layers(engine)), sep="\n")


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def save(engine: Path, names: list[str]) -> None:
    images = {name: image(engine, name) for name in names}
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        for digest in sorted({layer.removeprefix("sha256:") for found in images.values() for layer in found["layers"]}):
            add(archive, f"blobs/sha256/{digest}", (engine / "layers" / digest).read_bytes())
        add(archive, "manifest.json", json.dumps(images).encode())
    if (STORE / "save-fails").exists():
        sys.exit("the engine stumbled")


def load(engine: Path) -> None:
    if (engine / "full").exists():
        sys.exit("no space left on device")
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        files = {entry.name: (archive.extractfile(entry) or io.BytesIO()).read() for entry in archive}
    (engine / "received").write_text(" ".join(sorted(files)))
    there = all_layers(engine)
    for name, found in json.loads(files["manifest.json"]).items():
        for number, layer in enumerate(found["layers"], 1):
            known = any(layers[:number] == found["layers"][:number] for layers in there)
            if not known and f"blobs/sha256/{layer.removeprefix('sha256:')}" not in files:
                sys.exit(f"layer {layer} is missing")
        (engine / f"{name}.json").write_text(json.dumps(found))


def main(words: list[str]) -> None:
    engine = STORE / "host"
    if words[0] == "exec":
        engine = next(STORE / word for word in words if (STORE / word).is_dir())
        if "sh" in words:
            script(engine, words[-1])
            return
        words = words[6:]
    match words:
        case ["ps", *_]:
            print((STORE / "nodes").read_text(), end="")
        case ["image", "inspect", "--format", template, name]:
            inspect(engine, template, name)
        case ["save", *names]:
            save(engine, names)
        case ["load", *_]:
            load(engine)
        case _:
            sys.exit(f"the stand-in does not know: docker {' '.join(words)}")


if __name__ == "__main__":
    main(sys.argv[1:])
