"""What ``docker save`` writes, as a stream: which of its files is which layer, so that layers can be left out on the way.

An engine with the classic image store looks a layer up by its chain – the layer and all below it – before it opens the
layer's file; a file that is not there is not missed then. Which file holds which layer is told by:

- ``blobs/sha256/HEX`` (engines from 25.0 on): HEX is the digest of the layer, its DiffID;
- ``ID/layer.tar`` (before): ID is the hash of ``ID/json``, which comes just before it, together with the layer's chain.

What is not recognized is not a layer to leave out: it is passed on.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterable, Iterator
from typing import IO, Protocol

CHUNK_BYTES = 1 << 20
BLOBS = "blobs/sha256/"
# Far more than any configuration of an image, far less than would hurt.
MAX_JSON_BYTES = 4 << 20
# As Go writes them in JSON, by which the hash was made.
GO_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})

Layers = tuple[str, ...]
"""The DiffIDs of an image, the lowest layer first."""


class Sink(Protocol):
    """Takes the bytes of an archive without the layers in ``held``."""

    @property
    def held(self) -> frozenset[str]: ...

    def write(self, data: bytes, /) -> None: ...


def chains(layers: Layers) -> dict[str, str]:
    """The DiffID of each layer by the layer's chain ID, as the image specification defines it."""
    found: dict[str, str] = {}
    below = ""
    for layer in layers:
        below = "sha256:" + hashlib.sha256(f"{below} {layer}".encode()).hexdigest() if below else layer
        found[below] = layer
    return found


def held_layers(images: Iterable[Layers], present: Iterable[Layers]) -> frozenset[str]:
    """Those layers of ``images`` whose files an engine with the images ``present`` does not need.

    A layer counts only where it lies on the same layers as there. Layers of equal content share a file, so
    it is held only when none of them is needed.
    """
    there = {chain for layers in present for chain in chains(layers)}
    known = [found for layers in images for found in chains(layers).items()]
    return frozenset({layer for chain, layer in known if chain in there} - {layer for chain, layer in known if chain not in there})


class Recognizer:
    """Tells layers among the files of one archive, seen in order."""

    def __init__(self, images: Iterable[Layers]) -> None:
        self._chains = {chain: layer for layers in images for chain, layer in chains(layers).items()}
        self._layers = frozenset(self._chains.values())
        self._folders: dict[str, str] = {}

    def learn(self, name: str, content: bytes) -> None:
        """Takes notice of a file ``ID/json``."""
        folder = name.removesuffix("/json")
        try:
            fields = json.loads(content)
        except ValueError:
            return
        if isinstance(fields, dict) and (layer := self._identify(folder, fields)):
            self._folders[folder] = layer

    def layer(self, name: str) -> str:
        """The DiffID of the layer that a file holds; empty when it is none, or not known."""
        if name.startswith(BLOBS):
            digest = f"sha256:{name.removeprefix(BLOBS)}"
            return digest if digest in self._layers else ""
        return self._folders.get(name.removesuffix("/layer.tar"), "") if name.endswith("/layer.tar") else ""

    def _identify(self, folder: str, fields: dict[str, object]) -> str:
        """The layer for which the folder's name is right. The topmost layer's hash includes the system, the others' does not."""
        hashed = {key: value for key, value in fields.items() if key != "id"}
        if "parent" in hashed:
            hashed["parent"] = f"sha256:{hashed['parent']}"
        for chain, layer in self._chains.items():
            for left_out in ((), ("os",)):
                facts = {key: value for key, value in hashed.items() if key not in left_out} | {"layer_id": chain}
                text = json.dumps(dict(sorted(facts.items())), separators=(",", ":"), ensure_ascii=False).translate(GO_ESCAPES)
                if hashlib.sha256(text.encode()).hexdigest() == folder:
                    return layer
        return ""


def distribute(source: IO[bytes], images: Iterable[Layers], sinks: Iterable[Sink]) -> Iterator[int]:
    """Copies an archive into sinks, to each without what it holds; yields how many bytes of it have been read so far."""
    recognizer = Recognizer(images)
    sinks = list(sinks)
    done = 0
    with tarfile.open(fileobj=source, mode="r|", bufsize=CHUNK_BYTES) as archive:
        for entry in archive:
            layer = recognizer.layer(entry.name)
            takers = [sink for sink in sinks if layer not in sink.held]
            _write(takers, entry.tobuf(tarfile.GNU_FORMAT))
            content = archive.extractfile(entry) if entry.isreg() else None
            while content is not None and (chunk := content.read(CHUNK_BYTES)):
                if entry.name.endswith("/json") and entry.size <= MAX_JSON_BYTES:
                    chunk += content.read()
                    recognizer.learn(entry.name, chunk)
                _write(takers, chunk)
                done += len(chunk)
                yield done
            _write(takers, bytes(-entry.size % tarfile.BLOCKSIZE))
    _write(sinks, bytes(2 * tarfile.BLOCKSIZE))


def _write(sinks: Iterable[Sink], data: bytes) -> None:
    for sink in sinks:
        sink.write(data)
