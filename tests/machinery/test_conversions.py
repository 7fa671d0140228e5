"""Between versions and back: nothing is lost, nothing is raised, nothing given is changed."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from knarr.api.autoscaling.v1 import autoscaling_pb2 as v1
from knarr.api.autoscaling.v2 import autoscaling_pb2 as v2
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1beta1 import discovery_pb2 as old_discovery
from knarr.api.events.v1 import events_pb2 as events
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.networking.v1beta1 import networking_pb2 as old_networking
from knarr.api.policy.v1beta1 import policy_pb2 as old_policy
from knarr.machinery import codec
from knarr.machinery.catalog import RETIRED, registry, version_of
from knarr.machinery.conversions import autoscaling, ingresses
from knarr.machinery.conversions.autoscaling import BEHAVIOR, METRICS, PREFIX, from_v1, to_v1
from knarr.machinery.conversions.events import from_core, to_core
from knarr.machinery.conversions.retired import ALL_PODS, EVERYTHING, HOSTNAME, NO_PODS, ZONE, from_budget, to_budget, to_slice
from knarr.machinery.resources import Version
from knarr.objects.copies import copy_of
from tests.apiserver.strategies.test_any_object import filled

SEEDS = range(60)
CONVERTED = [version for version in registry(RETIRED).versions if version.conversion is not None]


@pytest.mark.parametrize("seed", SEEDS)
def test_events_go_there_and_back_whole(seed: int) -> None:
    source = random.Random(seed)
    old, new = filled(core.Event(), source), filled(events.Event(), source)
    assert to_core(from_core(old)) == old
    assert from_core(to_core(new)) == new


def test_every_field_of_an_event_has_a_counterpart() -> None:
    assert set(autoscaling.ANNOTATIONS) == {PREFIX + name for name in ("metrics", "current-metrics", "conditions", "behavior")}
    full = filled(core.Event(), _Always(1))
    converted = from_core(full)
    assert {field.name for field, _ in converted.ListFields()} == {field.name for field in events.Event.DESCRIPTOR.fields}


class _Always(random.Random):
    """Sets every field."""

    def random(self) -> float:
        return 0.5

    def randrange(self, *_: Any) -> int:
        return 1

    def choice(self, found: Any) -> Any:
        return found[1]


@pytest.mark.parametrize("version", CONVERTED, ids=lambda version: version.api_version)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_object_makes_a_conversion_raise_or_is_changed_by_it(version: Version, seed: int) -> None:
    source = random.Random(seed)
    for message, convert in ((version.message(), version.to_storage), (version.resource.storage.message(), version.from_storage)):
        filled(message, source)
        before = copy_of(message)
        convert(message)
        assert message == before


SOURCES = {"Resource": "resource", "ContainerResource": "container_resource", "Pods": "pods", "Object": "object", "External": "external"}


def quantity(target: Any, source: random.Random) -> None:
    target.string = f"{source.randrange(1, 999)}{source.choice(('', 'm', 'Mi'))}"


def metric(found: Any, source: random.Random, inner: str) -> None:
    """Fills a MetricSpec (``inner`` is ``target``) or a MetricStatus (``current``) as a valid one is."""
    found.type, name = source.choice(list(SOURCES.items()))
    part = getattr(found, name)
    numbers = getattr(part, inner)
    if "resource" in name:
        part.name = source.choice(("memory", "example.org/gpu"))
        if source.random() < 0.5:
            numbers.average_utilization = source.randrange(1, 100)
        else:
            quantity(numbers.average_value, source)
        if name == "container_resource":
            part.container = "c"
    else:
        part.metric.name = "m"
        if source.random() < 0.5:
            part.metric.selector.match_labels["a"] = "b"
        one = "average_value" if name == "pods" else source.choice(("value", "average_value"))
        quantity(getattr(numbers, one), source)
        if name == "object":
            part.described_object.kind, part.described_object.name, part.described_object.api_version = "Service", "s", "v1"
    if inner == "target":
        numbers.type = (
            "Utilization" if numbers.HasField("average_utilization") else "AverageValue" if numbers.HasField("average_value") else "Value"
        )


def autoscaler(seed: int) -> v2.HorizontalPodAutoscaler:
    source = random.Random(seed)
    made = v2.HorizontalPodAutoscaler()
    made.metadata.name, made.metadata.annotations["mine"] = "a", "stays"
    made.spec.scale_target_ref.kind, made.spec.scale_target_ref.name = "Deployment", "web"
    made.spec.max_replicas = source.randrange(1, 9)
    if source.random() < 0.7:
        made.spec.min_replicas = source.randrange(3)
    for _ in range(source.randrange(4)):
        metric(made.spec.metrics.add(), source, "target")
    if source.random() < 0.6:
        cpu = made.spec.metrics.add(type="Resource").resource
        cpu.name, cpu.target.type, cpu.target.average_utilization = "cpu", "Utilization", source.randrange(1, 100)
    for name in ("scale_up", "scale_down"):
        if source.random() < 0.5:
            rules = getattr(made.spec.behavior, name)
            rules.policies.add(type="Pods", value=2, period_seconds=source.randrange(1, 60))
            if source.random() < 0.5:
                rules.select_policy, rules.stabilization_window_seconds = "Min", source.randrange(60)
            if source.random() < 0.5:
                quantity(rules.tolerance, source)
    if source.random() < 0.7:
        made.status.desired_replicas, made.status.observed_generation = 2, 7
        made.status.last_scale_time.seconds = 1_700_000_000
        made.status.conditions.add(type="AbleToScale", status="True", reason="R").last_transition_time.seconds = 1_700_000_000
        for _ in range(source.randrange(3)):
            metric(made.status.current_metrics.add(), source, "current")
        if source.random() < 0.5:
            cpu_now = made.status.current_metrics.add(type="Resource").resource
            cpu_now.name, cpu_now.current.average_utilization = "cpu", 3
            quantity(cpu_now.current.average_value, source)
    return made


@pytest.mark.parametrize("seed", range(300))
def test_autoscalers_go_through_v1_whole(seed: int) -> None:
    stored = autoscaler(seed)
    shown = to_v1(stored)
    assert from_v1(shown) == stored
    assert to_v1(from_v1(shown)) == shown
    # As text too: what a client of v1 reads and sends back is the same object.
    assert from_v1(codec.from_json(v1.HorizontalPodAutoscaler, codec.to_json(shown)).message) == codec.as_from_json(stored)


def test_the_metric_with_a_field_of_its_own_comes_last() -> None:
    stored = autoscaler(0)
    del stored.spec.metrics[:]
    for name in ("cpu", "memory", "cpu"):
        found = stored.spec.metrics.add(type="Resource").resource
        found.name, found.target.type, found.target.average_utilization = name, "Utilization", 50 + len(stored.spec.metrics)
    shown = to_v1(stored)
    assert shown.spec.target_cpu_utilization_percentage == 51
    assert [found.resource.name for found in from_v1(shown).spec.metrics] == ["memory", "cpu", "cpu"]
    assert from_v1(shown).spec.metrics[2].resource.target.average_utilization == 51


@pytest.mark.parametrize("version", RETIRED.values(), ids=lambda version: version.api_version)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_retired_version_shows_all_that_it_has_a_field_for(version: Version, seed: int) -> None:
    """What is written through one comes back through it."""
    given = filled(version.message(), random.Random(seed))
    assert version.from_storage(version.to_storage(given)) == _as_shown(copy_of(given))


def _as_shown(given: Any) -> Any:
    """With what an older version fills in, and what it says twice: the node of an endpoint, and the port of an Ingress' backend."""
    if isinstance(given, old_networking.Ingress):
        _fill_in_ingress(given)
    for endpoint in given.endpoints if isinstance(given, old_discovery.EndpointSlice) else ():
        if endpoint.HasField("node_name") and not endpoint.topology.get(HOSTNAME):
            endpoint.topology[HOSTNAME] = endpoint.node_name
        elif HOSTNAME in endpoint.topology and not endpoint.HasField("node_name"):
            endpoint.node_name = endpoint.topology[HOSTNAME]
    return given


