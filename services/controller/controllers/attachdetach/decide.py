"""What is to be attached to which node, and what is to be detached. Pure. Specified by Kubernetes' attach-detach controller.

A volume is attached to a node by a VolumeAttachment, which whoever speaks to the driver acts upon. It is wanted where a pod that has not
ended uses it. Where nobody wants it any more it is detached once its node has let go of it; a node that does not say so is waited for, as
long as it is healthy. Before a volume is detached its node is told that it is not there any more, so that no kubelet mounts it meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.objects.conditions import is_true
from knarr.objects.csi import attachment_name, source_of, volume_id
from knarr.objects.keys import is_deleting
from knarr.objects.nodes import is_taken_out
from knarr.objects.pods import container_statuses, is_finished

# How long a node that is not ready is waited for, before what it may still have mounted is detached all the same.
UNMOUNT_SECONDS = 6 * 60.0
# How long a driver may take to attach, before the pods that wait are told.
ATTACH_SECONDS = 120.0
# The modes of volumes that several nodes may have at once.
SHARED = frozenset({"ReadWriteMany", "ReadOnlyMany"})

FAILED, SUCCEEDED = "FailedAttachVolume", "SuccessfulAttachVolume"
ONE_NODE = "Volume is already exclusively attached to one node and can't be attached to another"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a decision about one volume needs to know.

    ``name`` is the volume's, and ``volume`` None where it is not there. ``users`` are by node the pods that want it there.
    ``attachments`` are all that name it. ``nodes`` are those of the users and the attachments, as far as they are there.
    ``unwanted_seconds``: since when nobody wants it, by node. ``attached_first``: whether its driver has volumes attached at all.
    """

    name: str
    volume: core.PersistentVolume | None
    users: Mapping[str, Sequence[core.Pod]]
    attachments: Sequence[storage.VolumeAttachment] = ()
    nodes: Mapping[str, core.Node] = field(default_factory=dict)
    unwanted_seconds: Mapping[str, float] = field(default_factory=dict)
    attached_first: bool = True


@dataclass(frozen=True, slots=True)
class Refusal:
    """Pods that wait for a volume, and why they get none: the words of their event."""

    pods: Sequence[core.Pod]
    words: str


@dataclass(frozen=True, slots=True)
class Decision:
    """``attach`` is to be created, ``detach`` to be deleted; ``untold`` are nodes that still say to have what is to be detached.

    ``unwanted``: nodes where nobody wants the volume. ``look_again_seconds``: when it may be decided otherwise by itself; None: never.
    """

    attach: Sequence[storage.VolumeAttachment] = ()
    detach: Sequence[storage.VolumeAttachment] = ()
    untold: Sequence[str] = ()
    refused: Sequence[Refusal] = ()
    unwanted: Collection[str] = ()
    look_again_seconds: float | None = None


def wants_its_volumes(pod: core.Pod) -> bool:
    """Whether a pod's volumes must be attached to its node: it has one, and something of it may run there."""
    if not pod.spec.node_name or is_finished(pod):
        return False
    return not is_deleting(pod) or _runs(pod)


def decide(facts: Facts) -> Decision:
    """What to do about a volume."""
    held = {found.spec.node_name: found for found in facts.attachments if _is_ours(found, facts.volume)}
    unwanted = [node for node in held if node not in facts.users]
    loose = [node for node in unwanted if not is_deleting(held[node]) and _is_let_go(facts, node)]
    untold = [node for node in loose if _says_to_have(facts, node)]
    waits = [left for node in unwanted if not is_deleting(held[node]) and node not in loose and (left := _left(facts, node)) > 0]
    attach, refused = _attach(facts, held)
    return Decision(
        attach=attach,
        detach=[held[node] for node in loose if node not in untold],
        untold=untold,
        refused=refused,
        unwanted=unwanted,
        look_again_seconds=min(waits, default=None),
    )


def volumes_attached(
    node: str, attachments: Iterable[storage.VolumeAttachment], facts_of: Mapping[str, Facts]
) -> list[core.AttachedVolume]:
    """What a node is told to have: all that is attached to it, but for what is to be detached. ``facts_of`` volumes, by their names."""
    return sorted(
        (
            core.AttachedVolume(name=volume_id(found.spec.attacher, _handle(facts.volume)))
            for found in attachments
            if (facts := facts_of.get(found.spec.source.persistent_volume_name)) is not None and _stays(found, node, facts)
        ),
        key=lambda one: one.name,
    )


def failure(volume: str, words: str) -> str:
    """As the event of a pod tells that its volume could not be attached."""
    return f'AttachVolume.Attach failed for volume "{volume}" : {words}'


