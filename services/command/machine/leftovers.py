"""What clusters that are gone have left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from knarr.service.errors import CommandError
from services.command.checks.check import Check, NotHere, Weight
from services.command.machine.facts import Machine
from services.command.named import place
from services.kubelet.runtime.catalog import bridge_name
from services.standalone import process
from services.standalone.fellows.plan import network_bridge
from services.standalone.files import Files


def _killed(machine: Machine) -> Sequence[str]:
    """A process that ends in order takes its file of its number with it."""
    files = machine.settings.files
    if files.pid.exists() and process.find(files) is None:
        return [f"the cluster of {files.root} was killed, and its containers, rules and routes may be there yet"]
    return []


def _bridges(machine: Machine) -> Sequence[str]:
    if not machine.has("/sys/class/net"):
        raise NotHere("/sys/class/net is not there")
    try:
        places = (machine.settings.files, *(Files(place.data_dir(name)) for name in place.names()))
        known = {name for files in places for name in _bridges_of(files)}
    except PermissionError as error:
        raise NotHere(f"{error.filename} cannot be read, so that its network would be told as nobody's; run this with sudo") from None
    except CommandError as homeless:
        raise NotHere(str(homeless)) from None
    found = sorted(path.name for path in (machine.root / "sys/class/net").iterdir() if path.name.startswith(bridge_name("")))
    return [f"the bridge {name} is of no cluster that is known here" for name in found if name not in known]


def _bridges_of(files: Files) -> tuple[str, ...]:
    """That of pods, and that of nodes beside the machine's own."""
    identity = files.known_id()
    return (bridge_name(identity), network_bridge(identity)) if identity else ()


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
        "bridges",
        "there are no networks of other clusters",
        "One that nobody uses any more keeps its range of addresses from others.",
        "`knarr down --data-dir DIR` for its folder; where that is gone: `ip link delete NAME`, and `docker network prune`.",
        _bridges,
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
