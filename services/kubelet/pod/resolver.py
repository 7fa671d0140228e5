"""A pod's /etc/resolv.conf, by its dnsPolicy and dnsConfig. Pure but for `node_resolver`, which reads the node's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core

CLUSTER_FIRST, WITH_HOST_NET, DEFAULT, NONE = "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"
CLUSTER_OPTIONS = (("ndots", "5"),)
# What the C library reads, and what Kubernetes takes of search paths.
MAX_SERVERS = 3
MAX_SEARCHES, MAX_SEARCH_CHARACTERS, MAX_SEARCH_LENGTH = 32, 2048, 255
# systemd-resolved listens there, out of a pod's reach, and writes the servers it asks into a file of its own.
RESOLVED_STUBS = frozenset({"127.0.0.53", "127.0.0.54"})
RESOLVED_FILE = Path("/run/systemd/resolve/resolv.conf")


@dataclass(frozen=True, slots=True)
class Resolver:
    """The settings of a resolver. An option is a name with a value, which may be empty."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """As resolv.conf."""
        lines = [f"search {' '.join(self.searches)}"] if self.searches else []
        lines += [f"nameserver {server}" for server in self.servers]
        lines += ["options " + " ".join(f"{name}:{value}" if value else name for name, value in self.options)] if self.options else []
        return "".join(f"{line}\n" for line in lines)


def parse(text: str) -> Resolver:
    """Reads a resolv.conf; of several search lines the last counts."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[tuple[str, str]] = []
    for line in text.splitlines():
        word, *rest = line.partition("#")[0].partition(";")[0].split() or [""]
        if word == "nameserver":
            servers += rest[:1]
        elif word in ("search", "domain"):
            searches = [name.rstrip(".") or "." for name in rest]
        elif word == "options":
            options += [(name, value) for name, _, value in (option.partition(":") for option in rest)]
    return Resolver(tuple(servers), tuple(searches), tuple(options))


def node_resolver(path: Path, resolved: Path = RESOLVED_FILE) -> Resolver:
    """The node's own, from systemd-resolved's file where the first names only its stub; empty when there is none."""
    found = parse(_text(path))
    if found.servers and RESOLVED_STUBS.issuperset(found.servers):
        behind = parse(_text(resolved))
        return behind if behind.servers else found
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def resolver_of(pod: core.Pod, node: Resolver, cluster_dns: str, domain: str) -> tuple[Resolver, list[str]]:
    """A pod's settings, and in words what had to be left out of them."""
    policy = pod.spec.dns_policy or CLUSTER_FIRST
    if policy == CLUSTER_FIRST and pod.spec.host_network:
        policy = DEFAULT
    if policy in (CLUSTER_FIRST, WITH_HOST_NET) and cluster_dns:
        searches = (f"{pod.metadata.namespace}.svc.{domain}", f"svc.{domain}", domain, *node.searches)
        base = Resolver((cluster_dns,), searches, CLUSTER_OPTIONS)
    elif policy == NONE:
        base = Resolver()
    else:
        base = node if pod.spec.host_network else _reachable(node, cluster_dns)
    return _fitting(_merged(base, pod.spec.dns_config))


def _reachable(node: Resolver, cluster_dns: str) -> Resolver:
    """A server on the node's loopback cannot be reached from a pod's network; the cluster's DNS asks the same for it."""
    servers = tuple(server for server in node.servers if not _is_loopback(server))
    if not servers and cluster_dns:
        servers = (cluster_dns,)
    return replace(node, servers=servers or node.servers)


def _is_loopback(server: str) -> bool:
    try:
        return ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _merged(base: Resolver, config: core.PodDNSConfig) -> Resolver:
    """What the pod adds comes last, and its options count more."""
    options = dict(base.options) | {option.name: option.value for option in config.options}
    searches = (*base.searches, *(name.rstrip(".") or "." for name in config.searches))
    return Resolver(_once((*base.servers, *config.nameservers)), _once(searches), tuple(options.items()))


def _once(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _fitting(wanted: Resolver) -> tuple[Resolver, list[str]]:
    """Within the limits, with Kubernetes' words for what is beyond them."""
    servers = wanted.servers[:MAX_SERVERS]
    searches: list[str] = []
    for name in wanted.searches:
        characters = sum(map(len, searches)) + len(searches) + len(name)
        if len(searches) == MAX_SEARCHES or characters > MAX_SEARCH_CHARACTERS:
            break
        if len(name) <= MAX_SEARCH_LENGTH:
            searches.append(name)
    found = Resolver(servers, tuple(searches), wanted.options)
    words = []
    if found.servers != wanted.servers:
        line = " ".join(servers)
        words.append(f"Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {line}")
    if found.searches != wanted.searches:
        line = " ".join(searches)
        words.append(f"Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {line}")
    return found, words
