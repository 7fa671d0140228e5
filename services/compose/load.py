"""``knarr load IMAGE``: copies images of this machine's engine into the nodes of the compose cluster.

A node's engine is its own and may have no registry. One archive of this machine's engine is streamed to all nodes that lack one of the
images, to each without the layers it has; nothing is kept on disk or as a whole in memory in between. A node that does
not run, or fails, keeps no other from its images.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from urllib3.exceptions import HTTPError

from knarr.service.errors import CommandError
from services.compose.engine import Command, Engine
from services.compose.image_archive import Layers, distribute, held_layers

PROJECT = "knarr"
NODE_LABEL = "knarr.role=node"
# By which the docker command in a node finds the node's engine.
ENVIRONMENT = {"DOCKER_HOST": "unix:///run/knarr/docker.sock"}
# An engine with containerd's store wants each blob in the archive: it keeps them as they were pulled, not by layer.
BLOB_STORE = "io.containerd.snapshotter"
STORE = ["docker", "info", "--format", "{{json .DriverStatus}}"]
PRESENT = ["sh", "-c", "docker image ls -aq | xargs -r docker image inspect --format '{{json .RootFS.Layers}}'"]
LOAD = ["docker", "load", "--quiet"]
# What has been read, and about how much there is, in bytes.
Progress = Callable[[int, int], None]


class NoNodes(CommandError):
    """No node of the compose cluster runs."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image of this machine's engine."""

    layers: Layers
    # What makes two images the same, whatever store an engine keeps them in.
    content: tuple[Any, ...]
    size_bytes: int

    @classmethod
    def of(cls, found: dict[str, Any]) -> Image:
        """From what an engine's API tells of it."""
        config = found.get("Config") or {}
        layers = tuple(found["RootFS"].get("Layers") or ())
        content = (found["Architecture"], layers, config.get("Env"), config.get("Cmd"), config.get("Entrypoint"))
        return cls(layers, content, int(found.get("Size", 0)))


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its name, its container, and whether that runs."""

    name: str
    container: str
    running: bool = True


def find_images(engine: Engine, names: Iterable[str]) -> dict[str, Image]:
    """This machine's images by their names; CommandError when one is not there."""
    found: dict[str, Image] = {}
    for name in names:
        image = engine.image(name)
        if image is None:
            raise CommandError(f"this machine's engine has no image {name}; build it (`docker build`) or pull it (`docker pull`) first")
        found[name] = Image.of(image)
    return found


def find_nodes(engine: Engine, project: str) -> list[Node]:
    """The nodes of a compose project, by name; NoNodes when none runs."""
    containers = engine.containers(f"com.docker.compose.project={project}", NODE_LABEL)
    found = [Node(entry["Labels"]["com.docker.compose.service"], entry["Id"], entry["State"] == "running") for entry in containers]
    if not any(node.running for node in found):
        raise NoNodes(f"no node of the compose cluster {project!r} runs; start it with `docker compose up -d --wait`")
    return sorted(found, key=lambda node: node.name)


def missing(engine: Engine, images: dict[str, Image], node: Node) -> list[str]:
    """Those of the images that the node has not, or has otherwise."""

    def has(name: str) -> bool:
        told = engine.output(node.container, ["docker", "image", "inspect", name], ENVIRONMENT)
        return told is not None and Image.of(json.loads(told)[0]).content == images[name].content

    return [name for name in images if not has(name)]


def present(engine: Engine, node: Node) -> list[Layers]:
    """The layers of each image of the node, as far as they need not be sent again."""
    if BLOB_STORE in (engine.output(node.container, STORE, ENVIRONMENT) or ""):
        return []
    return [tuple(json.loads(line) or ()) for line in (engine.output(node.container, PRESENT, ENVIRONMENT) or "").splitlines()]


class Receiver:
    """A node's ``docker load``; one that ends early is left out, its own words say why."""

    def __init__(self, node: Node, held: frozenset[str], loading: Command) -> None:
        self.node = node
        self.held = held
        self.sent_bytes = 0
        self._loading = loading
        self._reads = True

    def write(self, data: bytes) -> None:
        if self._reads:
            try:
                self._loading.write(data)
                self.sent_bytes += len(data)
            except OSError:
                self._reads = False

    def finish(self) -> str:
        """What went wrong; empty when the images are there."""
        return self._loading.finish().failure


