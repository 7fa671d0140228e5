"""What must hold before a cluster can start, checked first so that an error is one clear line."""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from pathlib import Path
from typing import Any

from knarr.service.errors import CommandError
from knarr.service.options import node_name
from services.kubelet.runtime.catalog import DEFAULT_ENGINE, bridge_name, engine_url
from services.standalone.fellows.plan import may_have_fellows, most_fellows, network_bridge
from services.standalone.hollow import HOLLOW, node_numbers, with_room
from services.standalone.listening import WITH_FIRST_ROUTE, bound, endpoints
from services.standalone.machine import node_address
from services.standalone.name_servers import name_server_problems, name_servers
from services.standalone.settings import MEMORY, ClusterSettings, path_of
from services.standalone.store import DATA, INSTALL_HINT, has_state, path_problem

# What etcd takes from the disk at the first start: its log is made at its full length. And without what nothing can be written at all.
NEW_STORE_BYTES, LEAST_BYTES = 64 * 1024 * 1024, 1024 * 1024
# The mark of the routes that a proxy made, as `ip route` writes it, and of those to the pods of other nodes.
OWN_PROTOCOL, POD_PROTOCOL = "75", "76"
ROOTLESS_WORDS = (
    "the Docker engine at {} is a rootless one: its containers are in a network of its own, which this node's addresses and rules do not"
    " reach; use the machine's engine (unset DOCKER_HOST, run with sudo), or --runtime hollow, which needs no root"
)


def problems(settings: ClusterSettings) -> Iterator[str]:
    """Sentences that say what is wrong and the way out; none when the cluster can start."""
    if settings.store != MEMORY and shutil.which("etcd") is None:
        yield INSTALL_HINT
    if settings.runtime == "docker":
        yield from docker_problems()
    if settings.runtime == "containerd":
        yield from _containerd_problems(settings.container_runtime_endpoint.removeprefix("unix://"))
    if settings.registry_mirror:
        # What asks the engine is loaded by those alone who have one.
        from services.standalone.mirror import mirror_problems

        yield from mirror_problems(settings)
    if settings.runtime != "hollow" and os.geteuid() != 0:
        yield "pods need root (networks, mounts); run with sudo, or use --runtime hollow to simulate them"
    if settings.datapath == "nftables":
        yield from nftables_problems()
    yield from disk_problems(settings)
    yield from restore_problems(settings)
    yield from file_problems(settings)
    yield from name_problems(settings)
    yield from size_problems(settings)
    yield from range_problems(settings)
    if shutil.which("ip") is not None:
        yield from read_route_problems(settings)
        yield from read_name_server_problems(settings)
    yield from port_problems(settings)


def disk_problems(settings: ClusterSettings) -> Iterator[str]:
    """etcd listens in the folder and takes much of it at once; a cluster in memory does neither."""
    etcd = settings.store != MEMORY
    if etcd and (problem := path_problem(settings.files.etcd)):
        yield problem
    root, fresh = settings.files.root, etcd and not has_state(settings.files.etcd)
    free = shutil.disk_usage(root).free if root.exists() else NEW_STORE_BYTES
    if free < (NEW_STORE_BYTES if fresh else LEAST_BYTES):
        needed = f"and a new cluster needs {NEW_STORE_BYTES >> 20}" if fresh else "and nothing can be written"
        yield f"the disk of {root} is full: {free >> 20} MiB are free, {needed}; make room there, or choose another --data-dir"


