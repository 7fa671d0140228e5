"""What a person may choose about a one-machine cluster.

Each choice is written once, as a field that carries its type, its words and its unit: the options of ``knarr up`` and of the process
that it starts, and the check of ``settings.json``, are made from the fields.
"""

from __future__ import annotations

import argparse
import dataclasses
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import orjson

from knarr.objects.hollow import MOST_NODES
from knarr.service.errors import CommandError
from knarr.service.files import PRIVATE, write_whole
from knarr.service.options import (
    MAX_PORT,
    cidr,
    cidr_for,
    domain,
    ipv4,
    number,
    one_of,
    optional_amount,
    optional_drivers,
    optional_ipv4,
    optional_log,
    optional_mirror,
    optional_names,
    optional_node_name,
    optional_path,
    port,
    unix_endpoint,
)
from services.kubelet.settings import CONTAINERD
from services.standalone.files import Files

DEFAULT_DATA_DIR = Path(".knarr")
MEMORY = "memory"
# How an amount of a resource is asked for, which a file may also write as a number.
AMOUNT = "AMOUNT"
# Fields that came after version 0.1: files from before lack them, and the default holds.
LATER = frozenset(
    {
        "absent_nodes",
        "addons",
        "audit_log_path",
        "audit_policy_file",
        "authentication_config",
        "authentication_token_webhook_config_file",
        "authorization_config",
        "authorization_mode",
        "container_runtime_endpoint",
        "csi_driver",
        "disable_admission_plugins",
        "enable_admission_plugins",
        "encryption_provider_config",
        "gateway",
        "gateway_api",
        "gateway_http",
        "gateway_https",
        "hollow",
        "hollow_faults",
        "kubelet_options",
        "mutual",
        "node_cidr",
        "node_cpu",
        "node_memory",
        "nodes",
        "registry_mirror",
        "rest_address",
        "scheduler_config",
        "stopped_nodes",
        "store",
    }
)


@dataclass(frozen=True, slots=True)
class Choice:
    """How a field is given on a command line."""

    parse: Callable[[str], Any]
    # For a person; empty: there is no option for it.
    help: str = ""
    metavar: str = ""
    # All that it may be, where that is a list.
    among: tuple[str, ...] = ()


def path_of(text: str) -> Path | None:
    """What an ``optional_path`` names."""
    return Path(text) if text else None


def chosen(default: Any, parse: Callable[[str], Any], text: str = "", metavar: str = "") -> Any:
    """A field with a Choice. ``parse`` turns text into a value, or raises ArgumentTypeError saying how it should look."""
    return dataclasses.field(default=default, metadata={"choice": Choice(parse, text, metavar)})


def choice_of(field: dataclasses.Field[Any]) -> Choice:
    choice: Choice = field.metadata["choice"]
    return choice


