"""What clusters that are gone have left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from knarr.service.errors import CommandError
from services.command.checks.check import Check, NotHere, Weight
from services.command.machine.facts import Machine
from services.command.named import place
from services.standalone import process
from services.standalone.files import Files
from services.standalone.leftovers.traces import Trace


def _killed(machine: Machine) -> Sequence[str]:
    """A process that ends in order takes its file of its number with it."""
    files = machine.settings.files
    if files.pid.exists() and process.find(files) is None:
        return [f"the cluster of {files.root} was killed, and its containers, rules and routes may be there yet"]
    return []


def _left(machine: Machine) -> Sequence[str]:
    if machine.user != 0:
        raise NotHere("only root sees all that is there and which clusters live; run this with sudo")
    found, unseen = machine.leftovers
    if unseen and not found and not machine.forgotten:
        raise NotHere("; ".join(unseen))
    known = dict(_known(machine.settings.files))
    told = [_told(owner, known.get(owner), list(traces)) for owner, traces in groupby(found, key=lambda trace: trace.owner)]
    return [*told, f"of gateways: {', '.join(map(str, machine.forgotten))}, with keys"] if machine.forgotten else told


def _told(owner: str, folder: Path | None, traces: Sequence[Trace]) -> str:
    kinds = (f"{kind} {', '.join(trace.name for trace in some)}" for kind, some in groupby(traces, key=lambda trace: trace.kind))
    where = f", whose folder is {folder}" if folder else ""
    return f"of the cluster {owner}{where}: {'; '.join(kinds)}"


def _known(own: Files) -> Iterator[tuple[str, Path]]:
    """Clusters whose folders this person knows, by what marks their things."""
    with suppress(CommandError, OSError):
        for files in (*(Files(place.data_dir(name)) for name in place.names()), own):
            with suppress(OSError):
                yield files.known_id(), files.root


def _orphans(machine: Machine) -> Sequence[str]:
    """An etcd whose cluster was killed ends by itself; one that does not holds the store."""
    running = process.find(machine.settings.files)
    store = machine.settings.files.etcd
    found = []
    for entry in (machine.root / "proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text().strip() == "etcd" and (entry / "cwd").resolve() == store and running is None:
                found.append(f"an etcd of this cluster, process {entry.name}, runs without it")
        except OSError:
            continue
    return found


def _is_damaged(machine: Machine) -> Sequence[str]:
    files = machine.settings.files
    identity: Path = files.identity
    return [f"{identity} holds no cluster's name"] if identity.exists() and not files.known_id() else []


CHECKS: tuple[Check[Machine], ...] = (
    Check(
        "killed",
        "no cluster was killed here",
        "What it made outside its folder stays until it is taken away.",
        "`knarr down`, which takes it away, or `knarr up`, which goes on with it.",
        _killed,
        Weight.ADVICE,
    ),
    Check(
        "leftovers",
        "nothing is left of clusters that do not run",
        "Rules are read whole at each change, so that memory and time grow with them; containers go on running, ranges stay taken.",
        "`knarr down --leftovers`, which takes it away; clusters that run lose nothing, and those that do not keep their state.",
        _left,
        Weight.ADVICE,
    ),
    Check(
        "orphans",
        "no etcd is left over",
        "It holds the store, and a start waits for it in vain.",
        "`kill` it by its number.",
        _orphans,
    ),
    Check(
        "identity",
        "the cluster knows its own containers",
        "They are found by the name in that file.",
        "Remove the file; containers of before are found by `docker ps --filter label=io.knarr.cluster`.",
        _is_damaged,
    ),
)