def nftables_problems() -> Iterator[str]:
    if shutil.which("nft", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
        yield "nftables is not installed; `apt-get install nftables`, or use --datapath userspace"
    if os.geteuid() != 0:
        yield "the nftables datapath needs root; run with sudo, or use --datapath userspace"


def range_problems(settings: ClusterSettings) -> Iterator[str]:
    service, cluster, pod = (IPv4Network(text) for text in (settings.service_cidr, settings.cluster_cidr, settings.pod_cidr))
    if settings.nodes > 1:
        yield from _company_problems(settings)
        cluster = IPv4Network(with_room(settings).cluster_cidr)
    if not pod.subnet_of(cluster):
        yield f"--pod-cidr {pod} lies outside --cluster-cidr {cluster}; choose a part of it"
    # A restored state comes without settings.
    if has_state(settings.files.etcd) and settings.files.settings.exists():
        kept = ClusterSettings.saved(settings.data_dir)
        for option, before, now, whose in (
            ("service-cidr", kept.service_cidr, settings.service_cidr, "this cluster's Services have"),
            ("pod-cidr", kept.pod_cidr, settings.pod_cidr, "this node's pods have"),
        ):
            if before != now:
                yield f"{whose} addresses in {before}; keep --{option} {before}, or begin anew with another --data-dir"
    ranges = {"service-cidr": service, "cluster-cidr": cluster, "load-balancer-pool": IPv4Network(settings.load_balancer_pool)}
    if settings.nodes > 1 and may_have_fellows(settings):
        ranges["node-cidr"] = IPv4Network(settings.node_cidr)
    for option, network in (*ranges.items(), ("pod-cidr", pod)):
        if network.is_loopback or network.is_multicast or network.is_link_local or network.overlaps(IPv4Network("0.0.0.0/8")):
            yield f"--{option} {network} has addresses that no machine routes; choose a private range, like 10.96.0.0/16"
    for (option, first), (other, second) in combinations(ranges.items(), 2):
        if first.overlaps(second):
            yield f"--{option} {first} overlaps --{other} {second}; choose ranges that do not meet"


def _company_problems(settings: ClusterSettings) -> Iterator[str]:
    """Of nodes beyond the first."""
    if settings.runtime == HOLLOW:
        return
    if not may_have_fellows(settings):
        chosen = f"{settings.runtime} and {settings.datapath}"
        yield (
            f"--nodes {settings.nodes} is for simulated nodes; give --runtime hollow with it, or --runtime docker and --datapath nftables"
            f" (not {chosen}), whose nodes run containers, or add machines (docs/compose.md)"
        )
        return
    if max(node_numbers(settings)) > most_fellows(settings):
        room = most_fellows(settings)
        yield f"--node-cidr {settings.node_cidr} has addresses for {room} nodes beside this machine's own; choose a larger range"
    if IPv4Address(node_address()).is_loopback:
        yield f"--nodes {settings.nodes} needs an address of this machine's that others reach; connect it to a network, or give --nodes 1"


def read_route_problems(settings: ClusterSettings) -> Iterator[str]:
    identity = settings.files.known_id()
    own = (bridge_name(identity), network_bridge(identity)) if identity else ()
    yield from route_problems(settings, _routes(), *own)


def read_name_server_problems(settings: ClusterSettings) -> Iterator[str]:
    # Nobody but root closes ranges.
    if os.geteuid() == 0:
        yield from name_server_problems(settings, name_servers(), _routes())


def _routes() -> list[dict[str, Any]]:
    """The machine's, as far as they are told."""
    listed = subprocess.run(["ip", "-json", "-4", "route"], capture_output=True, check=False)
    return list(json.loads(listed.stdout or b"[]")) if listed.returncode == 0 else []


def route_problems(settings: ClusterSettings, routes: Iterable[Mapping[str, Any]], *own_bridges: str) -> Iterator[str]:
    """Ranges into which the machine has routes of somebody else's already: packets to pods or Services would go there."""
    ranges = [("pod-cidr", settings.pod_cidr), ("service-cidr", settings.service_cidr)]
    if settings.nodes > 1 and may_have_fellows(settings):
        ranges.append(("node-cidr", settings.node_cidr))
    for route in routes:
        device = str(route.get("dev", ""))
        if route["dst"] == "default" or not device or device in own_bridges or route.get("protocol") in (OWN_PROTOCOL, POD_PROTOCOL):
            continue
        target = IPv4Network(route["dst"])
        for option, text in ranges:
            if target.subnet_of(IPv4Network(text)):
                yield f"--{option} {text} is in use on this machine: {target} lies at the interface {device}; choose another range"


def docker_problems() -> Iterator[str]:
    path = engine_url().removeprefix("unix://")
    if path.startswith("/"):
        closed = f"the Docker engine's socket {path} is closed to you; run with sudo, or join the group docker"
        away = f"no Docker engine answers at {path}; run `make install`, start it (`systemctl start docker`), or use --runtime hollow"
        yield from _socket_problems(path, closed, away)
    if engine_url() != DEFAULT_ENGINE:
        # Elsewhere it may be a user's own.
        from services.standalone.engine_info import engine_info, is_rootless

        if is_rootless(engine_info() or {}):
            yield ROOTLESS_WORDS.format(engine_url())


def _containerd_problems(path: str) -> Iterator[str]:
    closed = f"the container runtime's socket {path} is closed to you; run with sudo"
    away = f"no container runtime answers at {path}; install and start it (`systemctl start containerd`), or use another --runtime"
    yield from _socket_problems(path, closed, away)


def _socket_problems(path: str, closed: str, away: str) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except PermissionError:
            yield closed
        except OSError:
            yield away


def restore_problems(settings: ClusterSettings) -> Iterator[str]:
    """A restore that was cut off between its two renames has left no state, and a start would make an empty one."""
    present = settings.files.etcd / DATA
    kept = sorted(settings.files.etcd.glob(f"{DATA}.before-restore-*"))
    if kept and not present.exists():
        yield f"a restore was interrupted: give `knarr restore` again, or move {kept[-1]} back to {present}"


def file_problems(settings: ClusterSettings) -> Iterator[str]:
    """What reads these files is loaded by those alone who have them."""
    if file := settings.encryption_file:
        from services.apiserver.encryption.reading import encryption

        yield from _told("--encryption-provider-config", encryption, file)
    if file := path_of(settings.audit_policy_file):
        from services.apiserver.audit.reading import read_policy

        yield from _told("--audit-policy-file", read_policy, file)
    if file := path_of(settings.authentication_config):
        from services.apiserver.identity.configuration import read_authentication

        yield from _told("--authentication-config", read_authentication, file)
    if file := path_of(settings.authentication_token_webhook_config_file):
        from services.apiserver.webhooks.kubeconfig import read_remote

        yield from _told("--authentication-token-webhook-config-file", read_remote, file)
    if file := path_of(settings.authorization_config):
        from services.apiserver.authorizers.configuration import check_modes

        yield from _told("--authorization-config", check_modes, file)
        if settings.authorization_mode:
            yield "--authorization-mode: --authorization-config says who decides; give the other as '' to have this one hold"
    if file := path_of(settings.scheduler_config):
        from services.scheduler.configuration.reading import read_scheduler_configuration

        yield from _told("--scheduler-config", read_scheduler_configuration, file)
    if file := path_of(settings.hollow_faults):
        from services.kubelet.hollow_faults import read_faults

        yield from _told("--hollow-faults", read_faults, file)
        if settings.nodes < 2:
            yield "--hollow-faults is about simulated nodes; give --nodes with it, or the other as '' to have none"
    if settings.authorization_mode or settings.enable_admission_plugins or settings.disable_admission_plugins:
        yield from _part_problems(settings)


def _part_problems(settings: ClusterSettings) -> Iterator[str]:
    """Of the parts of the API server that options name."""
    from services.apiserver.named import authorization_modes, check_plugins, plugins

    on, off = settings.enable_admission_plugins, settings.disable_admission_plugins
    named = (
        ("--authorization-mode", authorization_modes, settings.authorization_mode),
        *((option, plugins, text) for option, text in (("--enable-admission-plugins", on), ("--disable-admission-plugins", off))),
    )
    for option, read, text in named:
        try:
            if text:
                read(text)
        except argparse.ArgumentTypeError as error:
            yield f"{option}: {error}"
    if settings.authorization_mode and not {"Node", "AlwaysAllow"} & set(settings.authorization_mode.split(",")):
        yield "--authorization-mode: without Node this node's kubelet may do nothing, and the cluster would never be ready"
    try:
        check_plugins(on.split(",") if on else (), off.split(",") if off else ())
    except CommandError as error:
        yield str(error)


def _told(option: str, read: Callable[[Path], object], file: Path) -> Iterator[str]:
    try:
        read(file)
    except CommandError as error:
        yield f"{option}: {error}"


def name_problems(settings: ClusterSettings) -> Iterator[str]:
    try:
        node_name(settings.node)
    except argparse.ArgumentTypeError as error:
        yield f"this machine's name cannot be the node's: {error}; give --node-name"


def size_problems(settings: ClusterSettings) -> Iterator[str]:
    """Simulated nodes may be larger than the machine."""
    if settings.runtime == HOLLOW or not (settings.node_cpu or settings.node_memory):
        return
    from services.kubelet.proc import meminfo
    from services.standalone.node_settings import node_size

    cpus, memory = os.cpu_count() or 1, meminfo()["MemTotal"]
    size = node_size(settings)
    if size.get("cpu", 0) > cpus * 1000:
        yield f"--node-cpu {settings.node_cpu} is more than this machine's {cpus} processors; give less, or '' for all of them"
    if size.get("memory", 0) > memory:
        yield f"--node-memory {settings.node_memory} is more than this machine's {memory >> 20}Mi; give less, or '' for all of it"


def port_problems(settings: ClusterSettings) -> Iterator[str]:
    taken: dict[int, str] = {0: ""}
    for field, sockets in endpoints(settings, node_address()):
        port, name = getattr(settings.ports, field), field.replace("_", "-")
        if (other := taken.setdefault(port, name)) not in ("", name):
            yield f"--{other}-port and --{name}-port are both {port}; choose different ones"
            continue
        if field in WITH_FIRST_ROUTE:
            # Of no use to most clusters, and often somebody else's: who makes an Ingress is told there.
            continue
        for address, kind in sockets:
            try:
                bound(address, port, kind).close()
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL and address == settings.rest_address:
                    yield f"--rest-address {address} is no address of this machine; `ip address` shows those it has"
                else:
                    yield f"port {port} ({name}) on {address} cannot be used: {error.strerror}; choose another with --{name}-port"
                break
