"""Which pods are bound to which node, and what each of them names: followed from the watch cache when somebody asks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import DELETED
from knarr.machinery.catalog import version_of
from knarr.objects.pods import MIRROR
from knarr.objects.references import config_map_names, secret_names
from services.apiserver.cache.collection import Collection
from services.apiserver.cache.history import Overrun
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.entry import Entry, Selectable
from services.apiserver.storage.keys import object_key

PODS = version_of(core.Pod).resource
NODE_NAME = "spec.nodeName"
# Changes of pods that are followed at once; after more all pods are looked at anew.
MOST_CHANGES = 10_000

# What a pod names in its namespace: a plural and a name.
Reference = tuple[str, str]


class PodsByNode:
    """Nothing of a pod is decoded for it but when its node asks about a namespace in which it has pods; what they name is kept while they
    are what they are."""

    def __init__(self, cache: WatchCache, selectable: Selectable) -> None:
        """``selectable`` knows the fields of pods, the same one by which field selectors are answered: those are kept already."""
        self._cache, self._selectable = cache, selectable
        self._collection: Collection | None = None
        self._position = 0
        # By node and key.
        self._bound: dict[str, dict[str, Entry]] = defaultdict(dict)
        self._node_of: dict[str, str] = {}
        self._named: dict[str, tuple[Entry, frozenset[Reference]]] = {}

    def has(self, node: str, namespace: str, name: str) -> bool:
        """Whether a pod is bound to a node."""
        self._follow()
        return object_key(PODS, namespace, name) in self._bound.get(node, ())

    def name(self, node: str, namespace: str, reference: Reference) -> bool:
        """Whether a pod of the namespace that is bound to a node names something."""
        self._follow()
        return any(reference in self._references(entry) for entry in self._in(node, namespace))

    def pods(self, node: str) -> Iterator[core.Pod]:
        """Those that are bound to a node; only to be read."""
        self._follow()
        return (entry.shared_message for entry in self._bound.get(node, {}).values())

    def _in(self, node: str, namespace: str) -> Iterator[Entry]:
        return (entry for entry in self._bound.get(node, {}).values() if entry.namespace == namespace)

    def _references(self, entry: Entry) -> frozenset[Reference]:
        known = self._named.get(entry.key)
        if known is None or known[0] is not entry:
            known = self._named[entry.key] = entry, frozenset(_named(entry.seen))
        return known[1]

    def _follow(self) -> None:
        collection = self._cache.collection(PODS)
        try:
            if collection is not self._collection:
                raise Overrun(0)
            history = collection.history
            if history.end == self._position:
                return
            for change in history.since(self._position, MOST_CHANGES):
                entry = change.event.entry
                if entry is not None:
                    self._see(entry, gone=change.event.type == DELETED)
                self._position += 1
            if history.end != self._position:
                raise Overrun(0)
        except Overrun:
            self._look_at_all(collection)

    def _look_at_all(self, collection: Collection) -> None:
        self._bound.clear()
        self._node_of.clear()
        self._named.clear()
        for entry in collection.listing(PODS.key_prefix):
            self._see(entry, gone=False)
        self._collection, self._position = collection, collection.history.end

    def _see(self, entry: Entry, *, gone: bool) -> None:
        before = self._node_of.get(entry.key, "")
        node = "" if gone else entry.fields(self._selectable).get(NODE_NAME, "")
        if before and before != node:
            self._bound[before].pop(entry.key, None)
            if not self._bound[before]:
                del self._bound[before]
        if not node:
            self._node_of.pop(entry.key, None)
            self._named.pop(entry.key, None)
            return
        self._node_of[entry.key] = node
        self._bound[node][entry.key] = entry


def _named(pod: core.Pod) -> Iterator[Reference]:
    """Nothing of a mirror pod, which its node has made: by none of its own may it come to see more."""
    if MIRROR in pod.metadata.annotations:
        return
    yield from (("secrets", name) for name in secret_names(pod))
    yield from (("configmaps", name) for name in config_map_names(pod))
    yield "serviceaccounts", pod.spec.service_account_name
    for volume in pod.spec.volumes:
        if claim := volume.volume_source.persistent_volume_claim.claim_name:
            yield "persistentvolumeclaims", claim
        if volume.volume_source.HasField("ephemeral"):
            yield "persistentvolumeclaims", f"{pod.metadata.name}-{volume.name}"
    for wanted in pod.spec.resource_claims:
        if wanted.resource_claim_name:
            yield "resourceclaims", wanted.resource_claim_name
    for status in pod.status.resource_claim_statuses:
        yield "resourceclaims", status.resource_claim_name
    if made := pod.status.extended_resource_claim_status.resource_claim_name:
        yield "resourceclaims", made