def _fill_in_ingress(given: old_networking.Ingress) -> None:
    paths = [path for rule in given.spec.rules for path in rule.ingress_rule_value.http.paths]
    for path in paths:
        path.path_type = path.path_type if path.HasField("path_type") else "ImplementationSpecific"
    for backend in [*(path.backend for path in paths), *([given.spec.backend] if given.spec.HasField("backend") else [])]:
        backend.SetInParent()
        backend.service_port.SetInParent()
        port = backend.service_port
        if backend.service_name or port.int_val or port.str_val or port.type == 1:
            text, number = port.str_val, port.int_val
            port.Clear()
            port.type, port.str_val, port.int_val = (1, text, 0) if text else (0, "", number)
        else:
            port.Clear()


@pytest.mark.parametrize("port", [meta.IntOrString(int_val=80), meta.IntOrString(type=1, str_val="http")], ids=["number", "name"])
def test_a_backend_of_an_ingress_is_the_same_service(port: meta.IntOrString) -> None:
    given = old_networking.Ingress(spec=old_networking.IngressSpec(backend={"service_name": "s", "service_port": port}))
    path = given.spec.rules.add(host="h").ingress_rule_value.http.paths.add(path="/a")
    path.backend.CopyFrom(given.spec.backend)
    stored = ingresses.to_v1(given)
    (read,) = stored.spec.rules[0].ingress_rule_value.http.paths
    assert stored.spec.default_backend == read.backend and (read.path, read.path_type) == ("/a", "ImplementationSpecific")
    service = read.backend.service
    assert (service.name, service.port.number, service.port.name) == ("s", port.int_val, port.str_val)
    path.path_type = "ImplementationSpecific"
    assert ingresses.from_v1(stored) == given


