"""Finds who may concern whom without asking everybody: selectors by what they surely require, pods by what they carry."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from knarr.machinery.selectors import DOUBLE_EQUALS, EQUALS, IN, Selector
from services.proxy.policy.facts import Key, PodFacts

T = TypeVar("T")
Label = tuple[str, str]
ANYWHERE = ""


def sure_label(selector: Selector) -> Label | None:
    """A label that whatever the selector matches must carry; None when it names none."""
    for requirement in selector.requirements:
        if requirement.operator in (EQUALS, DOUBLE_EQUALS, IN) and len(requirement.values) == 1:
            return requirement.key, next(iter(requirement.values))
    return None


class SelectorIndex(Generic[T]):
    """Things that pick pods, in one namespace or anywhere."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, Label | None], dict[T, Selector]] = defaultdict(dict)

    def add(self, thing: T, namespace: str, selector: Selector) -> None:
        self._buckets[namespace, sure_label(selector)][thing] = selector

    def remove(self, thing: T, namespace: str, selector: Selector) -> None:
        place = namespace, sure_label(selector)
        bucket = self._buckets.get(place, {})
        bucket.pop(thing, None)
        if not bucket:
            self._buckets.pop(place, None)

    def matching(self, namespace: str, labels: Mapping[str, str], *, anywhere: bool = True) -> Iterator[T]:
        """Those whose selector matches; of those for anywhere, whether they want this namespace is the caller's to ask."""
        for where in (namespace, ANYWHERE) if anywhere else (namespace,):
            for label in (None, *labels.items()):
                for thing, selector in self._buckets.get((where, label), {}).items():
                    if selector.matches(labels):
                        yield thing


class PodIndex:
    """Pods by key, namespace and label."""

    def __init__(self) -> None:
        self._pods: dict[Key, PodFacts] = {}
        self._by_namespace: dict[str, dict[Key, PodFacts]] = defaultdict(dict)
        self._by_label: dict[tuple[str, Label], dict[Key, PodFacts]] = defaultdict(dict)
        self._by_address: dict[str, dict[Key, PodFacts]] = defaultdict(dict)

    def __iter__(self) -> Iterator[PodFacts]:
        return iter(self._pods.values())

    def __len__(self) -> int:
        return len(self._pods)

    def get(self, key: Key) -> PodFacts | None:
        return self._pods.get(key)

    def put(self, pod: PodFacts) -> None:
        self.remove(pod.key)
        self._pods[pod.key] = self._by_namespace[pod.namespace][pod.key] = pod
        for label in pod.labels.items():
            self._by_label[pod.namespace, label][pod.key] = pod
        self._by_address[pod.address][pod.key] = pod

    def remove(self, key: Key) -> None:
        old = self._pods.pop(key, None)
        if old is None:
            return
        _take(self._by_namespace, old.namespace, key)
        _take(self._by_address, old.address, key)
        for label in old.labels.items():
            _take(self._by_label, (old.namespace, label), key)

    def at(self, address: str) -> PodFacts | None:
        """The pod that has an address; of several that say so, the one that changed last."""
        found = self._by_address.get(address)
        return found[next(reversed(found))] if found else None

    def within(self, namespace: str) -> Iterable[PodFacts]:
        return self._by_namespace.get(namespace, {}).values()

    def matching(self, namespaces: Iterable[str], selector: Selector) -> Iterator[PodFacts]:
        label = sure_label(selector)
        for namespace in namespaces:
            found = self.within(namespace) if label is None else self._by_label.get((namespace, label), {}).values()
            for pod in found:
                if selector.matches(pod.labels):
                    yield pod


def _take(places: dict[T, dict[Key, PodFacts]], place: T, key: Key) -> None:
    places[place].pop(key, None)
    if not places[place]:
        del places[place]
