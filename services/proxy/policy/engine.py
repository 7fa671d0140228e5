"""Policies, pods and namespaces → the ruleset of one node. Without I/O; no cost but for what a change concerns.

Facts are put in as they come; ``settle`` then looks at the pods they concern. Only pods of this node have rights here; sets of peers hold
those of all nodes. A set is there as long as somebody's rights name it, once for all who name the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from services.proxy.policy.facts import (
    DIRECTIONS,
    EGRESS,
    INGRESS,
    BlockPeer,
    DnsFacts,
    Key,
    Peer,
    PodFacts,
    PodPeer,
    PolicyFacts,
    Ports,
    Rule,
)
from services.proxy.policy.index import PodIndex, SelectorIndex
from services.proxy.policy.members import MemberSets
from services.proxy.policy.model import (
    DNS,
    KNOWN,
    MAPS,
    SELVES,
    UNKNOWN,
    ChainEntry,
    Drop,
    ElementEntry,
    Entry,
    Match,
    NamedPort,
    Rights,
    SetEntry,
    Value,
    always_there,
    set_name,
)


class PolicyEngine:
    """``node``: whose pods have rights here; empty: all pods are this node's. ``entries`` is the ruleset as of the last ``settle``."""

    def __init__(self, node: str = "") -> None:
        self._node = node
        self.pods = PodIndex()
        self.namespaces: dict[str, Mapping[str, str]] = {}
        self.policies: dict[Key, PolicyFacts] = {}
        self.dns: DnsFacts | None = None
        self.entries: dict[Entry, Value] = always_there()
        self._touched: set[Entry] = set(self.entries)
        self._selecting: SelectorIndex[Key] = SelectorIndex()
        self._sets = MemberSets(self.pods, self.namespaces, self._set)
        # Pods to look at; what each was given; who has which rights; which addresses are whose.
        self._dirty: set[Key] = set()
        self._given: dict[Key, dict[str, Rights]] = {}
        self._standing: dict[Key, str] = {}
        self._users: dict[Rights, set[Key]] = {}
        self._holders: dict[str, dict[Key, None]] = defaultdict(dict)
        self._numbers: dict[tuple[str, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self._by_port_name: dict[tuple[str, str], set[Key]] = defaultdict(set)

    def is_local(self, pod: PodFacts) -> bool:
        return not self._node or pod.node == self._node

    # What comes in.

    def put_pod(self, key: Key, pod: PodFacts | None) -> None:
        """A pod as it is now; None when it is gone or has no address of its own."""
        old = self.pods.get(key)
        if old == pod:
            return
        if old is not None:
            self._count_ports(old, -1)
            self.pods.remove(key)
        if pod is not None:
            self.pods.put(pod)
            self._count_ports(pod, 1)
        self._sets.pod_changed(old, pod)
        if key in self._standing or (pod is not None and self.is_local(pod)):
            self._dirty.add(key)

    def put_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        if self.namespaces.get(name) == labels:
            return
        if labels is None:
            del self.namespaces[name]
        else:
            self.namespaces[name] = dict(labels)
        self._sets.namespace_changed(name)
        if self.dns is not None and self.dns.namespace == name:
            self._dirty.update(self._standing)

    def put_policy(self, key: Key, policy: PolicyFacts | None) -> None:
        old = self.policies.pop(key, None)
        if policy is not None:
            self.policies[key] = policy
        if old == policy:
            return
        for found in (old, policy):
            if found is not None:
                self._dirty.update(pod.key for pod in self.pods.matching((found.namespace,), found.pods) if self.is_local(pod))
        if old is not None:
            self._selecting.remove(key, old.namespace, old.pods)
            for name in old.named_egress_ports:
                self._by_port_name[name].discard(key)
        if policy is not None:
            self._selecting.add(key, policy.namespace, policy.pods)
            for name in policy.named_egress_ports:
                self._by_port_name[name].add(key)
        self._set(ChainEntry(UNKNOWN), Drop(closed=bool(self.policies)))

    def put_dns(self, dns: DnsFacts | None) -> None:
        if dns == self.dns:
            return
        for address in self.dns.addresses if self.dns is not None else ():
            self._set(ElementEntry(DNS, (address,)), None)
        for address in dns.addresses if dns is not None else ():
            self._set(ElementEntry(DNS, (address,)), "")
        self.dns = dns
        self._dirty.update(self._standing)

    # What comes out.

    def settle(self) -> set[Entry]:
        """Brings ``entries`` to the facts; answers the entries that may differ from those of the last time."""
        dirty, self._dirty = self._dirty, set()
        held = {self._standing[key] for key in dirty if key in self._standing}
        gone: list[Rights] = []
        for key in sorted(dirty):
            pod = self.pods.get(key)
            local = pod is not None and self.is_local(pod)
            gone += self._give(
                key, pod.address if pod is not None and local else "", self._rights(pod) if pod is not None and local else {}
            )
        for address in held | {self._standing[key] for key in dirty if key in self._standing}:
            self._write(address)
        for rights in gone:
            self._withdraw(rights)
        touched, self._touched = self._touched, set()
        return touched

    def selecting(self, pod: PodFacts) -> list[PolicyFacts]:
        """The policies that select a pod, by name."""
        found = self._selecting.matching(pod.namespace, pod.labels, anywhere=False)
        return [self.policies[key] for key in sorted(found)]

    def policies_behind(self, entry: Entry) -> set[Key]:
        """The policies that an entry comes from: those that select a pod with such rights, or with rights that name such a set."""
        if isinstance(entry, ChainEntry):
            found = [rights for rights in self._users if rights.chain == entry.name]
        elif isinstance(entry, SetEntry):
            found = [
                rights
                for rights in self._users
                if any(match.peers is not None and set_name(match.peers) == entry.name for match in rights.matches)
            ]
        else:
            found = []
        concerned = {(key, rights.direction) for rights in found for key in self._users[rights]}
        return {
            policy.key
            for key, direction in concerned
            if (pod := self.pods.get(key)) is not None
            for policy in self.selecting(pod)
            if policy.rules(direction) is not None
        }

    def wants(self, peer: PodPeer, namespace: str) -> bool:
        """Whether a peer's pods may be in a namespace."""
        return self._sets.wants(peer, namespace)

    def pod_at(self, address: str) -> PodFacts | None:
        """The pod that has an address; of several that say so, the one that came last."""
        return self.pods.at(address)

    def _give(self, key: Key, address: str, rights: dict[str, Rights]) -> list[Rights]:
        """Notes what a pod may; answers the rights it had and has no more."""
        before = self._given.pop(key, {})
        old = self._standing.pop(key, "")
        if old and old != address:
            self._holders[old].pop(key, None)
        if address:
            self._given[key], self._standing[key] = rights, address
            self._holders[address].setdefault(key)
        for found in rights.values():
            if found not in self._users:
                self._users[found] = set()
                self._admit(found)
            self._users[found].add(key)
        lost = [found for direction, found in before.items() if rights.get(direction) != found]
        for found in lost:
            self._users[found].discard(key)
        return lost

    def _admit(self, rights: Rights) -> None:
        for match in rights.matches:
            if match.peers is not None:
                self._sets.use(match.peers)
        self._set(ChainEntry(rights.chain), rights)

    def _withdraw(self, rights: Rights) -> None:
        """Takes rights away that nobody has any more."""
        if self._users.get(rights, True):
            return
        del self._users[rights]
        self._set(ChainEntry(rights.chain), None)
        for match in rights.matches:
            if match.peers is not None:
                self._sets.leave(match.peers)

    def _write(self, address: str) -> None:
        """The elements of an address. Of two pods that say it is theirs, the one that came last is believed."""
        holders = self._holders.get(address)
        if not holders:
            self._holders.pop(address, None)
        given = self._given[next(reversed(holders))] if holders else {}
        self._set(ElementEntry(KNOWN, (address,)), "" if holders else None)
        self._set(ElementEntry(SELVES, (address, address)), "" if given else None)
        for direction in DIRECTIONS:
            self._set(ElementEntry(MAPS[direction], (address,)), given[direction].chain if direction in given else None)

    def _set(self, entry: Entry, value: Value | None) -> None:
        if self.entries.get(entry) == value:
            return
        self._touched.add(entry)
        if value is None:
            del self.entries[entry]
        else:
            self.entries[entry] = value

    # What a pod may.

    def _rights(self, pod: PodFacts) -> dict[str, Rights]:
        """A pod's rights by direction; a direction in which nothing selects the pod is missing: there all is allowed."""
        policies = self.selecting(pod)
        found: dict[str, Rights] = {}
        for direction in DIRECTIONS:
            rules = [rules for policy in policies if (rules := policy.rules(direction)) is not None]
            if rules:
                matches = {match for group in rules for rule in group for match in self._matches(pod, direction, rule)}
                found[direction] = Rights(direction, _sorted(matches))
        return found

    def _matches(self, pod: PodFacts, direction: str, rule: Rule) -> Iterator[Match]:
        peers: tuple[Peer | None, ...] = (None,) if rule.peers is None else rule.peers
        ports: tuple[Ports | None, ...] = (None,) if rule.ports is None else rule.ports
        for peer in peers:
            for port in ports:
                yield from self._match(pod, direction, peer, port)
                if direction == EGRESS and self.dns is not None and self.is_dns(peer, self.dns):
                    yield from _dns_match(self.dns, port)

    def _match(self, pod: PodFacts, direction: str, peer: Peer | None, port: Ports | None) -> Iterator[Match]:
        if isinstance(peer, BlockPeer) and not peer.ranges:
            return
        if port is None:
            yield Match(peer)
        elif not port.name:
            yield Match(peer, port.protocol, port.low, port.high)
        elif direction == INGRESS:
            number = pod.ports.get((port.name, port.protocol))
            if number is not None:
                yield Match(peer, port.protocol, number, number)
        else:
            # The name means whatever each peer's containers say; an address outside has no names.
            for number in sorted(self._numbers.get((port.name, port.protocol), ())):
                yield Match(NamedPort(peer, port.name, port.protocol, number), port.protocol, number, number)

    def is_dns(self, peer: Peer | None, dns: DnsFacts) -> bool:
        """Whether a peer of an egress rule is, among others, the cluster's DNS."""
        if peer is None:
            return True
        if isinstance(peer, BlockPeer):
            return any(address in peer for address in dns.addresses)
        return self._sets.wants(peer, dns.namespace) and peer.pods.matches(dns.labels)

    def _count_ports(self, pod: PodFacts, by: int) -> None:
        """Keeps which numbers a name stands for; a new or lost one concerns those whose egress names it."""
        for name, number in pod.ports.items():
            numbers = self._numbers[name]
            before = numbers[number]
            numbers[number] += by
            if not numbers[number]:
                del numbers[number]
            if (before == 0) != (before + by == 0):
                for key in self._by_port_name.get(name, ()):
                    policy = self.policies[key]
                    selected = self.pods.matching((policy.namespace,), policy.pods)
                    self._dirty.update(found.key for found in selected if self.is_local(found))
            if not numbers:
                del self._numbers[name]


def _dns_match(dns: DnsFacts, port: Ports | None) -> Iterator[Match]:
    if port is None:
        yield Match(dns=True)
    elif not port.name:
        yield Match(None, port.protocol, port.low, port.high, dns=True)
    elif (port.name, port.protocol) in dns.ports:
        number = dns.ports[port.name, port.protocol]
        yield Match(None, port.protocol, number, number, dns=True)


def _sorted(matches: Iterable[Match]) -> tuple[Match, ...]:
    """The matches in a fixed order; only the one that allows all, where there is one."""
    found = sorted(matches, key=lambda match: match.order)
    return (Match(),) if Match() in found else tuple(found)