@pytest.mark.parametrize(("old", "new"), [(EVERYTHING, NO_PODS), (ALL_PODS, EVERYTHING)])
def test_an_empty_selector_of_a_budget_means_what_it_meant(old: meta.LabelSelector, new: meta.LabelSelector) -> None:
    given = old_policy.PodDisruptionBudget(spec=old_policy.PodDisruptionBudgetSpec(selector=old))
    stored = to_budget(given)
    assert stored.spec.selector == new
    assert from_budget(stored) == given


def test_a_budget_without_a_selector_has_none_in_either_version() -> None:
    stored = to_budget(old_policy.PodDisruptionBudget(spec=old_policy.PodDisruptionBudgetSpec()))
    assert not stored.spec.HasField("selector") and not from_budget(stored).spec.HasField("selector")


def test_the_place_of_an_endpoint_has_fields_now() -> None:
    given = old_discovery.EndpointSlice(address_type="IPv4")
    given.endpoints.add(addresses=["10.0.0.1"], topology={ZONE: "z", HOSTNAME: "n", "rack": "r"})
    given.endpoints.add(addresses=["10.0.0.2"], topology={HOSTNAME: "other"}, node_name="n")
    one, two = to_slice(given).endpoints
    assert (one.zone, one.node_name, dict(one.deprecated_topology)) == ("z", "n", {"rack": "r"})
    assert (two.HasField("zone"), two.node_name, dict(two.deprecated_topology)) == (False, "n", {HOSTNAME: "other"})


def test_retired_versions_are_served_by_who_is_told_to() -> None:
    plain, told = registry(), registry(["policy/v1beta1"])
    names = ("policy", "v1beta1", "poddisruptionbudgets")
    assert plain.served(*names) is None and plain.of(old_policy.PodDisruptionBudget) is None
    assert told.served(*names) is told.of(old_policy.PodDisruptionBudget) is version_of(old_policy.PodDisruptionBudget)
    assert told.served("batch", "v1beta1", "cronjobs") is None
    preferred = told.preferred("policy", "poddisruptionbudgets")
    assert preferred is not None and preferred.version == "v1"


def test_annotations_are_kubernetes_own() -> None:
    stored = v2.HorizontalPodAutoscaler()
    rules = stored.spec.behavior.scale_up
    rules.stabilization_window_seconds = 0
    rules.policies.add(type="Pods", value=4, period_seconds=15)
    pods = stored.spec.metrics.add(type="Pods").pods
    pods.metric.name, pods.target.type, pods.target.average_value.string = "hits", "AverageValue", "10"
    annotations = to_v1(stored).metadata.annotations
    assert orjson.loads(annotations[BEHAVIOR]) == {
        "ScaleUp": {
            "StabilizationWindowSeconds": 0,
            "SelectPolicy": None,
            "Policies": [{"Type": "Pods", "Value": 4, "PeriodSeconds": 15}],
            "Tolerance": None,
        },
        "ScaleDown": None,
    }
    assert orjson.loads(annotations[METRICS]) == [{"type": "Pods", "pods": {"metricName": "hits", "targetAverageValue": "10"}}]


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '{"ScaleUp": 7}', '{"nope": {}}', '[{"type": 7}]', "[7]"])
def test_an_annotation_that_cannot_be_read_says_nothing(text: str) -> None:
    given = v1.HorizontalPodAutoscaler()
    given.spec.target_cpu_utilization_percentage = 50
    for name in autoscaling.ANNOTATIONS:
        given.metadata.annotations[name] = text
    found = from_v1(given)
    assert len(found.spec.metrics) == 1 and not found.spec.HasField("behavior") and not found.status.conditions
    assert not found.metadata.annotations
