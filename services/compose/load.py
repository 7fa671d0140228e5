"""``knarr load IMAGE``: copies images of this machine's engine into the nodes of the compose cluster.

A node's engine is its own and may have no registry. One ``docker save`` is streamed to all nodes that lack one of the
images, to each without the layers it has; nothing is kept on disk or as a whole in memory in between. A node that does
not run, or fails, keeps no other from its images.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from knarr.service.errors import CommandError
from services.compose.image_archive import Layers, distribute, held_layers

PROJECT = "knarr"
NODE_LABEL = "knarr.role=node"
ENGINE = "unix:///run/knarr/docker.sock"
# What makes two images the same, whatever store an engine keeps them in.
CONTENT = "{{.Architecture}} {{json .RootFS.Layers}} {{json .Config.Env}} {{json .Config.Cmd}} {{json .Config.Entrypoint}}"
# An engine with containerd's store wants each blob in the archive: it keeps them as they were pulled, not by layer.
BLOB_STORE = "io.containerd.snapshotter"
STORE = "docker info --format '{{json .DriverStatus}}'"
PRESENT = "docker image ls -aq | xargs -r docker image inspect --format '{{json .RootFS.Layers}}'"
# What has been read, and about how much there is, in bytes.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its name, its container, and whether that runs."""

    name: str
    container: str
    running: bool = True

    def docker(self, *arguments: str) -> list[str]:
        """The command line that speaks to the node's engine."""
        return ["docker", "exec", "--interactive", self.container, "docker", "--host", ENGINE, *arguments]

    def shell(self, script: str) -> list[str]:
        """The command line of a script in the node, whose ``docker`` is the node's engine."""
        return ["docker", "exec", "--env", f"DOCKER_HOST={ENGINE}", self.container, "sh", "-c", script]


def find_nodes(project: str) -> list[Node]:
    """The nodes of a compose project, by name; CommandError when none runs."""
    filters = ["--filter", f"label=com.docker.compose.project={project}", "--filter", f"label={NODE_LABEL}"]
    lines = _docker("ps", "--all", *filters, "--format", '{{.Label "com.docker.compose.service"}} {{.ID}} {{.State}}').splitlines()
    found = [Node(name, container, state == "running") for name, container, state in (line.split() for line in lines)]
    if not any(node.running for node in found):
        raise CommandError(f"no node of the compose cluster {project!r} runs; start it with `docker compose up -d --wait`")
    return sorted(found, key=lambda node: node.name)


def missing(images: Iterable[str], node: Node, contents: dict[str, str]) -> list[str]:
    """Those of the images that the node has not, or has otherwise."""
    return [image for image in images if _output(node.docker("image", "inspect", "--format", CONTENT, image)) != contents[image]]


def present(node: Node) -> list[Layers]:
    """The layers of each image of the node, as far as they need not be sent again."""
    if BLOB_STORE in (_output(node.shell(STORE)) or ""):
        return []
    return [tuple(json.loads(line) or ()) for line in (_output(node.shell(PRESENT)) or "").splitlines()]


def inspect(image: str, template: str) -> str:
    """A fact of an image of this machine's engine; CommandError when it is not there."""
    found = _output(["docker", "image", "inspect", "--format", template, image])
    if found is None:
        raise CommandError(f"this machine's engine has no image {image}; build it (`docker build`) or pull it (`docker pull`) first")
    return found


@dataclass(slots=True)
class Receiver:
    """A node's ``docker load``; one that ends early is left out, its own words say why."""

    node: Node
    held: frozenset[str]
    process: subprocess.Popen[bytes]
    sent_bytes: int = 0
    _open: bool = True
    _pipe: IO[bytes] = field(init=False)

    def __post_init__(self) -> None:
        assert self.process.stdin is not None
        self._pipe = self.process.stdin

    def write(self, data: bytes) -> None:
        if self._open:
            try:
                self._pipe.write(data)
                self.sent_bytes += len(data)
            except BrokenPipeError:
                self._open = False

    def close(self) -> None:
        with suppress(BrokenPipeError):
            self._pipe.close()


def copy(images: dict[str, Layers], nodes: dict[Node, frozenset[str]], progress: Callable[[int], None]) -> tuple[int, list[str]]:
    """Streams images into nodes, to each without the layers it holds; the bytes sent to all together, and what failed where."""
    save = subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    receivers = [Receiver(node, held, _start_load(node)) for node, held in nodes.items()]
    assert save.stdout is not None
    broken = ""
    try:
        for done in distribute(save.stdout, images.values(), receivers):
            progress(done)
    # tarfile's word for an archive that ends early is an OSError too.
    except (OSError, ValueError) as error:
        broken = str(error)
    finally:
        save.stdout.close()
        for receiver in receivers:
            receiver.close()
    failures = [f"{receiver.node.name}: {text}" for receiver in receivers if (text := _failure(receiver.process))]
    if text := _failure(save) or broken:
        failures.insert(0, f"docker save: {text}")
    return sum(receiver.sent_bytes for receiver in receivers), failures


def _start_load(node: Node) -> subprocess.Popen[bytes]:
    return subprocess.Popen(node.docker("load", "--quiet"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _failure(process: subprocess.Popen[bytes]) -> str:
    """What a finished process complained about; empty when it succeeded."""
    assert process.stderr is not None
    with process.stderr:
        text = process.stderr.read().decode(errors="replace").strip()
    return "" if process.wait() == 0 else text or f"exit code {process.returncode}"


def _docker(*arguments: str) -> str:
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CommandError("there is no docker command; run `make install`") from None
    if done.returncode != 0:
        raise CommandError(done.stderr.strip())
    return done.stdout


def _output(command: list[str]) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


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
    contents: dict[str, Any] = {image: inspect(image, CONTENT) for image in images}
    layers: dict[str, Layers] = {image: tuple(json.loads(inspect(image, "{{json .RootFS.Layers}}"))) for image in images}
    nodes = find_nodes(project)
    lacking = {node: missing(images, node, contents) for node in nodes if node.running}
    work = plan(layers, lacking, {node: present(node) for node, lacks in lacking.items() if lacks})
    for node in nodes:
        had = f"has {', '.join(images)}" if node.running else "does not run"
        print(f"{node.name}: {work[node].describe() if node in work else had}")
    failures = [
        f"{node.name}: does not run; `docker compose up -d --wait` starts it, then load again" for node in nodes if not node.running
    ]
    if work:
        failures += _copy(images, layers, work, progress)
    if failures:
        raise CommandError("the images are not on all nodes:\n" + "\n".join(f"  - {failure}" for failure in failures))


def _copy(images: list[str], layers: dict[str, Layers], work: dict[Node, Work], progress: Progress) -> list[str]:
    """Does the work; what failed."""
    started = time.monotonic()
    wanted = {image: layers[image] for image in images if any(image in found.images for found in work.values())}
    total_bytes = sum(int(inspect(image, "{{.Size}}")) for image in wanted)
    sent_bytes, failures = copy(wanted, {node: found.held for node, found in work.items()}, lambda done: progress(done, total_bytes))
    served = [node.name for node in work if not any(failure.startswith(f"{node.name}: ") for failure in failures)]
    if served and not any(failure.startswith("docker save: ") for failure in failures):
        print(f"loaded {', '.join(wanted)} into {', '.join(served)} in {time.monotonic() - started:.1f} s, {sent_bytes / 1e6:.1f} MB")
    return failures
