"""``knarr load IMAGE``: copies images of this machine's engine into the nodes of the compose cluster.

A node's engine is its own and may have no registry. One ``docker save`` is streamed to all nodes that
lack one of the images; nothing is kept on disk in between.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from services.standalone.process import ProcessError

PROJECT = "knarr"
NODE_LABEL = "knarr.role=node"
ENGINE = "unix:///run/knarr/docker.sock"
CHUNK_BYTES = 1 << 20
PROGRESS_SECONDS = 0.2
# What makes two images the same, whatever store an engine keeps them in.
CONTENT = "{{.Architecture}} {{json .RootFS.Layers}} {{json .Config.Env}} {{json .Config.Cmd}} {{json .Config.Entrypoint}}"
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Node:
    """A running node: its name and its container."""

    name: str
    container: str

    def docker(self, *arguments: str) -> list[str]:
        """The command line that speaks to the node's engine."""
        return ["docker", "exec", "--interactive", self.container, "docker", "--host", ENGINE, *arguments]


def find_nodes(project: str) -> list[Node]:
    """The running nodes of a compose project, by name; ProcessError when there are none."""
    filters = ["--filter", f"label=com.docker.compose.project={project}", "--filter", f"label={NODE_LABEL}"]
    lines = _docker("ps", *filters, "--format", '{{.Label "com.docker.compose.service"}} {{.ID}}').splitlines()
    if not lines:
        raise ProcessError(f"no node of the compose cluster {project!r} runs; start it with `docker compose up -d --wait`")
    return sorted((Node(*line.split()) for line in lines), key=lambda node: node.name)


def missing(images: Iterable[str], node: Node, contents: dict[str, str]) -> list[str]:
    """Those of the images that the node has not, or has otherwise."""
    return [image for image in images if _output(node.docker("image", "inspect", "--format", CONTENT, image)) != contents[image]]


def inspect(image: str, template: str) -> str:
    """A fact of an image of this machine's engine; ProcessError when it is not there."""
    found = _output(["docker", "image", "inspect", "--format", template, image])
    if found is None:
        raise ProcessError(f"this machine's engine has no image {image}; build it (`docker build`) or pull it (`docker pull`) first")
    return found


def copy(images: list[str], nodes: list[Node], progress: Progress) -> None:
    """Streams images into nodes; raises ProcessError naming the nodes that did not take them."""
    save = subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    loads = {
        node: subprocess.Popen(node.docker("load", "--quiet"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for node in nodes
    }
    assert save.stdout is not None
    _pump(save.stdout, [load.stdin for load in loads.values() if load.stdin is not None], progress)
    failures = [f"{node.name}: {text}" for node, load in loads.items() if (text := _failure(load))]
    if text := _failure(save):
        failures.insert(0, f"docker save: {text}")
    if failures:
        raise ProcessError("the images were not loaded everywhere:\n" + "\n".join(f"  - {failure}" for failure in failures))


def _pump(source: IO[bytes], sinks: list[IO[bytes]], progress: Progress) -> None:
    """Copies until the end; a sink that closes is left out, its process says why."""
    done = 0
    while sinks and (chunk := source.read(CHUNK_BYTES)):
        for sink in list(sinks):
            try:
                sink.write(chunk)
            except BrokenPipeError:
                sinks.remove(sink)
        done += len(chunk)
        progress(done)
    source.close()
    for sink in sinks:
        with suppress(BrokenPipeError):
            sink.close()


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
        raise ProcessError("there is no docker command; run `make install`") from None
    if done.returncode != 0:
        raise ProcessError(done.stderr.strip())
    return done.stdout


def _output(command: list[str]) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


class Meter:
    """Shows on a terminal how much went over; elsewhere it is silent."""

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._shown = 0.0

    def __call__(self, done_bytes: int) -> None:
        now = time.monotonic()
        if sys.stdout.isatty() and now - self._shown >= PROGRESS_SECONDS:
            self._shown = now
            print(f"\r  {done_bytes / 1e6:.0f} of about {self._total_bytes / 1e6:.0f} MB", end="\033[K", flush=True)


def load(images: list[str], project: str = PROJECT) -> None:
    """The command; prints what it does."""
    contents = {image: inspect(image, CONTENT) for image in images}
    nodes = find_nodes(project)
    lacking = {node: missing(images, node, contents) for node in nodes}
    wanted = [image for image in images if any(image in lacks for lacks in lacking.values())]
    for node, lacks in lacking.items():
        print(f"{node.name}: {'lacks ' + ', '.join(lacks) if lacks else 'has ' + ', '.join(images)}")
    if not wanted:
        return
    started = time.monotonic()
    targets = [node for node, lacks in lacking.items() if lacks]
    copy(wanted, targets, Meter(sum(int(inspect(image, "{{.Size}}")) for image in wanted)))
    end = "\r" if sys.stdout.isatty() else ""
    print(f"{end}loaded {', '.join(wanted)} into {', '.join(node.name for node in targets)} in {time.monotonic() - started:.1f} s")
