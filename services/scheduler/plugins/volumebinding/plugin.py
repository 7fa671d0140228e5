"""A pod goes where its volumes can be used; claims that wait for it get theirs once it has a node.

A claim that is not bound and does not wait keeps its pod from every node. One that waits is given the smallest volume that suits it on a
node; where there is none, whoever makes volumes of its class is told the node. The pod is bound when all its claims are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.objects.binding import SELECTED_NODE, can_reach, claimed, is_fully_bound, is_taken, suiting_volumes
from knarr.objects.copies import copy_of
from services.scheduler.nodes import Mask, Nodes, Rows
from services.scheduler.parts import NODE_LABELS, NODE_NAME, Part, Subject
from services.scheduler.plugin import Change, Cluster, Impossible, Plugin, why_impossible
from services.scheduler.plugins.volumebinding.arguments import VolumeBindingArgs
from services.scheduler.plugins.volumebinding.claims import Claims, Unbound, claims_of
from services.scheduler.plugins.volumebinding.room import Room, has_room, room_for
from services.scheduler.pod_facts import PodFacts
from services.scheduler.preparation import Preparation, Spoiled
from services.scheduler.row_cache import RowCache
from services.scheduler.ruled import ToldTogether

CONFLICT = "node(s) didn't match PersistentVolume's node affinity"
NO_MATCH = "node(s) didn't find available persistent volumes to bind"
NO_ROOM = "node(s) did not have enough free storage"
NOT_THERE = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
FAILED = 'running PreBind plugin "VolumeBinding": binding volumes: '


@dataclass(frozen=True, slots=True)
class _Offer:
    """A claim that waits, and the ``volumes`` that it may have, the best first, wherever they are."""

    wanted: Unbound
    volumes: Sequence[core.PersistentVolume]
    # Where a new one could be made; None: anywhere.
    room: Room | None = None


@dataclass(slots=True)
class _Choice:
    """What the claims that wait get on a node."""

    volumes: list[tuple[core.PersistentVolumeClaim, core.PersistentVolume]] = field(default_factory=list)
    made: list[core.PersistentVolumeClaim] = field(default_factory=list)


class VolumeBinding(ToldTogether, Plugin):
    name: ClassVar[str] = "VolumeBinding"
    concerned_by: ClassVar[frozenset[str]] = frozenset({"claims"})
    reads: ClassVar[frozenset[Part]] = frozenset(
        {
            NODE_LABELS,
            NODE_NAME,
            Part(Subject.POD, "spec.volumes"),
            Part(Subject.CLAIM, "spec"),
            Part(Subject.CLAIM, "status.phase"),
            Part(Subject.CLAIM, "metadata.annotations"),
            Part(Subject.CLAIM, "metadata.deletionTimestamp"),
            Part(Subject.CLAIM, "metadata.ownerReferences"),
            Part(Subject.VOLUME, "spec"),
            Part(Subject.VOLUME, "status.phase"),
            Part(Subject.VOLUME, "metadata.labels"),
            Part(Subject.VOLUME, "metadata.annotations"),
            Part(Subject.VOLUME, "metadata.deletionTimestamp"),
            Part(Subject.STORAGE_CLASS, "provisioner"),
            Part(Subject.STORAGE_CLASS, "volumeBindingMode"),
            Part(Subject.STORAGE_CLASS, "allowedTopologies"),
            Part(Subject.CSI_DRIVER, "spec.storageCapacity"),
            Part(Subject.STORAGE_CAPACITY, "storageClassName"),
            Part(Subject.STORAGE_CAPACITY, "nodeTopology"),
            Part(Subject.STORAGE_CAPACITY, "capacity"),
            Part(Subject.STORAGE_CAPACITY, "maximumVolumeSize"),
        }
    )

    Args: ClassVar[type[Any] | None] = VolumeBindingArgs

    def __init__(self, cluster: Cluster, args: VolumeBindingArgs | None = None) -> None:
        super().__init__(cluster)
        self._seconds = (args or VolumeBindingArgs()).bind_timeout_seconds
        self._reached = RowCache(self.reads, can_reach, np.bool_)
        self._allowed = RowCache(self.reads, _is_allowed, np.bool_)
        self._roomy = RowCache(self.reads, has_room, np.bool_)

    def impossible(self, pod: PodFacts) -> str:
        return why_impossible(lambda: claims_of(pod, self.cluster))

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        if not pod.claims:
            return None
        try:
            claims = claims_of(pod, self.cluster)
        except Impossible:
            return np.zeros(nodes.size, np.bool_)
        mask = self._reach_bound(claims, nodes)
        return self._narrowed(mask, claims.unbound, nodes) if claims.unbound else mask

    def mends(self, pod: PodFacts, nodes: Nodes, change: Change) -> bool:
        if change.row is not None:
            return self.accepts(pod, nodes, change.row)
        claim = change.new if change.new is not None else change.old
        if isinstance(claim, core.PersistentVolumeClaim):
            return change.new is not None and claim.metadata.namespace == pod.key.namespace and claim.metadata.name in pod.claims
        return True

    def all_reasons(self, pod: PodFacts, nodes: Nodes, rows: Rows) -> Iterable[list[str]]:
        try:
            claims = claims_of(pod, self.cluster)
        except Impossible as error:
            return [[str(error)] for _ in rows]
        found = [volume for claim in claims.bound if (volume := self._volume(claim)) is not None]
        if len(found) < len(claims.bound):
            return [[NOT_THERE] for _ in rows]
        offers = self._offers(claims.unbound)
        return [_misses(found, offers, nodes.node(int(row))) for row in rows]

    def prepare(self, pod: PodFacts, node: core.Node) -> Preparation | None:
        if not pod.claims:
            return None
        claims = claims_of(pod, self.cluster)
        choice = _choose(self._offers(claims.unbound), node) if claims.unbound else None
        return None if choice is None else _Binding(self.cluster, node, choice, self._seconds)

    def _volume(self, claim: core.PersistentVolumeClaim) -> core.PersistentVolume | None:
        return self.cluster.get(core.PersistentVolume, "", claim.spec.volume_name)

    def _reach_bound(self, claims: Claims, nodes: Nodes) -> Mask:
        """From where the volumes that the claims have can be used."""
        mask = np.ones(nodes.size, np.bool_)
        for claim in claims.bound:
            volume = self._volume(claim)
            if volume is None:
                mask[:] = False
            elif volume.spec.node_affinity.HasField("required"):
                key = volume.spec.node_affinity.SerializeToString(deterministic=True)
                mask &= self._reached.get(nodes, key, volume)
        return mask

    def _narrowed(self, mask: Mask, unbound: Sequence[Unbound], nodes: Nodes) -> Mask:
        """Without the rows where a claim that waits would get nothing. Nodes are looked at one by one only where some volume may suit."""
        offers = self._offers(unbound)
        if not any(offer.volumes for offer in offers):
            for offer in offers:
                mask &= self._where_made(offer.wanted, offer.room, nodes)
            return mask
        for row in np.flatnonzero(nodes.alive[: nodes.size] & mask):
            mask[row] = _choose(offers, nodes.node(int(row))) is not None
        return mask

    def _where_made(self, wanted: Unbound, room: Room | None, nodes: Nodes) -> Mask:
        """For which nodes a volume is made for a claim."""
        terms = wanted.found.allowed_topologies
        key = b"\0".join(term.SerializeToString(deterministic=True) for term in terms)
        mask = self._allowed.get(nodes, key, wanted.found) if terms else np.ones(nodes.size, np.bool_)
        if not wanted.is_provisioned:
            return np.zeros(nodes.size, np.bool_)
        if not wanted.node:
            return mask if room is None else mask & self._roomy.get(nodes, room.key, room)
        only = np.zeros(nodes.size, np.bool_)
        if wanted.node in nodes.rows:
            only[nodes.rows[wanted.node]] = True
        return mask & only

    def _offers(self, unbound: Sequence[Unbound]) -> list[_Offer]:
        """Looks at all volumes once, however many nodes there are."""
        volumes = self.cluster.list(core.PersistentVolume) if unbound else ()
        return [
            _Offer(wanted, (), None)
            if wanted.node
            else _Offer(wanted, suiting_volumes(wanted.claim, volumes), room_for(wanted, self.cluster))
            for wanted in unbound
        ]


class _Binding(Preparation):
    """Volumes are kept for their claims, and claims are told the node; it is done when all are bound."""

    timed_out = f"{FAILED}timed out waiting for the condition"

    def __init__(self, cluster: Cluster, node: core.Node, choice: _Choice, seconds: float) -> None:
        self._cluster, self._node = cluster, node
        self.seconds = seconds
        self._claims = [*(claim for claim, _ in choice.volumes), *choice.made]
        self._told = {claim.metadata.uid for claim in choice.made}
        self._kept = {claim.metadata.uid: volume.metadata.name for claim, volume in choice.volumes}
        kept = [changed for claim, volume in choice.volumes if (changed := claimed(volume, claim)) is not None]
        self.writes: Sequence[Message] = (*kept, *(made for claim in choice.made if (made := self._telling(claim)) is not None))

    def is_done(self) -> bool:
        return all(self._is_bound(claim) for claim in self._claims)

    def _telling(self, claim: core.PersistentVolumeClaim) -> core.PersistentVolumeClaim | None:
        name = self._node.metadata.name
        if claim.metadata.annotations.get(SELECTED_NODE) == name:
            return None
        told = copy_of(claim)
        told.metadata.annotations[SELECTED_NODE] = name
        return told

    def _is_bound(self, wanted: core.PersistentVolumeClaim) -> bool:
        name = wanted.metadata.name
        claim = self._cluster.get(core.PersistentVolumeClaim, wanted.metadata.namespace, name)
        if claim is None or claim.metadata.uid != wanted.metadata.uid:
            raise Spoiled(f'{FAILED}persistentvolumeclaim "{name}" not found')
        if is_fully_bound(claim):
            volume = self._cluster.get(core.PersistentVolume, "", claim.spec.volume_name)
            if volume is not None and not can_reach(volume, self._node):
                raise Spoiled(f'{FAILED}pv "{volume.metadata.name}" node affinity doesn\'t match node "{self._node.metadata.name}"')
            return volume is not None
        if (name := self._kept.get(wanted.metadata.uid, "")) and self._is_lost(name, claim):
            raise Spoiled(f'{FAILED}pv "{name}" is gone, or another claim\'s')
        if wanted.metadata.uid in self._told and claim.metadata.annotations.get(SELECTED_NODE) != self._node.metadata.name:
            raise Spoiled(f'{FAILED}selectedNode annotation reset for PVC "{claim.metadata.name}"')
        return False

    def _is_lost(self, name: str, claim: core.PersistentVolumeClaim) -> bool:
        """Whether the volume that was kept for a claim cannot become its own any more."""
        volume = self._cluster.get(core.PersistentVolume, "", name)
        return volume is None or is_taken(volume, claim)


def _choose(offers: Iterable[_Offer], node: core.Node) -> _Choice | None:
    """None where a claim would get nothing on the node."""
    choice, taken = _Choice(), set[str]()
    for offer in offers:
        wanted = offer.wanted
        if wanted.node and wanted.node != node.metadata.name:
            return None
        volume = next((found for found in offer.volumes if found.metadata.name not in taken and can_reach(found, node)), None)
        if volume is not None:
            taken.add(volume.metadata.name)
            choice.volumes.append((wanted.claim, volume))
        elif wanted.is_provisioned and _is_allowed(wanted.found, node) and (offer.room is None or has_room(offer.room, node)):
            choice.made.append(wanted.claim)
        else:
            return None
    return choice


def _misses(bound: Iterable[core.PersistentVolume], offers: Sequence[_Offer], node: core.Node) -> list[str]:
    """What keeps a pod from a node: the volumes that its claims have, or those that they would get."""
    words = [] if all(can_reach(volume, node) for volume in bound) else [CONFLICT]
    if _choose(offers, node) is not None:
        return words
    anywhere = [replace(offer, room=None) for offer in offers]
    return [*words, NO_MATCH if _choose(anywhere, node) is None else NO_ROOM]


def _is_allowed(found: storage.StorageClass, node: core.Node) -> bool:
    """Whether volumes of a class may be made for a node; a class that says nothing means all of them."""
    labels, terms = node.metadata.labels, found.allowed_topologies
    return not terms or any(all(labels.get(rule.key) in rule.values for rule in term.match_label_expressions) for term in terms)