def copy(
    engine: Engine, images: dict[str, Image], nodes: dict[Node, frozenset[str]], progress: Callable[[int], None]
) -> tuple[int, list[str]]:
    """Streams images into nodes, to each without the layers it holds; the bytes sent to all together, and what failed where."""
    receivers = [Receiver(node, held, engine.feed(node.container, LOAD, ENVIRONMENT)) for node, held in nodes.items()]
    broken = ""
    try:
        with engine.save(list(images)) as archive:
            for done in distribute(archive, [image.layers for image in images.values()], receivers):
                progress(done)
    # tarfile's word for an archive that ends early is an OSError too.
    except (OSError, ValueError, HTTPError, CommandError) as error:
        broken = str(error)
    failures = [f"{receiver.node.name}: {text}" for receiver in receivers if (text := receiver.finish())]
    if broken:
        failures.insert(0, f"docker save: {broken}")
    return sum(receiver.sent_bytes for receiver in receivers), failures


@dataclass(frozen=True, slots=True)
class Work:
    """What one node lacks: images by name with their layers, and which of those layers it holds."""

    images: dict[str, Layers]
    held: frozenset[str]

    def describe(self) -> str:
        """For a person: ``lacks app:2 (7 of 9 layers are there)``."""
        layers = {layer for found in self.images.values() for layer in found}
        return f"lacks {', '.join(self.images)} ({len(self.held & layers)} of {len(layers)} layers are there)"


def plan(images: dict[str, Layers], lacking: dict[Node, list[str]], there: dict[Node, list[Layers]]) -> dict[Node, Work]:
    """The nodes to be served. All get one stream, with every image that some node lacks."""
    streamed = [images[name] for name in images if any(name in lacks for lacks in lacking.values())]
    return {
        node: Work({name: images[name] for name in lacks}, held_layers(streamed, there[node])) for node, lacks in lacking.items() if lacks
    }


def load(images: list[str], project: str = PROJECT, progress: Progress = lambda done, total: None) -> None:
    """The command; prints what it does. Raises CommandError, after all that can be done is done, when a node was left without."""
    with closing(Engine()) as engine:
        wanted = find_images(engine, images)
        nodes = find_nodes(engine, project)
        lacking = {node: missing(engine, wanted, node) for node in nodes if node.running}
        layers = {name: image.layers for name, image in wanted.items()}
        work = plan(layers, lacking, {node: present(engine, node) for node, lacks in lacking.items() if lacks})
        for node in nodes:
            had = f"has {', '.join(images)}" if node.running else "does not run"
            print(f"{node.name}: {work[node].describe() if node in work else had}")
        failures = [
            f"{node.name}: does not run; `docker compose up -d --wait` starts it, then load again" for node in nodes if not node.running
        ]
        if work:
            failures += _copy(engine, wanted, work, progress)
    if failures:
        raise CommandError("the images are not on all nodes:\n" + "\n".join(f"  - {failure}" for failure in failures))


def _copy(engine: Engine, images: dict[str, Image], work: dict[Node, Work], progress: Progress) -> list[str]:
    """Does the work; what failed."""
    started = time.monotonic()
    wanted = {name: image for name, image in images.items() if any(name in found.images for found in work.values())}
    total_bytes = sum(image.size_bytes for image in wanted.values())
    held = {node: found.held for node, found in work.items()}
    sent_bytes, failures = copy(engine, wanted, held, lambda done: progress(done, total_bytes))
    served = [node.name for node in work if not any(failure.startswith(f"{node.name}: ") for failure in failures)]
    if served and not any(failure.startswith("docker save: ") for failure in failures):
        print(f"loaded {', '.join(wanted)} into {', '.join(served)} in {time.monotonic() - started:.1f} s, {sent_bytes / 1e6:.1f} MB")
    return failures
