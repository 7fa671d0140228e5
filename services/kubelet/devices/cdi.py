"""What a container gets of devices by the node's files of the container device interface, for engines that do not read those themselves.

Specified by the interface's version 1.1 (https://github.com/cncf-tags/container-device-interface). A file has one kind of devices
(``vendor.com/class``); a device is called ``vendor.com/class=name``. What only an engine can do (hooks, and what is the processor's) is
refused rather than left out: a container would begin without what its driver meant it to have.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knarr.service.configuration_file import sole_document
from services.kubelet.runtime.plan import Device, Mount

log = logging.getLogger(__name__)

ENDINGS = (".json", ".yaml", ".yml")
# A file of a driver has a few thousand bytes; larger ones are not read.
MOST_BYTES = 4 << 20
PROPAGATIONS = ("rslave", "rshared", "slave", "shared")


class Unresolvable(Exception):
    """A container cannot get a device: for a person."""


@dataclass(frozen=True, slots=True)
class Edits:
    """What is added to a container. Of its variables those of a device go before its own."""

    env: tuple[tuple[str, str], ...] = ()
    devices: tuple[Device, ...] = ()
    mounts: tuple[Mount, ...] = ()
    groups: tuple[int, ...] = ()


NOTHING = Edits()


def resolve(names: Sequence[str], folders: Iterable[Path]) -> Edits:
    """Reads the node's files, of which those of a later folder go before those of an earlier one, and answers what devices of these names
    are. Blocking; raises Unresolvable."""
    if not names:
        return NOTHING
    known: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for folder in folders:
        known |= _devices_of(folder)
    if missing := [name for name in names if name not in known]:
        raise Unresolvable(f"unresolvable CDI devices {', '.join(missing)}")
    found: dict[int, dict[str, Any]] = {}
    for name in names:
        whole, own = known[name]
        # What a file says of all its devices comes once, and before what it says of one.
        for edits in (whole, own):
            found.setdefault(id(edits), edits)
    made = _merged([edits_of(one) for one in found.values()])
    if lost := [path for path in (*(d.source for d in made.devices), *(m.source for m in made.mounts)) if not Path(path).exists()]:
        raise Unresolvable(f"{', '.join(lost)} of CDI devices {', '.join(names)} is not there")
    return made


def _devices_of(folder: Path) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """By name: what its file says of all its devices, and of this one. One that two files of a folder have is nobody's."""
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    twice: set[str] = set()
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in ENDINGS)
    except OSError:
        return {}
    for path in paths:
        try:
            said = read_file(path)
            whole = said.get("containerEdits") or {}
            for device in said.get("devices") or []:
                name = f"{said['kind']}={device['name']}"
                twice |= {name} & found.keys()
                found[name] = (whole, device.get("containerEdits") or {})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("a file of the container device interface cannot be read", extra={"path": str(path), "error": str(error)})
    return {name: edits for name, edits in found.items() if name not in twice}


def read_file(path: Path) -> dict[str, Any]:
    """Raises OSError and ValueError."""
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES} bytes")
    found = sole_document(data)
    if found is None:
        raise ValueError("it is no single object")
    return found


def edits_of(said: Mapping[str, Any]) -> Edits:
    """Pure. Raises Unresolvable for what only an engine can do, or what makes no sense."""
    for field in ("hooks", "intelRdt", "netDevices"):
        if said.get(field):
            raise Unresolvable(f"{field} of CDI devices need an engine that reads these files by itself")
    try:
        env = tuple((name, value) for name, _, value in (str(one).partition("=") for one in said.get("env") or []))
        devices = tuple(_device(one) for one in said.get("deviceNodes") or [])
        mounts = tuple(_mount(one) for one in said.get("mounts") or [])
        groups = tuple(int(group) for group in said.get("additionalGids") or [])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unresolvable(f"containerEdits of CDI devices cannot be read: {error!r}") from error
    return Edits(env, devices, mounts, groups)


def _device(said: Mapping[str, Any]) -> Device:
    path = str(said["path"])
    return Device(str(said.get("hostPath") or path), path, permissions=str(said.get("permissions") or ""))


def _mount(said: Mapping[str, Any]) -> Mount:
    if said.get("type") not in (None, "", "bind"):
        raise Unresolvable(f"a mount of type {said['type']} of CDI devices needs an engine that reads these files by itself")
    options = [str(option) for option in said.get("options") or []]
    propagation = next((option for option in options if option in PROPAGATIONS), "")
    return Mount(str(said["hostPath"]), str(said["containerPath"]), "ro" in options, propagation)


def _merged(found: Sequence[Edits]) -> Edits:
    """The later ones go before the earlier ones, where both have the same variable or place."""
    env = {name: value for one in found for name, value in one.env}
    devices = {device.target: device for one in found for device in one.devices}
    mounts = {mount.target: mount for one in found for mount in one.mounts}
    groups = dict.fromkeys(group for one in found for group in one.groups)
    return Edits(tuple(env.items()), tuple(devices.values()), tuple(mounts.values()), tuple(groups))
