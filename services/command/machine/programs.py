"""What must be installed: Python's libraries, etcd, a container engine, the packet filter."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from collections.abc import Iterator, Sequence

from services.command.checks.check import Check, NotHere, Weight
from services.command.machine.facts import Machine
from services.kubelet.runtime.docker.engine import API_VERSION
from services.standalone import preflight

LEAST_PYTHON = (3, 11)
# Versions before this one speak no API that the API server uses, and 3.5.0 to 3.5.2 may lose what was written.
LEAST_ETCD = (3, 4)
LOSSY_ETCD = range(3)
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def _python(machine: Machine) -> Sequence[str]:
    if sys.version_info < LEAST_PYTHON:
        return [f"this is Python {sys.version.split()[0]}"]
    return []


def lacking(requirements: Sequence[str]) -> Iterator[str]:
    """The names of libraries that are asked for and are not installed; what only an extra asks for counts not."""
    for requirement in requirements:
        found = _NAME.match(requirement)
        if found is None or "extra ==" in requirement:
            continue
        try:
            importlib.metadata.distribution(found[0])
        except importlib.metadata.PackageNotFoundError:
            yield found[0]


def _libraries(machine: Machine) -> Sequence[str]:
    try:
        asked = importlib.metadata.requires("knarr") or []
    except importlib.metadata.PackageNotFoundError:
        raise NotHere("Knarr is not installed as a package here, so it says nothing about what it needs") from None
    return [f"{name} is not installed" for name in lacking(asked)]


def _etcd(machine: Machine) -> Sequence[str]:
    if machine.settings.store != "etcd":
        raise NotHere(f"the cluster keeps its objects in {machine.settings.store}")
    program = machine.program("etcd")
    if not program:
        return ["etcd is not on the path"]
    found = _VERSION.search(machine.told([program, "--version"])[1])
    if found is None:
        return [f"{program} does not tell its version"]
    major, minor, patch = map(int, found.groups())
    if (major, minor) < LEAST_ETCD:
        return [f"{program} is version {found[0]}"]
    if (major, minor) == (3, 5) and patch in LOSSY_ETCD:
        return [f"{program} is version {found[0]}, which may lose what was written when it is killed"]
    return []


def _engine(machine: Machine) -> Sequence[str]:
    if machine.settings.runtime != "docker":
        raise NotHere(f"the cluster uses the runtime {machine.settings.runtime}, not a Docker engine")
    if found := list(preflight.docker_problems()):
        return found
    # A socket that is there may belong to an engine that hangs.
    try:
        return [] if machine.engine else ["the Docker engine says nothing of itself"]
    except NotHere as silence:
        return [str(silence)]


def _engine_version(machine: Machine) -> Sequence[str]:
    least, version = API_VERSION.removeprefix("v"), str(machine.engine.get("ApiVersion", "0.0"))
    if _numbers(version) < _numbers(least):
        return [f"the engine {machine.engine.get('Version', '')} speaks API {version}; {least} is needed"]
    return []


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _engine_groups(machine: Machine) -> Sequence[str]:
    if machine.engine.get("CgroupDriver", "none") == "none":
        return ["the engine has no driver for control groups, so that containers have no limits"]
    return []


def _rootless(machine: Machine) -> Sequence[str]:
    if any("rootless" in str(option) for option in machine.engine.get("SecurityOptions") or ()):
        return ["the engine is rootless: pods' addresses lie in a network of its own, which this machine does not reach"]
    return []


def _storage(machine: Machine) -> Sequence[str]:
    return ["the engine copies whole images for each container (storage driver vfs)"] if machine.engine.get("Driver") == "vfs" else []


def _root(machine: Machine) -> Sequence[str]:
    needs = [
        f"the {what}"
        for what, needed in (
            (f"runtime {machine.settings.runtime}", machine.settings.runtime != "hollow"),
            (f"datapath {machine.settings.datapath}", machine.settings.datapath == "nftables"),
        )
        if needed
    ]
    return [f"{' and '.join(needs)} need root, and you are user {machine.user}"] if needs and machine.user != 0 else []


def _nftables(machine: Machine) -> Sequence[str]:
    if machine.settings.datapath != "nftables":
        raise NotHere(f"the cluster uses the datapath {machine.settings.datapath}")
    program = machine.program("nft")
    if not program:
        return ["nftables is not installed"]
    if machine.user != 0:
        raise NotHere("only root may ask the kernel about it")
    code, words = machine.told([program, "list", "tables"])
    return [f"the kernel does not take part: {words}"] if code else []


def _path(machine: Machine) -> Sequence[str]:
    """What is started by a name alone must not be found where anybody may put it."""
    return [
        f"{folder or 'an empty entry'} stands in PATH: a program of that name in the current directory would be run"
        for folder in machine.environment.get("PATH", "").split(os.pathsep)
        if not folder.startswith("/")
    ]


CHECKS: tuple[Check[Machine], ...] = (
    Check(
        "python",
        f"Python is {'.'.join(map(str, LEAST_PYTHON))} or newer",
        "Knarr uses what came with that version.",
        "Install a newer Python, and Knarr with it.",
        _python,
    ),
    Check(
        "python-libraries",
        "the libraries that Knarr stands on are installed",
        "A component that needs one that is missing does not start.",
        "`pip install --upgrade knarr`, or `make install` in a checkout.",
        _libraries,
    ),
    Check(
        "path",
        "programs are found in whole paths alone",
        "etcd and other programs are started by their names.",
        "Remove the entry from PATH.",
        _path,
        Weight.ADVICE,
    ),
    Check(
        "etcd",
        "etcd is installed, in a version that keeps what was written",
        "It holds the cluster's state.",
        "`apt-get install etcd-server`, or a release of etcd 3.4.x or from 3.5.3 on in a folder of PATH.",
        _etcd,
    ),
    Check(
        "engine",
        "the Docker engine answers",
        "It runs the pods' containers.",
        "Install and start it (`systemctl start docker`), name another by DOCKER_HOST, or simulate containers (`--runtime hollow`).",
        _engine,
    ),
    Check(
        "engine-version",
        f"the engine speaks API {API_VERSION} or newer",
        "Pods are made by calls that came with it.",
        "Install Docker 20.10 or newer.",
        _engine_version,
    ),
    Check(
        "engine-groups",
        "the engine limits containers by control groups",
        "Without, a pod's limits of memory and processor mean nothing.",
        "Start the engine with `--exec-opt native.cgroupdriver=systemd` or `cgroupfs`; a rootless one needs delegated control groups.",
        _engine_groups,
    ),
    Check(
        "engine-rootless",
        "the engine works in this machine's own network",
        "Services, probes and the API server reach pods by their addresses.",
        "Use an engine that root runs, or simulate containers (`--runtime hollow`).",
        _rootless,
    ),
    Check(
        "engine-storage",
        "the engine shares images among containers",
        "Each pod takes the room and the time of a whole copy.",
        "Put the engine's folder on a file system that overlay2 works on, and choose that driver.",
        _storage,
        Weight.ADVICE,
    ),
    Check(
        "root",
        "you may do what the cluster needs",
        "Networks, mounts and packet filters are root's.",
        "Run with sudo, or give `--runtime hollow --datapath userspace`, which needs no root.",
        _root,
    ),
    Check(
        "nftables",
        "the kernel's packet filter can be told rules",
        "Services are load-balanced by it.",
        "`apt-get install nftables`, or balance by a relay (`--datapath userspace`).",
        _nftables,
    ),
)
