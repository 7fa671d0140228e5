"""Between versions and back: nothing is lost, nothing is raised, nothing given is changed."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from knarr.api.autoscaling.v1 import autoscaling_pb2 as v1
from knarr.api.autoscaling.v2 import autoscaling_pb2 as v2
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.events.v1 import events_pb2 as events
from knarr.machinery import codec
from knarr.machinery.catalog import registry
from knarr.machinery.conversions import autoscaling
from knarr.machinery.conversions.autoscaling import BEHAVIOR, METRICS, PREFIX, from_v1, to_v1
from knarr.machinery.conversions.events import from_core, to_core
from knarr.machinery.resources import Version
from knarr.objects.copies import copy_of
from tests.apiserver.strategies.test_any_object import filled

SEEDS = range(60)
CONVERTED = [version for version in registry().versions if version.conversion is not None]


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
