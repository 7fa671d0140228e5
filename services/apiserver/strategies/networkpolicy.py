"""The strategy of NetworkPolicies."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from datetime import datetime

from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Path,
    check_format,
    check_port_number,
    cidr,
    forbidden,
    invalid,
    not_supported,
    port_name,
    required,
)
from knarr.objects.int_or_string import is_text
from services.apiserver.strategies.addresses import range_warnings
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.scale import selector_text
from services.apiserver.strategies.selectors import validate_label_selector
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import NONE, age, columns

INGRESS, EGRESS = "Ingress", "Egress"
PROTOCOLS = ("SCTP", "TCP", "UDP")


class NetworkPolicyStrategy(Strategy):
    """A spec change makes a new generation. There is no status."""

    columns = columns("Name", "Pod-Selector", "Age")
    has_generation = True

    def default(self, obj: networking.NetworkPolicy) -> None:
        ports = [port for rule in obj.spec.ingress for port in rule.ports] + [port for rule in obj.spec.egress for port in rule.ports]
        for port in ports:
            if not port.HasField("protocol"):
                port.protocol = "TCP"
        if not obj.spec.policy_types:
            obj.spec.policy_types.extend([INGRESS, EGRESS] if obj.spec.egress else [INGRESS])

    def validate(self, obj: networking.NetworkPolicy) -> list[Cause]:
        spec = obj.spec
        causes = validate_label_selector(spec.pod_selector, SPEC.child("podSelector"))
        for index, ingress in enumerate(spec.ingress):
            here = SPEC.child("ingress").index(index)
            causes += _ports(ingress.ports, here) + _peers(ingress.from_peers, here.child("from"))
        for index, egress in enumerate(spec.egress):
            here = SPEC.child("egress").index(index)
            causes += _ports(egress.ports, here) + _peers(egress.to, here.child("to"))
        types = SPEC.child("policyTypes")
        if len(spec.policy_types) > 2:
            return [*causes, invalid(types, list(spec.policy_types), "may not specify more than two policyTypes")]
        for index, name in enumerate(spec.policy_types):
            if name not in (INGRESS, EGRESS):
                causes.append(not_supported(types.index(index), name, (EGRESS, INGRESS)))
        return causes

    def warnings(self, obj: networking.NetworkPolicy) -> list[str]:
        return [warning for text, path in _ranges(obj.spec) if not cidr(text) for warning in range_warnings(text, path)]

    def cells(self, obj: networking.NetworkPolicy, now: datetime) -> list[object]:
        return [obj.metadata.name, selector_text(obj.spec.pod_selector) or NONE, age(obj, now)]


def _ports(ports: Iterable[networking.NetworkPolicyPort], path: Path) -> list[Cause]:
    return [cause for index, port in enumerate(ports) for cause in _port(port, path.child("ports").index(index))]


def _port(port: networking.NetworkPolicyPort, path: Path) -> list[Cause]:
    wrong = port.HasField("protocol") and port.protocol not in PROTOCOLS
    causes = [not_supported(path.child("protocol"), port.protocol, PROTOCOLS)] if wrong else []
    end = path.child("endPort")
    if not port.HasField("port"):
        if port.HasField("end_port"):
            causes.append(invalid(end, port.end_port, "may not be specified when `port` is not specified"))
        return causes
    if is_text(port.port):
        if port.HasField("end_port"):
            causes.append(invalid(end, port.end_port, "may not be specified when `port` is non-numeric"))
        return causes + check_format(path.child("port"), port.port.str_val, port_name)
    number = port.port.int_val
    causes += check_port_number(path.child("port"), number)
    if port.HasField("end_port"):
        if port.end_port < number:
            causes.append(invalid(end, port.end_port, "must be greater than or equal to `port`"))
        causes += check_port_number(end, port.end_port)
    return causes


def _peers(peers: Iterable[networking.NetworkPolicyPeer], path: Path) -> list[Cause]:
    return [cause for index, peer in enumerate(peers) for cause in _peer(peer, path.index(index))]


def _peer(peer: networking.NetworkPolicyPeer, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    given = 0
    if peer.HasField("pod_selector"):
        given += 1
        causes += validate_label_selector(peer.pod_selector, path.child("podSelector"))
    if peer.HasField("namespace_selector"):
        given += 1
        causes += validate_label_selector(peer.namespace_selector, path.child("namespaceSelector"))
    if peer.HasField("ip_block"):
        causes += _ip_block(peer.ip_block, path.child("ipBlock"))
        if given:
            causes.append(forbidden(path, "may not specify both ipBlock and another peer"))
    elif not given:
        causes.append(required(path, "must specify a peer"))
    return causes


def _ranges(spec: networking.NetworkPolicySpec) -> Iterator[tuple[str, Path]]:
    """Each range of addresses, and where it stands."""
    incoming, outgoing = [rule.from_peers for rule in spec.ingress], [rule.to for rule in spec.egress]
    for name, here, rules in (("ingress", "from", incoming), ("egress", "to", outgoing)):
        for index, peers in enumerate(rules):
            for position, peer in enumerate(peers):
                path = SPEC.child(name).index(index).child(here).index(position).child("ipBlock")
                if peer.HasField("ip_block"):
                    yield peer.ip_block.cidr, path.child("cidr")
                    yield from ((text, path.child("except").index(at)) for at, text in enumerate(getattr(peer.ip_block, "except")))


def _ip_block(block: networking.IPBlock, path: Path) -> list[Cause]:
    """What can be read at all of a range is compared, however it is spelled."""
    if not block.cidr:
        return [required(path.child("cidr"))]
    causes = check_format(path.child("cidr"), block.cidr, cidr)
    whole = _network(block.cidr)
    if whole is None:
        return causes
    for index, text in enumerate(getattr(block, "except")):
        here = path.child("except").index(index)
        causes += check_format(here, text, cidr)
        part = _network(text)
        if part is not None and (part.version != whole.version or part.network_address not in whole or part.prefixlen <= whole.prefixlen):
            causes.append(invalid(here, text, "must be a strict subset of `cidr`"))
    return causes


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
