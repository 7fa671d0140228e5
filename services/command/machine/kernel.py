"""What the kernel must have and allow."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from services.command.checks.check import Check, NotHere, Weight
from services.command.machine.facts import Machine
from services.kubelet.cgroups.hierarchy import CONTROLLERS

# What a pod's network, and that between nodes, is made of.
MODULES = ("bridge", "veth", "nf_conntrack", "nf_tables", "overlay")
NEEDED_CONTROLLERS = tuple(name for name in CONTROLLERS if name != "hugetlb")
# Below the kernel's own defaults, programs in a few pods that look after files take all there is.
LEAST_INSTANCES, LEAST_WATCHES = 128, 8192
# Each connection, watch and container's log is one.
LEAST_FILES = 4096
# How far the time of files may lie ahead: a file system of another machine is not quite of one mind with this one.
AHEAD_SECONDS = 60.0


def _modules(machine: Machine) -> Sequence[str]:
    if machine.settings.runtime == "hollow" and machine.settings.datapath != "nftables":
        raise NotHere("a simulated node with a relay needs nothing of them")
    folder = f"/lib/modules/{machine.text('/proc/sys/kernel/osrelease')}"
    known = {Path(line.partition(":")[0]).name.partition(".")[0] for line in _lines(machine, folder)}
    loaded = {line.split()[0] for line in machine.text("/proc/modules").splitlines() if line.split()}
    return [
        f"{name} is neither in the kernel nor among its modules"
        for name in MODULES
        if name not in known | loaded and not machine.has(f"/sys/module/{name}")
    ]


def _lines(machine: Machine, folder: str) -> list[str]:
    """Of the modules that are built in, and of those that can be loaded; names have - or _."""
    texts = [machine.text(f"{folder}/{name}") for name in ("modules.builtin", "modules.dep") if machine.has(f"{folder}/{name}")]
    if not texts:
        raise NotHere(f"{folder} tells nothing of the kernel's modules, as in a container")
    return [line.replace("-", "_") for text in texts for line in text.splitlines()]


def _groups(machine: Machine) -> Sequence[str]:
    if machine.settings.runtime == "hollow":
        raise NotHere("simulated containers have no control groups")
    if machine.has("/sys/fs/cgroup/cgroup.controllers"):
        there = set(machine.text("/sys/fs/cgroup/cgroup.controllers").split())
    else:
        there = {name for name in NEEDED_CONTROLLERS if machine.has(f"/sys/fs/cgroup/{name}")}
    return [f"the controller {name} is not there" for name in NEEDED_CONTROLLERS if name not in there]


def _inotify(machine: Machine) -> Sequence[str]:
    found = []
    for name, least in (("max_user_instances", LEAST_INSTANCES), ("max_user_watches", LEAST_WATCHES)):
        number = machine.number(f"/proc/sys/fs/inotify/{name}")
        if number < least:
            found.append(f"fs.inotify.{name} is {number}, less than {least}")
    return found


def _files(machine: Machine) -> Sequence[str]:
    for line in machine.text("/proc/self/limits").splitlines():
        if line.startswith("Max open files"):
            hard = line.split()[-2]
            return [f"a process of yours may open {hard} files at most"] if hard.isdecimal() and int(hard) < LEAST_FILES else []
    raise NotHere("/proc/self/limits does not tell how many files may be opened")


def _clock(machine: Machine) -> Sequence[str]:
    """A clock that was set back lies behind what was written before."""
    files = machine.settings.files
    if not files.root.is_dir():
        raise NotHere("there are no files of a cluster yet to compare it with")
    now = datetime.now(UTC).timestamp()
    newest = max((entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(files.root)), default=0.0)
    if newest > now + AHEAD_SECONDS:
        return [f"it says {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, and files of the cluster are {(newest - now) / 60:.0f} minutes ahead"]
    return []


CHECKS: tuple[Check[Machine], ...] = (
    Check(
        "kernel-modules",
        "the kernel has what pods' networks are made of",
        "A pod without it stays in ContainerCreating, or reaches nobody.",
        "Install the kernel's modules (`apt-get install linux-image-amd64`, then boot it), or load them with modprobe.",
        _modules,
    ),
    Check(
        "control-groups",
        f"the kernel has control groups for {', '.join(NEEDED_CONTROLLERS)}",
        "They hold pods to their limits.",
        "Boot with `cgroup_enable=memory`, or let the containing machine delegate them.",
        _groups,
    ),
    Check(
        "inotify",
        "enough files can be watched for changes",
        "Programs in pods that follow files fail with 'too many open files' or 'no space left on device'.",
        f"`sysctl -w fs.inotify.max_user_instances=512 fs.inotify.max_user_watches={LEAST_WATCHES * 8}`, and the same in /etc/sysctl.d.",
        _inotify,
        Weight.ADVICE,
    ),
    Check(
        "open-files",
        f"a process may open {LEAST_FILES} files",
        "Each connection and each watch is one.",
        "Raise `nofile` in /etc/security/limits.conf, or LimitNOFILE of the unit.",
        _files,
        Weight.ADVICE,
    ),
    Check(
        "clock",
        "the clock was not set back",
        "Certificates are not valid yet, and what was made lies in the future.",
        "Set the clock (`timedatectl set-ntp true`), then `knarr down` and `knarr up`.",
        _clock,
    ),
)