def _kubelet_options(text: str) -> str:
    """Flags of the kubelet's own, which alone knows what they may be."""
    if text := text.strip():
        # They bring the contracts along, for which nobody waits who gives none.
        from services.kubelet.node_flags import node_settings_of

        try:
            node_settings_of(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _numbers(text: str) -> str:
    """Numbers of nodes, in their order, with commas between them; or nothing."""
    found = text.split(",") if text else []
    if not all(one.isascii() and one.isdecimal() and 0 < int(one) <= MOST_NODES for one in found):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of nodes' numbers like 1,3")
    return ",".join(map(str, sorted(set(map(int, found)))))


def _one(default: str, *others: str, text: str) -> Any:
    among = (default, *others)
    return dataclasses.field(default=default, metadata={"choice": Choice(one_of(*among), text, "|".join(among), among)})


def _port(default: int, text: str) -> Any:
    return chosen(default, port, f"TCP port of {text}; 0 lets the system choose", "PORT")


# Ports that came later, and behind which part's they lie.
BESIDE = {"mutual": "apiserver", "gateway": "dns"}


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports; 0 lets the system choose."""

    rest: int = _port(6443, "the Kubernetes REST API")
    apiserver: int = _port(6444, "the API server's gRPC service")
    mutual: int = _port(6445, "the same for callers that show a client certificate, beside that one unless given")
    kubelet: int = _port(10250, "the kubelet's gRPC service and its HTTPS")
    proxy: int = _port(10256, "the proxy's gRPC service")
    controller: int = _port(10257, "the controller manager's gRPC service")
    scheduler: int = _port(10259, "the scheduler's gRPC service")
    dns: int = _port(10253, "the DNS component's gRPC service")
    cloud: int = _port(10258, "the cloud controller manager's gRPC service")
    nameserver: int = chosen(10053, port, "port of the cluster's DNS, UDP and TCP, on the node's address; 0 lets the system choose", "PORT")
    gateway: int = _port(10254, "the gateway's gRPC service")
    gateway_http: int = chosen(
        80, port, "opened for port 80 of Ingresses and Gateways, once there is one; 0 lets the system choose", "PORT"
    )
    gateway_https: int = chosen(443, port, "the same for port 443", "PORT")
    hollow: int = _port(0, "the gRPC service of the simulated nodes that --nodes adds")

    def moved(self, **given: int) -> Ports:
        """These with others in their places. Those of BESIDE go where the part goes that they lie behind, unless they are given, or were
        chosen: who moves all the ports that he knows out of another cluster's way means those too that came later."""
        ports = dataclasses.replace(self, **given)
        for name, known in BESIDE.items():
            if name not in given and getattr(self, name) == self._beside(name, known):
                ports = dataclasses.replace(ports, **{name: ports._beside(name, known)})
        return ports

    def _beside(self, name: str, known: str) -> int:
        """The first port behind another part's that no other part has; 0 where there is none, or the system chooses that one too."""
        others = {value for each, value in asdict(self).items() if each != name}
        first = getattr(self, known)
        behind = range(first + 1, MAX_PORT + 1) if first else ()
        return next((found for found in behind if found not in others), 0)


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """One cluster in one process."""

    data_dir: Path = DEFAULT_DATA_DIR
    store: str = _one("etcd", MEMORY, text="what keeps the objects: etcd, or this process's memory, with which they end")
    runtime: str = _one("docker", "containerd", "hollow", text="what runs containers, or simulates them")
    container_runtime_endpoint: str = chosen(
        CONTAINERD, unix_endpoint, "where containerd, or another engine that speaks CRI, listens, with --runtime containerd", "unix:///PATH"
    )
    datapath: str = _one("nftables", "userspace", text="how Services are load-balanced: by the kernel, or by a relay")
    # Where the API server and the components listen.
    listen_address: str = chosen("127.0.0.1", ipv4)
    rest_address: str = chosen(
        "", optional_ipv4, "one more address for the Kubernetes REST API, besides the loopback and the node's own; 0.0.0.0: all", "ADDRESS"
    )
    ports: Ports = Ports()
    nodes: int = chosen(
        1,
        number(1, MOST_NODES),
        "how many nodes there are; those beyond the first share the machine and its Docker engine, or are simulated with --runtime hollow",
        "NUMBER",
    )
    node_cpu: str = chosen(
        "",
        optional_amount("10m", "pods need some"),
        "how many processors each node has for itself and its pods, like 2 or 500m; empty: all of the machine's",
        AMOUNT,
    )
    node_memory: str = chosen(
        "",
        optional_amount("256Mi", "100Mi of it stay free"),
        "how much memory each node has, like 4Gi; empty: all of the machine's",
        AMOUNT,
    )
    # The numbers of nodes beyond the first that were removed below the highest that is left.
    absent_nodes: str = chosen("", _numbers)
    # The numbers of nodes beyond the first that are switched off.
    stopped_nodes: str = chosen("", _numbers)
    hollow_faults: str = chosen(
        "", optional_path, "a file of HollowFaults: what befalls the nodes that --nodes adds, and when; empty: nothing", "FILE"
    )
    node_name: str = chosen("", optional_node_name, "the node's name (default: the machine's)", "NAME")
    # The first is the API's, the tenth the nameserver's.
    service_cidr: str = chosen("10.96.0.0/16", cidr_for("Services", 28), "addresses of Services", "CIDR")
    cluster_cidr: str = chosen("10.244.0.0/16", cidr_for("pods", 29), "addresses of all pods", "CIDR")
    pod_cidr: str = chosen("10.244.0.0/24", cidr_for("pods", 29), "the part of them that is this node's", "CIDR")
    load_balancer_pool: str = chosen("10.97.0.0/24", cidr, "addresses of Services of type LoadBalancer", "CIDR")
    node_cidr: str = chosen(
        "10.97.1.0/24",
        cidr_for("nodes", 29),
        "addresses of the nodes that --nodes adds to this machine's own, unless they are simulated",
        "CIDR",
    )
    cluster_domain: str = chosen("cluster.local", domain, "the ending of all names in the cluster", "DOMAIN")
    gateway_api: str = _one("off", "on", text="whether the kinds of Gateway API are made, with a class of Knarr's own")
    addons: str = chosen(
        "", optional_names, "add-ons to turn on once the cluster is ready, as `knarr addon list` names them; empty: none", "NAME,..."
    )
    # The range of node ports, both ends included.
    node_ports: tuple[int, int] = (30000, 32767)
    encryption_provider_config: str = chosen(
        "", optional_path, "an EncryptionConfiguration: what is encrypted in etcd, and how; empty: nothing", "FILE"
    )
    audit_policy_file: str = chosen(
        "",
        optional_path,
        "a Policy of audit.k8s.io/v1: what the audit log keeps; empty: changes, and looks at secrets",
        "FILE",
    )
    audit_log_path: str = chosen(
        "",
        optional_log,
        "where the audit log is kept; -: standard output, none: nowhere; empty: audit.log in the data directory",
        "FILE",
    )
    authentication_config: str = chosen(
        "", optional_path, "an AuthenticationConfiguration: issuers of tokens (OIDC), and what they say of users; empty: none", "FILE"
    )
    authentication_token_webhook_config_file: str = chosen(
        "", optional_path, "a kubeconfig that names a webhook which knows tokens; empty: none", "FILE"
    )
    authorization_config: str = chosen(
        "", optional_path, "an AuthorizationConfiguration: who decides what callers may do, webhooks among them; empty: Node, RBAC", "FILE"
    )
    authorization_mode: str = chosen(
        "", optional_names, "who decides what callers may do, one after the other, where no file says so; empty: Node,RBAC", "MODE,..."
    )
    enable_admission_plugins: str = chosen(
        "", optional_names, "admission plugins to turn on besides those that are on; empty: none", "NAME,..."
    )
    csi_driver: str = chosen(
        "",
        optional_drivers,
        "drivers of volumes that the controller manager asks to make, attach and grow them, and where each listens, for drivers that bring"
        " no controllers of their own; empty: none",
        "NAME=unix:///PATH,...",
    )
    disable_admission_plugins: str = chosen("", optional_names, "admission plugins to turn off; empty: none", "NAME,...")
    scheduler_config: str = chosen(
        "",
        optional_path,
        "a KubeSchedulerConfiguration: the scheduler's profiles, plugins, extenders; empty: Kubernetes' defaults",
        "FILE",
    )
    kubelet_options: str = chosen(
        "",
        _kubelet_options,
        "options of the kubelet about pods that the node runs by itself, resources, eviction and images, as `python -m services.kubelet"
        " --help` names them; empty: its defaults",
        '"--NAME=VALUE ..."',
    )
    registry_mirror: str = chosen(
        "", optional_mirror, "a mirror of docker.io that the node asks first for images that need no login; empty: none", "URL"
    )
    log_style: str = _one("text", "json", text="how the log is written")
    log_level: str = _one("info", "debug", "warning", "error", text="the least important messages that are logged")

    @property
    def node(self) -> str:
        """The node's name: as chosen, or the machine's."""
        return self.node_name or socket.gethostname().lower()

    @property
    def nameserver_address(self) -> str:
        """The Service address of the cluster's DNS: the tenth, as Kubernetes' installers choose it."""
        return str(IPv4Network(self.service_cidr)[10])

    @property
    def encryption_file(self) -> Path | None:
        return path_of(self.encryption_provider_config)

    @property
    def files(self) -> Files:
        return Files(self.data_dir.absolute())

    def save(self) -> None:
        """Keeps what was chosen with the cluster: its next start chooses the same, its removal knows what to remove."""
        write_whole(self.files.settings, orjson.dumps(self.as_dict(), option=orjson.OPT_INDENT_2), mode=PRIVATE)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the place where it is kept."""
        return {name: value for name, value in asdict(self).items() if name != "data_dir"}

    @classmethod
    def of(cls, data_dir: Path, values: dict[str, Any]) -> ClusterSettings:
        """Those of which ``as_dict`` told, written as JSON meanwhile or not. Raises CommandError."""
        found, complaints = _read(values)
        if complaints:
            raise CommandError("; ".join(complaints))
        return cls(data_dir=data_dir, **found)

    @classmethod
    def saved(cls, data_dir: Path) -> ClusterSettings:
        """What was chosen last in a data directory; the defaults in a new one. CommandError names each field that is no good."""
        settings, complaint = cls.salvaged(data_dir)
        if complaint:
            raise CommandError(complaint)
        return settings

    @classmethod
    def salvaged(cls, data_dir: Path) -> tuple[ClusterSettings, str]:
        """As ``saved``, with the default for each field that is no good, and a line about them; empty when all are good."""
        path = Files(data_dir.absolute()).settings
        way_out = f"mend {path}, or remove it and give `knarr up` the options again"
        try:
            kept = orjson.loads(path.read_bytes())
        except FileNotFoundError:
            return cls(data_dir=data_dir), ""
        except orjson.JSONDecodeError as error:
            return cls(data_dir=data_dir), f"{path} is not JSON ({error}); {way_out}"
        if not isinstance(kept, dict):
            return cls(data_dir=data_dir), f"{path} is not a JSON object; {way_out}"
        values, complaints = _read(kept)
        return cls(data_dir=data_dir, **values), f"{path}: {'; '.join(complaints)}; {way_out}" if complaints else ""


def _read(kept: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The good fields of a settings file, and what is wrong with the others."""
    values, complaints = _fields(ClusterSettings, kept, frozenset({"data_dir", "ports", "node_ports"}))
    ports = kept.get("ports")
    if not isinstance(ports, dict):
        complaints.append("ports is no object" if "ports" in kept else "ports is missing")
    else:
        good, bad = _fields(Ports, ports, frozenset())
        values["ports"] = Ports().moved(**good)
        complaints += [f"ports.{complaint}" for complaint in bad]
    match kept.get("node_ports"):
        case [first, last] if type(first) is type(last) is int and 0 < first <= last <= MAX_PORT:
            values["node_ports"] = (first, last)
        case None:
            complaints.append("node_ports is missing")
        case found:
            complaints.append(f"node_ports: {_shown(found)} is not the first and the last port of a range")
    return values, complaints


def _fields(kind: type[Any], kept: dict[str, Any], apart: frozenset[str]) -> tuple[dict[str, Any], list[str]]:
    """The good fields of one object, but those that are looked at apart, and what is wrong with the others."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    complaints = [f"{name} is not known to this version of Knarr" for name in kept if name not in fields or name == "data_dir"]
    values = {}
    for name, field in fields.items():
        if name in apart:
            continue
        if name not in kept:
            if name not in LATER:
                complaints.append(f"{name} is missing")
        elif complaint := next(_complaints(field, kept[name]), ""):
            complaints.append(f"{name}: {complaint}")
        else:
            values[name] = kept[name]
    return values, complaints


def _complaints(field: dataclasses.Field[Any], value: Any) -> Iterator[str]:
    if type(value) is not type(field.default):
        yield f"{_shown(value)} is no {'number' if isinstance(field.default, int) else 'text'}"
        return
    try:
        if choice_of(field).parse(str(value)) != value:
            yield f"{_shown(value)} is written otherwise: {_shown(choice_of(field).parse(str(value)))}"
    except argparse.ArgumentTypeError as error:
        yield str(error)


def _shown(value: Any) -> str:
    return orjson.dumps(value).decode()
