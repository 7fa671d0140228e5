"""What pods and policies say, freed of their wire form. Specified by Kubernetes' networking.k8s.io/v1 NetworkPolicy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, ip_network

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.machinery.errors import StatusError
from knarr.machinery.selectors import Selector, format_label_selector, label_selector
from knarr.objects.int_or_string import is_text
from knarr.objects.pods import is_finished, lasting_containers

Key = tuple[str, str]
INGRESS, EGRESS = "ingress", "egress"
DIRECTIONS = (INGRESS, EGRESS)
PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}
HIGHEST_PORT = 65535
# By which policies pick the cluster's DNS, as most of those that are published do.
DNS_LABEL = "k8s-app"


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod with an address of its own. ``ports``: its containers' named ports, (name, protocol) → number."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    address: str
    node: str = ""
    ports: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        return self.namespace, self.name


@dataclass(frozen=True, slots=True)
class PodPeer:
    """Pods by their labels, in one namespace or in those that ``namespaces`` picks."""

    namespace: str
    namespaces: Selector | None
    pods: Selector

    def __str__(self) -> str:
        where = self.namespace if self.namespaces is None else f"({_text(self.namespaces)})"
        return f"pods {where}/({_text(self.pods)})"


@dataclass(frozen=True, slots=True)
class BlockPeer:
    """Addresses from … to, both included, ascending and apart: a block without its exceptions."""

    ranges: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        return "block " + ",".join(f"{IPv4Address(low)}-{IPv4Address(high)}" for low, high in self.ranges)

    def __contains__(self, address: str) -> bool:
        number = int(IPv4Address(address))
        return any(low <= number <= high for low, high in self.ranges)


Peer = PodPeer | BlockPeer


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports ``low`` to ``high`` of a protocol, or the one that the destination calls ``name``."""

    protocol: str
    low: int = 1
    high: int = HIGHEST_PORT
    name: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """Any of the peers with any of the ports; None stands for all there are."""

    peers: tuple[Peer, ...] | None
    ports: tuple[Ports, ...] | None


@dataclass(frozen=True)
class PolicyFacts:
    """One policy. A direction that it does not govern is None. ``problems``: what of it cannot be enforced, in words."""

    namespace: str
    name: str
    pods: Selector
    ingress: tuple[Rule, ...] | None
    egress: tuple[Rule, ...] | None
    problems: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        return self.namespace, self.name

    def rules(self, direction: str) -> tuple[Rule, ...] | None:
        return self.ingress if direction == INGRESS else self.egress

    @cached_property
    def named_egress_ports(self) -> frozenset[tuple[str, str]]:
        """Names that the peers' containers give meaning to."""
        return frozenset((port.name, port.protocol) for rule in self.egress or () for port in rule.ports or () if port.name)


@dataclass(frozen=True, slots=True)
class DnsFacts:
    """The cluster's DNS as clients name it: policies see its Service as if it were a pod with the Service's labels and ports."""

    namespace: str
    labels: Mapping[str, str]
    addresses: tuple[str, ...]
    ports: Mapping[tuple[str, str], int]


def pod_facts(pod: core.Pod) -> PodFacts | None:
    """None while a pod has no address of its own: not yet, no more, or never (hostNetwork)."""
    status = pod.status
    if pod.spec.host_network or not is_ipv4(status.pod_ip) or is_finished(pod):
        return None
    ports: dict[tuple[str, str], int] = {}
    for container in lasting_containers(pod.spec):
        for port in container.ports:
            if port.name:
                ports.setdefault((port.name, PROTOCOLS.get(port.protocol or "TCP", "")), port.container_port)
    meta_ = pod.metadata
    return PodFacts(meta_.namespace, meta_.name, dict(meta_.labels), status.pod_ip, pod.spec.node_name, ports)


