"""Whether there is room: on disks, in memory, among ports and addresses."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from knarr.service.errors import CommandError
from services.command.checks.check import Check, NotHere, Weight
from services.command.machine.facts import Machine
from services.standalone import preflight
from services.standalone.hollow import with_room
from services.standalone.machine import node_address
from services.standalone.name_servers import servers_in

MIB = 1 << 20
# The kubelet evicts pods where less of the disk is free.
LEAST_DISK_SHARE = 0.10
# A cluster at rest takes some 150 MB, etcd and the first pods the rest.
LEAST_MEMORY_BYTES = 512 * MIB


def _disk(machine: Machine) -> Sequence[str]:
    return list(preflight.disk_problems(machine.settings))


def _disk_share(machine: Machine) -> Sequence[str]:
    root = machine.settings.files.root
    folders = {next(folder for folder in (root, *root.parents) if folder.exists())}
    with suppress(NotHere):
        folders.add(Path(str(machine.engine.get("DockerRootDir", root))))
    return [
        f"of the disk of {folder} {usage.free / usage.total:.0%} are free ({usage.free // MIB} MiB)"
        for folder in sorted(folders)
        if folder.exists() and (usage := shutil.disk_usage(folder)).free < usage.total * LEAST_DISK_SHARE
    ]


def _memory(machine: Machine) -> Sequence[str]:
    for line in machine.text("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            free = int(rest.split()[0]) * 1024
            return [f"{free // MIB} MiB of memory are available"] if free < LEAST_MEMORY_BYTES and not machine.runs else []
    raise NotHere("/proc/meminfo does not tell what is available")


def _ports(machine: Machine) -> Sequence[str]:
    if machine.runs:
        raise NotHere("the cluster runs and has them")
    return list(preflight.port_problems(machine.settings))


def _ranges(machine: Machine) -> Sequence[str]:
    try:
        found = list(preflight.range_problems(machine.settings))
    except CommandError as unreadable:
        raise NotHere(f"they cannot be compared with what was chosen before: {unreadable}") from None
    if machine.program("ip"):
        found += preflight.read_route_problems(machine.settings)
    return found


def _nameservers(machine: Machine) -> Sequence[str]:
    """A range of pods grows with the number of simulated nodes."""
    settings = with_room(machine.settings)
    ranges = {"pods": settings.cluster_cidr, "Services": settings.service_cidr, "load balancers": settings.load_balancer_pool}
    return [
        f"the machine's nameserver {server} lies in {text}, which the cluster has for {what}"
        for server in servers_in(machine.text("/etc/resolv.conf"))
        for what, text in ranges.items()
        if server in IPv4Network(text)
    ]


def _chosen(machine: Machine) -> Sequence[str]:
    settings = machine.settings
    problems = (preflight.restore_problems, preflight.file_problems, preflight.name_problems, preflight.size_problems)
    return [problem for look in problems for problem in look(settings)]


def _proxies(machine: Machine) -> Sequence[str]:
    environment = machine.environment
    proxy = next((name for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY") if environment.get(name)), "")
    if not proxy:
        return []
    spared = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    settings = machine.settings
    needed = {"the node's address": node_address(), "Services": settings.service_cidr, "pods": settings.cluster_cidr}
    return [f"{proxy} is set, and NO_PROXY leaves out {target} ({what})" for what, target in needed.items() if not _spares(spared, target)]


def _spares(spared: str, target: str) -> bool:
    """Whether a list of NO_PROXY holds an address or a whole range."""
    network = IPv4Network(target)
    return network[0] in IPv4Network("127.0.0.0/8") or any(
        entry == "*" or any(network.subnet_of(other) for other in _networks(entry)) for entry in map(str.strip, spared.split(","))
    )


def _networks(entry: str) -> Iterator[IPv4Network]:
    with suppress(ValueError):
        yield IPv4Network(entry, strict=False) if "/" in entry else IPv4Network(IPv4Address(entry))


def _writable(machine: Machine) -> Sequence[str]:
    root = machine.settings.files.root
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    return [] if os.access(there, os.W_OK | os.X_OK) else [f"you may not write into {there}"]


CHECKS: tuple[Check[Machine], ...] = (
    Check(
        "data-directory",
        "the cluster's files can be written",
        "Keys, settings and the whole state lie there.",
        "Choose another --data-dir, or run as the owner of this one (with sudo where root started the cluster).",
        _writable,
    ),
    Check(
        "disk",
        "the disk has room for the cluster's state",
        "etcd stops taking writes when it is full.",
        "Make room (`docker system prune`), or choose another --data-dir.",
        _disk,
    ),
    Check(
        "disk-share",
        f"disks are free to more than {LEAST_DISK_SHARE:.0%}",
        "A node whose disk is nearly full takes no pods and evicts those it has.",
        "Make room (`docker system prune`), or lower the threshold (`--kubelet-options '--eviction-hard=…'`).",
        _disk_share,
        Weight.ADVICE,
    ),
    Check(
        "memory",
        f"{LEAST_MEMORY_BYTES // MIB} MiB of memory are available",
        "A node that is short of memory evicts pods.",
        "End something else.",
        _memory,
        Weight.ADVICE,
    ),
    Check(
        "ports",
        "the ports of the cluster are free",
        "Each component listens on one.",
        "End who has it (`ss -tulpn`), choose another by its option, or let free ones be found (`knarr up --name NAME`).",
        _ports,
    ),
    Check(
        "ranges",
        "the address ranges are free and fit together",
        "Packets to pods and Services would go where somebody else's go.",
        "Choose others by their options, or let free ones be found (`knarr up --name NAME`).",
        _ranges,
    ),
    Check(
        "nameservers",
        "the address ranges leave the machine its nameservers",
        "What goes to a cluster's addresses never leaves the machine: no name would be found any more, by anybody on it.",
        "Choose other ranges by their options (`--cluster-cidr` and its like).",
        _nameservers,
    ),
    Check(
        "choices",
        "what was chosen for the cluster can be used",
        "A start would be refused.",
        "As it says.",
        _chosen,
    ),
    Check(
        "proxies",
        "a proxy is not asked for what lies in the cluster",
        "kubectl and programs in pods would send what is for the cluster to a proxy, which does not know it.",
        "Add it to NO_PROXY, like `export NO_PROXY=$NO_PROXY,10.0.0.0/8` and the node's address.",
        _proxies,
        Weight.ADVICE,
    ),
)
