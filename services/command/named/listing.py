"""``knarr list``: the named clusters of a person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from knarr.service.errors import CommandError
from services.command.named import contexts, place
from services.command.named.freezing import is_frozen
from services.standalone import process
from services.standalone.settings import ClusterSettings


@dataclass(frozen=True, slots=True)
class Listed:
    """``state`` is running, paused, starting, stopped, or damaged, where its files cannot be read. ``pid`` is 0 where none runs."""

    name: str
    state: str
    runtime: str
    nodes: int
    server: str
    pid: int
    context: str
    # Whether kubectl asks this one now.
    current: bool
    folder: str


def listed() -> Iterator[Listed]:
    chosen = contexts.current()
    for name in place.names():
        yield _listed(name, chosen)


def _listed(name: str, chosen: str) -> Listed:
    folder, context = place.data_dir(name), contexts.context_of(name)
    state, pid = state_of(folder)
    runtime, nodes, server = "", 0, ""
    try:
        settings, complaint = ClusterSettings.salvaged(folder)
        state = "damaged" if complaint and state == "stopped" else state
        runtime, nodes, server = settings.runtime, settings.nodes, f"https://127.0.0.1:{settings.ports.rest}"
    except (CommandError, OSError):
        state = "damaged"
    return Listed(name, state, runtime, nodes, server, pid, context, context == chosen, str(folder))


def state_of(folder: Path) -> tuple[str, int]:
    """The state of a cluster's process, and its number."""
    files = ClusterSettings(data_dir=folder).files
    running = process.find(files)
    if running is None:
        return "stopped", 0
    if is_frozen(running.pid):
        return "paused", running.pid
    return ("running" if files.state.exists() else "starting"), running.pid


def as_dicts() -> list[dict[str, object]]:
    return [asdict(one) for one in listed()]


def as_rows() -> list[list[str]]:
    """A table with its head; the current one has a star."""
    head = ["", "NAME", "STATE", "RUNTIME", "NODES", "SERVER"]
    return [head, *(["*" if one.current else "", one.name, one.state, one.runtime, str(one.nodes), one.server] for one in listed())]