def dns_facts(service: core.Service | None) -> DnsFacts | None:
    """What is known of the Service that leads to the cluster's DNS; None where there is none."""
    if service is None:
        return None
    addresses = tuple(sorted(filter(is_ipv4, service.spec.cluster_ips or [service.spec.cluster_ip])))
    ports = {(port.name, PROTOCOLS.get(port.protocol or "TCP", "")): port.port for port in service.spec.ports}
    labels = {DNS_LABEL: service.metadata.name, **service.metadata.labels}
    return DnsFacts(service.metadata.namespace, labels, addresses, ports) if addresses else None


def policy_facts(policy: networking.NetworkPolicy) -> PolicyFacts:
    """A policy as stored: defaults filled in. What is malformed all the same admits nobody, and is named in ``problems``."""
    namespace, spec = policy.metadata.namespace, policy.spec
    problems: list[str] = []
    ingress = tuple(_rule(rule.from_peers, rule.ports, namespace, problems) for rule in spec.ingress)
    egress = tuple(_rule(rule.to, rule.ports, namespace, problems) for rule in spec.egress)
    try:
        pods = label_selector(spec.pod_selector)
    except StatusError as error:
        # Whom it was meant for is not known; nobody is left open.
        problems.append(f"podSelector: {error}; every pod of the namespace counts as selected")
        pods = Selector()
    return PolicyFacts(
        namespace,
        policy.metadata.name,
        pods,
        ingress if "Ingress" in spec.policy_types else None,
        egress if "Egress" in spec.policy_types else None,
        tuple(problems),
    )


def is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _rule(
    peers: Iterable[networking.NetworkPolicyPeer], ports: Iterable[networking.NetworkPolicyPort], namespace: str, problems: list[str]
) -> Rule:
    given, wanted = list(peers), list(ports)
    known = tuple(found for peer in given if (found := _peer(peer, namespace, problems)) is not None)
    return Rule(known if given else None, tuple(map(_ports, wanted)) if wanted else None)


def _peer(peer: networking.NetworkPolicyPeer, namespace: str, problems: list[str]) -> Peer | None:
    if peer.HasField("ip_block"):
        return _block(peer.ip_block, problems)
    try:
        namespaces = label_selector(peer.namespace_selector) if peer.HasField("namespace_selector") else None
        pods = label_selector(peer.pod_selector if peer.HasField("pod_selector") else meta.LabelSelector())
    except StatusError as error:
        problems.append(f"a peer's selector: {error}; it admits nobody")
        return None
    return PodPeer("" if namespaces is not None else namespace, namespaces, pods)


def _block(block: networking.IPBlock, problems: list[str]) -> BlockPeer | None:
    try:
        whole = ip_network(block.cidr, strict=False)
        exceptions = [ip_network(text, strict=False) for text in getattr(block, "except")]
    except ValueError as error:
        problems.append(f"an ipBlock: {error}; it admits nobody")
        return None
    if not isinstance(whole, IPv4Network):
        problems.append(f"ipBlock {block.cidr}: pods have IPv4 addresses only; it admits nobody")
        return None
    left = [(int(whole.network_address), int(whole.broadcast_address))]
    for exception in exceptions:
        if isinstance(exception, IPv4Network):
            left = _without(left, int(exception.network_address), int(exception.broadcast_address))
    return BlockPeer(tuple(left))


def _without(ranges: list[tuple[int, int]], low: int, high: int) -> list[tuple[int, int]]:
    found = []
    for first, last in ranges:
        if high < first or last < low:
            found.append((first, last))
            continue
        if first < low:
            found.append((first, low - 1))
        if high < last:
            found.append((high + 1, last))
    return found


def _ports(port: networking.NetworkPolicyPort) -> Ports:
    protocol = PROTOCOLS.get(port.protocol or "TCP", "")
    if not port.HasField("port"):
        return Ports(protocol)
    if is_text(port.port):
        return Ports(protocol, 0, 0, port.port.str_val)
    number = port.port.int_val
    return Ports(protocol, number, port.end_port if port.HasField("end_port") else number)


def _text(selector: Selector) -> str:
    """A text that is the same for the same requirements, whatever their order."""
    return format_label_selector(
        Selector(tuple(sorted(selector.requirements, key=lambda each: (each.key, each.operator, sorted(each.values)))))
    )
