"""What the rules about other pods see of a pod. Pods that are alike are counted together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakValueDictionary

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.keys import is_deleting
from knarr.objects.owners import controller_of
from services.scheduler.terms import Terms, terms_of, text_of

# Controllers whose pods are equals of one another.
REPLICATING = frozenset({"ReplicationController", "ReplicaSet", "StatefulSet"})


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Likeness:
    """``owner`` is the uid of the ReplicaSet, ReplicationController or StatefulSet that the pod is of, empty without; ``ending``: whether
    the pod is being deleted. Made by ``of`` only: pods that are alike share one, so that it is known by what it is, not by what is in it.
    """

    namespace: str
    # The labels, to be compared as a whole and to be looked up.
    pairs: frozenset[tuple[str, str]]
    labels: Mapping[str, str]
    owner: str
    ending: bool
    # The text of its ``terms``.
    affinity: bytes
    terms: Terms

    @classmethod
    def of(cls, pod: core.Pod) -> Likeness:
        pairs, owner = frozenset(pod.metadata.labels.items()), controller_of(pod)
        uid = owner.uid if owner is not None and owner.kind in REPLICATING else ""
        affinity = text_of(pod.spec.affinity) if pod.spec.HasField("affinity") else b""
        key = (pod.metadata.namespace, pairs, uid, is_deleting(pod), affinity)
        known = _KNOWN.get(key)
        if known is None:
            known = _KNOWN[key] = cls(key[0], pairs, dict(pairs), uid, key[3], affinity, terms_of(affinity))
        return known

    def __deepcopy__(self, memo: Mapping[int, object]) -> Likeness:
        return self


_KNOWN: WeakValueDictionary[tuple[str, frozenset[tuple[str, str]], str, bool, bytes], Likeness] = WeakValueDictionary()