def success(volume: str) -> str:
    return f'AttachVolume.Attach succeeded for volume "{volume}" '


def _runs(pod: core.Pod) -> bool:
    """Whether a container of a pod that is being deleted may run still."""
    statuses = container_statuses(pod.status)
    return any(not status.state.HasField("terminated") and not status.state.HasField("waiting") for status in statuses)


def _stays(found: storage.VolumeAttachment, node: str, facts: Facts) -> bool:
    if not found.status.attached or is_deleting(found) or not _is_ours(found, facts.volume):
        return False
    return node in facts.users or not _is_let_go(facts, node)


def _attach(facts: Facts, held: Mapping[str, storage.VolumeAttachment]) -> tuple[list[storage.VolumeAttachment], list[Refusal]]:
    volume, attach, refused = facts.volume, list[storage.VolumeAttachment](), list[Refusal]()
    if volume is None or source_of(volume) is None or not facts.attached_first or is_deleting(volume):
        return attach, refused
    taken = set(held)
    for node in sorted(facts.users, key=lambda name: _seniority(facts.users[name])):
        if node in held or node not in facts.nodes:
            continue
        others = taken - {node}
        if others and not SHARED & set(volume.spec.access_modes) and volume.spec.access_modes:
            # One that is on its way is not told of: the next look finds it gone.
            if not all(name in held and is_deleting(held[name]) for name in others):
                refused += _refusals(facts, node, others)
            continue
        taken.add(node)
        attach.append(_attachment(volume, node))
    return attach, refused


def _refusals(facts: Facts, node: str, others: Collection[str]) -> Iterator[Refusal]:
    """In whose words a pod is told depends on its namespace: it learns no names of other ones."""
    holders = [pod for name in sorted(others) for pod in facts.users.get(name, ())]
    for pod in facts.users[node]:
        near = sorted(held.metadata.name for held in holders if held.metadata.namespace == pod.metadata.namespace)
        far = len(holders) - len(near)
        if not holders:
            words = ONE_NODE
        elif near:
            words = f"Volume is already used by pod(s) {', '.join(near)}" + (f" and {far} pod(s) in different namespaces" if far else "")
        else:
            words = f"Volume is already used by {far} pod(s) in different namespaces"
        yield Refusal((pod,), f'Multi-Attach error for volume "{facts.name}" {words}')


def _attachment(volume: core.PersistentVolume, node: str) -> storage.VolumeAttachment:
    source = source_of(volume)
    assert source is not None
    made = storage.VolumeAttachment()
    made.metadata.name = attachment_name(source.volume_handle, source.driver, node)
    made.spec.attacher, made.spec.node_name = source.driver, node
    made.spec.source.persistent_volume_name = volume.metadata.name
    return made


def _is_ours(found: storage.VolumeAttachment, volume: core.PersistentVolume | None) -> bool:
    """Whether it is one of those that are made here; one that somebody made by hand, of another name, is left alone."""
    if volume is None:
        # What it was called by is gone with it.
        return found.metadata.name.startswith("csi-")
    source = source_of(volume)
    return source is not None and found.metadata.name == attachment_name(source.volume_handle, source.driver, found.spec.node_name)


def _is_let_go(facts: Facts, node: str) -> bool:
    """Whether a volume that nobody wants on a node can be detached: it is not mounted there, or that does not count any more."""
    there = facts.nodes.get(node)
    if there is None or is_taken_out(there) or not _is_mounted(facts, there):
        return True
    return not is_true(there.status, "Ready") and _left(facts, node) <= 0


def _left(facts: Facts, node: str) -> float:
    """How many seconds the node is waited for yet, if it is not healthy."""
    return UNMOUNT_SECONDS - facts.unwanted_seconds.get(node, 0.0)


def _is_mounted(facts: Facts, node: core.Node) -> bool:
    source = None if facts.volume is None else source_of(facts.volume)
    return source is not None and volume_id(source.driver, source.volume_handle) in node.status.volumes_in_use


def _says_to_have(facts: Facts, node: str) -> bool:
    there, source = facts.nodes.get(node), None if facts.volume is None else source_of(facts.volume)
    if there is None or source is None:
        return False
    return volume_id(source.driver, source.volume_handle) in {one.name for one in there.status.volumes_attached}


def _handle(volume: core.PersistentVolume | None) -> str:
    source = None if volume is None else source_of(volume)
    return "" if source is None else str(source.volume_handle)


def _seniority(pods: Sequence[core.Pod]) -> tuple[object, ...]:
    """Of several nodes that want one volume, the one of the oldest pod has it."""
    return min((pod.metadata.creation_timestamp.seconds, pod.metadata.namespace, pod.metadata.name) for pod in pods)
