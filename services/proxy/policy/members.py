"""The sets of addresses that rights name: made when the first rights name them, kept current pod by pod, gone with the last."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

from knarr.machinery.selectors import Selector
from services.proxy.policy.facts import BlockPeer, Key, PodFacts, PodPeer
from services.proxy.policy.index import ANYWHERE, PodIndex, SelectorIndex
from services.proxy.policy.model import ElementEntry, Entry, Members, NamedPort, SetEntry, Value, set_name

EVERY_POD = PodPeer("", Selector(), Selector())


class MemberSets:
    """``set_entry`` notes what an entry is to be; None: it is to go."""

    def __init__(
        self, pods: PodIndex, namespaces: Mapping[str, Mapping[str, str]], set_entry: Callable[[Entry, Value | None], None]
    ) -> None:
        self._pods = pods
        self._namespaces = namespaces
        self._set = set_entry
        self._uses: Counter[Members] = Counter()
        self._picking: SelectorIndex[Members] = SelectorIndex()
        # Of each set, the pods that say an address is theirs; of each pod, where it is a member.
        self._held: dict[Members, dict[str, tuple[Key, ...]]] = {}
        self._member_of: dict[Key, dict[Members, str]] = defaultdict(dict)

    def use(self, members: Members) -> None:
        self._uses[members] += 1
        if self._uses[members] > 1:
            return
        self._set(SetEntry(set_name(members)), members)
        if isinstance(members, BlockPeer):
            return
        peer = _peer(members)
        self._held[members] = {}
        self._picking.add(members, *_place(peer))
        for pod in self._pods.matching(self._wanted(peer), peer.pods):
            if _has_port(members, pod):
                self._join(pod, members)

    def leave(self, members: Members) -> None:
        self._uses[members] -= 1
        if self._uses[members]:
            return
        del self._uses[members]
        name = set_name(members)
        if not isinstance(members, BlockPeer):
            peer = _peer(members)
            self._picking.remove(members, *_place(peer))
            for address, keys in self._held.pop(members).items():
                self._set(ElementEntry(name, (address,)), None)
                for key in keys:
                    self._forget(key, members)
        self._set(SetEntry(name), None)

    def pod_changed(self, old: PodFacts | None, new: PodFacts | None) -> None:
        """Takes one pod as it was and as it is."""
        key = (new or old).key  # type: ignore[union-attr]
        wanted = dict.fromkeys(self._memberships(new), new.address) if new is not None else {}
        had = self._member_of.get(key, {})
        for members, address in list(had.items()):
            if wanted.get(members) != address:
                self._part(key, members, address)
        for members in wanted:
            if new is not None and members not in self._member_of.get(key, {}):
                self._join(new, members)

    def namespace_changed(self, name: str) -> None:
        """Its labels have changed: its pods may be wanted by others now."""
        for pod in list(self._pods.within(name)):
            self.pod_changed(pod, pod)

    def wants(self, peer: PodPeer, namespace: str) -> bool:
        """Whether a peer's pods may be in a namespace."""
        if peer.namespaces is None:
            return namespace == peer.namespace
        labels = self._namespaces.get(namespace)
        return labels is not None and peer.namespaces.matches(labels)

    def _wanted(self, peer: PodPeer) -> Iterable[str]:
        return (peer.namespace,) if peer.namespaces is None else [name for name in self._namespaces if self.wants(peer, name)]

    def _memberships(self, pod: PodFacts) -> list[Members]:
        found = self._picking.matching(pod.namespace, pod.labels)
        return [members for members in found if self.wants(_peer(members), pod.namespace) and _has_port(members, pod)]

    def _join(self, pod: PodFacts, members: Members) -> None:
        self._member_of[pod.key][members] = pod.address
        held = self._held[members]
        held[pod.address] = (*held.get(pod.address, ()), pod.key)
        self._set(ElementEntry(set_name(members), (pod.address,)), "")

    def _part(self, key: Key, members: Members, address: str) -> None:
        held = self._held[members]
        held[address] = tuple(other for other in held[address] if other != key)
        if not held[address]:
            del held[address]
            self._set(ElementEntry(set_name(members), (address,)), None)
        self._forget(key, members)

    def _forget(self, key: Key, members: Members) -> None:
        found = self._member_of.get(key)
        if found is not None:
            found.pop(members, None)
            if not found:
                del self._member_of[key]


def _peer(members: Members) -> PodPeer:
    """Whom to ask first; a block's pods are known by their addresses only."""
    peer = members.peer if isinstance(members, NamedPort) else members
    return peer if isinstance(peer, PodPeer) else EVERY_POD


def _place(peer: PodPeer) -> tuple[str, Selector]:
    return (peer.namespace if peer.namespaces is None else ANYWHERE), peer.pods


def _has_port(members: Members, pod: PodFacts) -> bool:
    if not isinstance(members, NamedPort):
        return True
    inside = not isinstance(members.peer, BlockPeer) or pod.address in members.peer
    return inside and pod.ports.get((members.name, members.protocol)) == members.number
