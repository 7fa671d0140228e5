from __future__ import annotations

import pytest
from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.index import Index, IndexClash, IndexMissing
from knarr.client.store import Store
from knarr.objects.keys import key_of
from tests.client.objects import pod


def by_node(obj: core.Pod) -> list[str]:
    return [obj.spec.node_name]


def by_name(obj: Message) -> list[str]:
    return [key_of(obj).name]


BY_NODE: Index[core.Pod] = Index("place", by_node)
# Of anything that has a name; pods are such.
BY_NAME: Index[Message] = Index("place", by_name)


def test_an_index_added_twice_is_one() -> None:
    store: Store[core.Pod] = Store()
    store.put(pod("a", node="n1"))
    store.add_index(BY_NODE)
    store.put(pod("b", node="n1"))
    store.add_index(BY_NODE)
    assert [found.metadata.name for found in store.index(BY_NODE, "n1")] == ["a", "b"]


def test_another_index_of_the_same_name_is_refused_with_both_named() -> None:
    store: Store[core.Pod] = Store()
    store.put(pod("a", node="n1"))
    store.add_index(BY_NODE)
    with pytest.raises(IndexClash, match=r"index 'place' by tests\.client\.test_store\.by_name clashes with .*test_store\.by_node"):
        store.add_index(BY_NAME)
    assert [found.metadata.name for found in store.index(BY_NODE, "n1")] == ["a"]


def test_an_index_that_nobody_added_is_named_with_what_to_do() -> None:
    store: Store[core.Pod] = Store()
    with pytest.raises(IndexMissing, match=r"no index 'place' by tests\.client\.test_store\.by_node \(it has: none\).*add_index"):
        store.index(BY_NODE, "n1")
    store.add_index(BY_NAME)
    with pytest.raises(IndexMissing, match="it has: place"):
        store.index(BY_NODE, "n1")
