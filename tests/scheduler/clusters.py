"""Random nodes and pods that use all that plugins look at."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.objects.binding import BIND_COMPLETED, NO_PROVISIONER
from knarr.objects.node_selection import only_on
from services.scheduler.catalog import PLUGINS
from services.scheduler.node_table import NodeTable
from services.scheduler.parts import Subject
from services.scheduler.plugin import Plugin
from services.scheduler.pod_facts import PodFacts
from services.scheduler.state import parts_read_by
from tests.scheduler.devices import add_device, claim_of, device_classes, give, slice_of
from tests.scheduler.objects import node, pod

LABELS = st.dictionaries(st.sampled_from(["zone", "disk"]), st.sampled_from(["a", "b"]))
APPS = st.sampled_from([{}, {"app": "web"}, {"app": "web", "tier": "front"}, {"app": "db"}])
EFFECTS = st.sampled_from(["NoSchedule", "PreferNoSchedule", "NoExecute"])
TAINTS = st.lists(st.tuples(st.sampled_from(["dedicated", "gpu"]), EFFECTS), max_size=2)
CLAIM_NAMES = ("bound", "alone", "orphan", "late", "made", "lost", "ending", "immediate", "missing")
TOPOLOGY = st.sampled_from(["zone", "disk", "kubernetes.io/hostname"])
NODE_NAMES = st.sampled_from([f"n{number}" for number in range(6)])


@st.composite
def nodes(draw: Any, names: Any = NODE_NAMES) -> core.Node:
    found = node(
        draw(names),
        draw(st.sampled_from(["1", "2"])),
        draw(st.sampled_from(["2Gi", "4Gi"])),
        draw(st.sampled_from(["2", "9"])),
        draw(LABELS),
    )
    for key, effect in draw(TAINTS):
        found.spec.taints.add(key=key, effect=effect)
    found.spec.unschedulable = draw(st.booleans())
    if draw(st.booleans()):
        found.status.allocatable["example.com/gpu"].string = "1"
    if draw(st.booleans()):
        found.status.images.add(names=["busybox:latest"], size_bytes=draw(st.sampled_from([10, 300, 5000])) * 1024 * 1024)
    return found


@st.composite
def pods(draw: Any, number: int) -> core.Pod:
    cpu, memory = draw(st.sampled_from(["", "500m", "1"])), draw(st.sampled_from(["", "1Gi"]))
    found = pod(f"p{number}", cpu, memory, draw(st.sampled_from(["default", "other"])))
    found.metadata.labels.update(draw(APPS))
    if draw(st.booleans()):
        found.metadata.owner_references.add(kind="ReplicaSet", name="web", uid="set", controller=True)
    if draw(st.booleans()):
        found.spec.containers[0].ports.add(host_port=draw(st.sampled_from([80, 443])), container_port=80)
    if draw(st.booleans()):
        found.spec.containers[0].resources.requests["example.com/gpu"].string = "1"
    for number, name in enumerate(draw(st.lists(st.sampled_from((*CLAIM_NAMES, *["alone", "made", "late"] * 3)), max_size=2, unique=True))):
        found.spec.volumes.add(name=f"v{number}").volume_source.persistent_volume_claim.claim_name = name
    if draw(st.integers(0, 9)) == 0:
        found.spec.volumes.add(name="own").volume_source.ephemeral.volume_claim_template.SetInParent()
    found.spec.node_selector.update(draw(st.sampled_from([{}, {}, {"zone": "a"}, {"kubernetes.io/hostname": "n1"}])))
    for key, effect in draw(TAINTS):
        found.spec.tolerations.add(key=key, effect=effect, operator="Exists")
    if draw(st.booleans()):
        affinity = found.spec.affinity.node_affinity
        preferred = affinity.preferred_during_scheduling_ignored_during_execution.add(weight=draw(st.integers(1, 100)))
        preferred.preference.match_expressions.add(key="disk", operator="In", values=["b"])
        if draw(st.booleans()):
            term = affinity.required_during_scheduling_ignored_during_execution.node_selector_terms.add()
            term.match_fields.add(key="metadata.name", operator="NotIn", values=["n2"])
    if draw(st.booleans()):
        ask_for_others(draw, found)
    if draw(st.booleans()):
        ask_for_spread(draw, found)
    if draw(st.integers(0, 9)) == 0:
        found.metadata.deletion_timestamp.seconds = 1
    if draw(st.integers(0, 9)) == 0:
        found.spec.node_name = draw(NODE_NAMES)
    ask_for_devices(found)
    return found


# The claims that pods ask for by name; of two a template is asked for, from which a claim was made, or not yet.
DEVICE_CLAIMS = (
    (),
    (),
    ("had",),
    ("had", "free"),
    ("none", "other"),
    ("free",),
    ("gone",),
    ("ending",),
    ("missing",),
    ("own",),
    ("own", "noted"),
)


def ask_for_devices(pod: core.Pod) -> None:
    """Which claims follows from what was drawn of the pod: there is nothing to draw besides."""
    for name in DEVICE_CLAIMS[zlib.crc32(pod.SerializeToString(deterministic=True)) % len(DEVICE_CLAIMS)]:
        if name == "own":
            pod.spec.resource_claims.add(name="own", resource_claim_template_name="devices")
        elif name == "noted":
            pod.status.resource_claim_statuses.add(name="own", resource_claim_name="devices-free")
        else:
            pod.spec.resource_claims.add(name=name, resource_claim_name=f"devices-{name}")


def ask_for_others(draw: Any, pod: core.Pod) -> None:
    """Terms of pod affinity and anti-affinity, required and preferred, by every way of naming pods."""
    for affinity in (pod.spec.affinity.pod_affinity, pod.spec.affinity.pod_anti_affinity):
        if draw(st.booleans()):
            fill_term(draw, affinity.required_during_scheduling_ignored_during_execution.add())
        if draw(st.booleans()):
            preferred = affinity.preferred_during_scheduling_ignored_during_execution.add(weight=draw(st.integers(1, 100)))
            fill_term(draw, preferred.pod_affinity_term)


def fill_term(draw: Any, term: core.PodAffinityTerm) -> None:
    term.topology_key = draw(TOPOLOGY)
    if draw(st.integers(0, 9)):
        term.label_selector.match_labels.update(draw(st.sampled_from([{}, {"app": "web"}, {"app": "db"}])))
    term.namespaces.extend(draw(st.sampled_from([[], [], ["other"], ["default", "other"]])))
    chosen = draw(st.sampled_from([None, None, {}, {"team": "blue"}]))
    if chosen is not None:
        term.namespace_selector.SetInParent()
        term.namespace_selector.match_labels.update(chosen)


def ask_for_spread(draw: Any, pod: core.Pod) -> None:
    for when in draw(st.lists(st.sampled_from(["DoNotSchedule", "ScheduleAnyway"]), min_size=1, max_size=2)):
        found = pod.spec.topology_spread_constraints.add(max_skew=draw(st.integers(1, 2)), topology_key=draw(TOPOLOGY))
        found.when_unsatisfiable = when
        found.node_affinity_policy = draw(st.sampled_from(["", "Honor", "Ignore"]))
        found.node_taints_policy = draw(st.sampled_from(["", "Honor", "Ignore"]))
        found.match_label_keys.extend(draw(st.sampled_from([[], ["tier"]])))
        if when == "DoNotSchedule" and draw(st.booleans()):
            found.min_domains = draw(st.integers(1, 3))
        if draw(st.integers(0, 9)):
            found.label_selector.match_labels.update(draw(st.sampled_from([{}, {"app": "web"}, {"app": "db"}])))


def waiting(number: int = 99) -> Any:
    """A strategy of pods that are to be placed."""
    return pods(number).map(PodFacts.of)


# Nodes, pods with the names of their nodes (which may not be there), pods that wait.
CLUSTERS = st.tuples(
    st.lists(nodes(), max_size=6, unique_by=lambda found: found.metadata.name),
    st.lists(st.integers(0, 5), max_size=6, unique=True).flatmap(
        lambda numbers: st.tuples(*(st.tuples(pods(number).map(PodFacts.of), NODE_NAMES) for number in numbers))
    ),
    st.lists(waiting(), min_size=1, max_size=3),
)


@st.composite
def askers(draw: Any, number: int) -> core.Pod:
    """A pod of which nothing matters but what it asks of other pods, and what they see of it."""
    found = pod(f"p{number}", namespace=draw(st.sampled_from(["default", "default", "other"])))
    found.metadata.labels.update(draw(st.sampled_from([{"app": "web"}, {"app": "web", "tier": "front"}, {"app": "db"}])))
    for ask in (ask_for_others, ask_for_spread):
        if draw(st.booleans()):
            ask(draw, found)
    if draw(st.integers(0, 3)) == 0:
        found.metadata.deletion_timestamp.seconds = 1
    if draw(st.booleans()):
        found.spec.node_selector["zone"] = "a"
    return found


@st.composite
def crowds(draw: Any) -> Any:
    """Four nodes of two zones, one of which may be unlabelled or tainted; eight pods on them, and one that waits."""
    made = [node(f"n{number}", labels={"zone": "ab"[number % 2], "disk": "a"}) for number in range(4)]
    if draw(st.booleans()):
        del made[0].metadata.labels[draw(st.sampled_from(["zone", "disk"]))]
    if draw(st.booleans()):
        made[1].spec.taints.add(key="gpu", effect=draw(EFFECTS))
    placed = [(PodFacts.of(draw(askers(number))), draw(st.sampled_from(["n0", "n1", "n2", "n3"]))) for number in range(8)]
    return made, placed, [PodFacts.of(draw(askers(99)))]


@cache
def random_clusters(count: int) -> tuple[Any, ...]:
    """The same so many of ``CLUSTERS`` every time: to make one takes longer than to ask a plugin about it, so all are asked about the same.
    Whoever asks changes none of their objects."""
    found: list[Any] = []

    @given(CLUSTERS)
    @settings(max_examples=count, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    def keep(cluster: Any) -> None:
        found.append(cluster)

    keep()
    return tuple(found)


def table_of(found: list[core.Node], placed: Any, plugins: Sequence[type[Plugin]] = PLUGINS) -> NodeTable:
    """A table that compares what the plugins read, filled in this order."""
    table = NodeTable(parts_read_by(plugins)[Subject.NODE])
    for one in found:
        table.put_node(one)
    for facts, name in placed:
        table.put_pod(facts, name)
    return table


def storage_objects() -> list[Any]:
    """Claims of every sort, the volumes of those that have one and for those that wait, and their classes."""
    late, made = storage.StorageClass(provisioner=NO_PROVISIONER), storage.StorageClass(provisioner="example.com/disks")
    for name, found in (("late", late), ("made", made)):
        found.metadata.name, found.volume_binding_mode = name, "WaitForFirstConsumer"
    made.allowed_topologies.add().match_label_expressions.add(key="zone", values=["a"])
    claims = {name: core.PersistentVolumeClaim() for name in (*CLAIM_NAMES, "p99-own")}
    for name, claim in claims.items():
        claim.metadata.name, claim.metadata.namespace, claim.metadata.uid = name, "default", f"uid-{name}"
        claim.spec.access_modes.append("ReadWriteOncePod" if name == "alone" else "ReadWriteOnce")
        claim.spec.resources.requests["storage"].string = "1Gi"
    claims["p99-own"].metadata.owner_references.add(kind="Pod", name="p99", uid="uid-default-p99", controller=True)
    for name, of in (("bound", "there"), ("alone", "there"), ("orphan", "gone")):
        claims[name].spec.volume_name = of
        claims[name].metadata.annotations[BIND_COMPLETED] = "yes"
    claims["late"].spec.storage_class_name, claims["made"].spec.storage_class_name = "late", "made"
    claims["late"].spec.selector.match_labels["tier"] = "gold"
    claims["lost"].status.phase = "Lost"
    claims["ending"].metadata.deletion_timestamp.seconds = 1
    del claims["missing"]
    volumes = [core.PersistentVolume() for _ in range(2)]
    for name, volume in zip(("there", "free"), volumes, strict=True):
        volume.metadata.name, volume.status.phase, volume.spec.storage_class_name = name, "Available", "late"
        volume.metadata.labels.update({"tier": "gold", "topology.kubernetes.io/zone": "a__b"})
        volume.spec.access_modes.append("ReadWriteOnce")
        volume.spec.capacity["storage"].string = "2Gi"
        source = volume.spec.persistent_volume_source.csi
        source.driver, source.volume_handle = "example.com/disks", f"vol-{name}"
        term = volume.spec.node_affinity.required.node_selector_terms.add()
        term.match_expressions.add(key="disk", operator="In", values=["a"])
    return [late, made, *claims.values(), *volumes, *driver_objects(), *device_objects()]


def device_objects() -> list[Any]:
    """Slices of some nodes and of all, one device of which a rule taints; claims that have devices, and that want some."""
    slices = [slice_of(f"n{number}", f"n{number}", f"n{number}") for number in range(3)]
    for made in slices:
        add_device(made, "card")
    slices.append(slice_of("shared", "shared", ""))
    add_device(slices[-1], "switch", "slow")
    rule = resource.DeviceTaintRule()
    rule.metadata.name = "broken"
    rule.spec.device_selector.pool, rule.spec.taint.key, rule.spec.taint.effect = "n1", "broken", "NoSchedule"
    claims = {name: claim_of(f"devices-{name}") for name in ("none", "had", "free", "gone", "ending", "other")}
    for name, claim in claims.items():
        wanted = claim.spec.devices.requests.add(name="r")
        wanted.exactly.device_class_name = {"gone": "gone", "other": "slow"}.get(name, "fast")
        wanted.exactly.allocation_mode, wanted.exactly.count = "ExactCount", 2 if name == "none" else 1
    give(claims["had"], "card", "n2")
    claims["had"].status.allocation.node_selector.CopyFrom(only_on("n2"))
    claims["had"].status.reserved_for.add(resource="pods", name="p1", uid="uid-default-p1")
    claims["ending"].metadata.deletion_timestamp.seconds = 1
    classes = device_classes()
    next(one for one in classes if one.metadata.name == "fast").spec.extended_resource_name = "example.com/gpu"
    return [*slices, rule, *classes, *claims.values()]


def driver_objects() -> list[Any]:
    """A driver that tells how much room it has, and how many volumes a node can have."""
    driver, told = storage.CSIDriver(), storage.CSIStorageCapacity(storage_class_name="made")
    driver.metadata.name, driver.spec.storage_capacity = "example.com/disks", True
    told.metadata.name, told.metadata.namespace = "room", "kube-system"
    told.node_topology.match_labels["disk"] = "b"
    told.capacity.string = "9Gi"
    small = storage.CSIStorageCapacity(storage_class_name="made")
    small.metadata.name, small.metadata.namespace = "small", "kube-system"
    small.node_topology.SetInParent()
    small.maximum_volume_size.string = "1Mi"
    found = [storage.CSINode() for _ in range(6)]
    for number, one in enumerate(found):
        one.metadata.name = f"n{number}"
        one.spec.drivers.add(name="example.com/disks", node_id=one.metadata.name).allocatable.count = 1
    return [driver, told, small, *found]


def namespaces() -> list[core.Namespace]:
    """The one of most pods, and another one that is somebody's."""
    found = [core.Namespace(), core.Namespace()]
    found[0].metadata.name, found[1].metadata.name = "default", "other"
    found[1].metadata.labels["team"] = "blue"
    return found


def web_service() -> core.Service:
    service = core.Service()
    service.metadata.name, service.metadata.namespace = "web", "default"
    service.spec.selector["app"] = "web"
    return service
