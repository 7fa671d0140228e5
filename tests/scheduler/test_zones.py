"""Labels of volumes keep pods to zones and regions, as an oracle says; and what may help is tried again, nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.copies import copy_of
from services.scheduler.node_table import NodeTable
from services.scheduler.plugin import Change
from services.scheduler.plugins.volumezone.plugin import CONFLICT, VolumeZone
from services.scheduler.pod_facts import PodFacts
from tests.controller.storage import asking, sized, storage_class
from tests.scheduler import oracle
from tests.scheduler.objects import Objects, node
from tests.scheduler.test_volumes import using

ZONE, OLD_ZONE = "topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"
KEYS = st.sampled_from([ZONE, "topology.kubernetes.io/region", OLD_ZONE, "failure-domain.beta.kubernetes.io/region", "tier"])
OF_VOLUMES = st.dictionaries(KEYS, st.sampled_from(["a", "b", "a__b", "b__ c", "a__", ""]), max_size=2)
OF_NODES = st.dictionaries(KEYS, st.sampled_from(["a", "b", "c"]), max_size=3)


def bound(name: str) -> core.PersistentVolumeClaim:
    claim = asking(name, "1Gi", of="zoned")
    claim.spec.volume_name = name
    return claim


@given(st.lists(OF_VOLUMES, min_size=1, max_size=3), st.lists(OF_NODES, min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_labels_keep_pods_where_the_oracle_does(of_volumes: Any, of_nodes: Any) -> None:
    names = [f"v{number}" for number in range(len(of_volumes))]
    objects: list[Message] = [bound(name) for name in names]
    for name, labels in zip(names, of_volumes, strict=True):
        objects.append(sized(name, "1Gi", of="zoned"))
        objects[-1].metadata.labels.update(labels)  # type: ignore[attr-defined]
    table = NodeTable(VolumeZone.reads)
    for number, labels in enumerate(of_nodes):
        table.put_node(node(f"n{number}", labels=labels))
    plugin, pod = VolumeZone(Objects(*objects)), PodFacts.of(using("a", *names))
    mask = plugin.filter(pod, table)
    for number, labels in enumerate(of_nodes):
        row = table.rows[f"n{number}"]
        refused = mask is not None and not mask[row]
        assert refused == oracle.zones_refuse(of_volumes, labels)
        if refused:
            assert plugin.reasons(pod, table, row) == [CONFLICT]


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ([], 'persistentvolumeclaim "data" not found'),
        ([bound("data")], 'persistentvolume "data" not found'),
        ([asking("data", "1Gi", of="")], "PersistentVolumeClaim had no pv name and storageClass name"),
        ([asking("data", "1Gi", of="gone")], 'storageclass.storage.k8s.io "gone" not found'),
        ([asking("data", "1Gi", of="now"), storage_class("now")], "PersistentVolume had no name"),
        ([asking("data", "1Gi", of="late"), storage_class("late", waits=True)], ""),
        ([bound("data"), sized("data", "1Gi", of="zoned")], ""),
    ],
)
def test_what_must_be_known_of_a_claim(objects: list[Message], words: str) -> None:
    plugin, table = VolumeZone(Objects(*objects)), NodeTable(VolumeZone.reads)
    table.put_node(node("n1", labels={ZONE: "a"}))
    pod = PodFacts.of(using("a", "data"))
    assert plugin.impossible(pod) == words
    mask = plugin.filter(pod, table)
    assert (mask is None) if not words else (mask is not None and not mask.any())


def changed(old: Message | None, new: Message | None) -> Change:
    return Change(frozenset(), old=old, new=new)


def test_what_may_help_a_pod_that_found_no_zone() -> None:
    volume = sized("data", "1Gi", of="zoned")
    volume.metadata.labels[ZONE] = "a"
    moved = copy_of(volume)
    moved.metadata.labels[ZONE] = "b"
    other = copy_of(volume)
    other.metadata.labels["tier"] = "gold"
    plugin, table = VolumeZone(Objects(bound("data"), volume)), NodeTable(VolumeZone.reads)
    for name in ("a", "b"):
        table.put_node(node(name, labels={ZONE: name}))
    pod = PodFacts.of(using("p", "data"))
    elsewhere = bound("data")
    elsewhere.metadata.namespace = "other"
    helps = {
        "the claim": changed(None, bound("data")),
        "its volume elsewhere": changed(volume, moved),
        "a volume comes": changed(None, volume),
        "a class that waits": changed(None, storage_class("late", waits=True)),
        "a node of the zone": Change(frozenset(), table.rows["a"]),
        "the pod itself": Change(frozenset()),
    }
    idle = {
        "another claim": changed(None, bound("more")),
        "a claim of another namespace": changed(None, elsewhere),
        "another label of the volume": changed(volume, other),
        "a volume that goes": changed(volume, None),
        "a class that does not wait": changed(None, storage_class("now")),
        "a node of another zone": Change(frozenset(), table.rows["b"]),
    }
    assert {name for name, change in {**helps, **idle}.items() if plugin.mends(pod, table, change)} == set(helps)
