"""What holds for the strategies of all kinds."""

from __future__ import annotations

import csv
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.flowcontrol.v1 import flowcontrol_pb2 as flowcontrol
from knarr.machinery.catalog import registry, version_of
from knarr.machinery.resources import Version
from services.apiserver.strategies import LATE, STRATEGIES, Strategies, Strategy, strategy_for
from services.apiserver.strategies.duration import human_duration
from services.apiserver.strategies.event import EventStrategy
from services.apiserver.strategies.scale import apply_scale, selector_text, to_scale
from tests.apiserver.strategies.scenario import Subject

COLUMNS = Path(__file__).parents[3] / "tools" / "schema" / "kubernetes-columns.tsv"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVERY_KIND = pytest.mark.parametrize("version", registry().versions, ids=lambda version: version.kind)
# A kind without rules of its own has the columns of any kind.
WITH_RULES = [version for version in registry().versions if version.message in STRATEGIES or version.message in LATE]
KIND_WITH_RULES = pytest.mark.parametrize("version", WITH_RULES, ids=lambda version: version.kind)


def new(version: Version) -> Any:
    obj: Any = version.resource.storage.message()
    obj.metadata.name = "x"
    strategy_for(version).default(obj)
    strategy_for(version).prepare_for_create(obj)
    return obj


def kubernetes_columns() -> dict[tuple[str, str], list[tuple[str, str, str, int]]]:
    found: dict[tuple[str, str], list[tuple[str, str, str, int]]] = {}
    with COLUMNS.open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            # Some groups were beta when the table was recorded; their columns are the same.
            version = row["group_version"].partition("/")[2]
            version = version.removesuffix("beta1") if version.startswith(("discovery.k8s.io/", "policy/", "flowcontrol.")) else version
            columns = found.setdefault((version, row["resource"]), [])
            columns.append((row["column"], row["type"], row["format"] or "", int(row["priority"])))
    return found


@KIND_WITH_RULES
def test_columns_are_those_of_kubernetes(version: Version) -> None:
    columns = [(column.name, column.type, column.format, column.priority) for column in strategy_for(version).columns]
    # The table was recorded when some of the versions were not there: all of a resource have the same columns.
    recorded = [kubernetes_columns().get((other.api_version, version.resource.plural)) for other in version.resource.versions]
    if any(recorded):
        assert columns in recorded
    else:
        # Nor were some of the resources: those have the columns of a kind that says nothing of them.
        assert tuple(strategy_for(version).columns) == tuple(Strategy.columns)


@EVERY_KIND
def test_an_empty_object_has_a_cell_for_every_column(version: Version) -> None:
    strategy = strategy_for(version)
    assert len(strategy.cells(new(version), NOW)) == len(strategy.columns)


@EVERY_KIND
def test_selectable_fields_are_the_names_that_are_announced(version: Version) -> None:
    strategy = strategy_for(version)
    assert set(strategy.selectable_fields(new(version))) == set(strategy.selectable_field_names)


@EVERY_KIND
def test_an_update_that_changes_nothing_changes_nothing(version: Version) -> None:
    strategy, old, same = strategy_for(version), new(version), new(version)
    strategy.prepare_for_update(same, old)
    assert same == old
    assert strategy.validate_update(same, old) == []
    strategy.prepare_for_status_update(same, old)
    assert same == old
    assert strategy.validate_status_update(same, old) == []


def test_kinds_whose_updates_name_a_revision() -> None:
    """As Kubernetes says of each by its AllowUnconditionalUpdate."""
    demanding = {version.kind for version in registry().versions if not strategy_for(version).allows_unconditional_update}
    assert demanding == {
        "APIService", "CSIDriver", "CSINode", "CSIStorageCapacity", "CustomResourceDefinition", "Lease", "MutatingWebhookConfiguration",
        "PodDisruptionBudget", "RuntimeClass", "ValidatingWebhookConfiguration", "VolumeAttachment",
    }  # fmt: skip


def test_rules_are_for_kinds_that_are_served() -> None:
    assert not STRATEGIES.keys() & LATE.keys()
    assert STRATEGIES.keys() | LATE.keys() <= {version.message for version in registry().versions}


def test_an_api_server_may_have_rules_of_its_own() -> None:
    short = EventStrategy(ttl_seconds=60)
    strategies = Strategies({core.Event: short})
    event, pod = version_of(core.Event), version_of(core.Pod)
    assert (strategies(event), strategies(pod)) == (short, strategy_for(pod))
    assert (strategy_for(event).ttl_seconds, strategy_for(pod).ttl_seconds) == (3600, 0)


class Counted(Strategy):
    has_generation = True


def test_generations_count_the_content_of_a_kind_without_a_spec() -> None:
    old, new = core.ConfigMap(data={"a": "1"}), core.ConfigMap(data={"a": "1"})
    old.metadata.generation, new.metadata.labels["a"] = 3, "b"
    Counted().prepare_for_update(new, old)
    assert new.metadata.generation == 3
    new.data["a"] = "2"
    Counted().prepare_for_update(new, old)
    assert new.metadata.generation == 4


def test_a_namespace_waits_for_its_contents_other_objects_for_their_grace() -> None:
    namespace, config_map = core.Namespace(), core.ConfigMap()
    for obj in (namespace, config_map):
        obj.metadata.deletion_timestamp.seconds = 1
    of_namespace, of_any = STRATEGIES[core.Namespace], Strategy()
    namespace.spec.finalizers.append("kubernetes")
    of_namespace.mark_deleted(namespace, 5)
    of_any.mark_deleted(config_map, 5)
    assert namespace.status.phase == "Terminating" and not namespace.metadata.HasField("deletion_grace_period_seconds")
    assert config_map.metadata.deletion_grace_period_seconds == 5
    assert not of_namespace.vanishes(namespace) and not of_any.vanishes(config_map)
    del namespace.spec.finalizers[:]
    config_map.metadata.deletion_grace_period_seconds = 0
    assert of_namespace.vanishes(namespace) and of_any.vanishes(config_map)
    config_map.metadata.finalizers.append("x.io/y")
    assert not of_any.vanishes(config_map)


def test_a_kind_without_rules_has_a_name_and_an_age() -> None:
    pod = core.Pod()
    pod.metadata.name = "x"
    pod.metadata.creation_timestamp.seconds = 1
    assert Strategy().cells(pod, NOW) == ["x", "1970-01-01T00:00:01Z"]


def test_status_writes_leave_the_spec_and_spec_writes_the_status() -> None:
    old = apps.Deployment()
    old.spec.replicas = 3
    old.status.replicas = 3
    old.metadata.generation = 7
    changed = apps.Deployment()
    changed.spec.replicas = 5
    changed.status.replicas = 9
    strategy = STRATEGIES[apps.Deployment]
    status_write, spec_write = apps.Deployment(), apps.Deployment()
    status_write.CopyFrom(changed)
    spec_write.CopyFrom(changed)
    strategy.prepare_for_status_update(status_write, old)
    strategy.prepare_for_update(spec_write, old)
    assert (status_write.spec.replicas, status_write.status.replicas, status_write.metadata.generation) == (3, 9, 7)
    assert (spec_write.spec.replicas, spec_write.status.replicas, spec_write.metadata.generation) == (5, 3, 8)


@pytest.mark.parametrize(
    ("node", "phase", "requested", "seconds"),
    [
        ("n", "Running", None, 30),
        ("n", "Running", 5, 5),
        ("n", "Running", 0, 0),
        ("n", "Running", -1, 1),
        ("", "Pending", None, 0),
        ("", "Pending", 60, 0),
        ("n", "Succeeded", None, 0),
        ("n", "Failed", 60, 0),
    ],
)
def test_grace_of_a_pod(node: str, phase: str, requested: int | None, seconds: int) -> None:
    pod = core.Pod()
    pod.spec.node_name, pod.status.phase, pod.spec.termination_grace_period_seconds = node, phase, 30
    assert STRATEGIES[core.Pod].grace_period_seconds(pod, requested) == seconds


def test_probable_mistakes_are_warned_of() -> None:
    deployment = apps.Deployment()
    spec = deployment.spec.template.spec
    spec.node_selector["beta.kubernetes.io/os"] = "linux"
    container = spec.containers.add(name="c", image="i")
    for name in ("A", "B", "A"):
        container.env.add(name=name)
    for _ in range(2):
        container.ports.add(container_port=80, protocol="TCP")
    container.resources.limits["memory"].string = "100m"
    where = "spec.template.spec"
    assert STRATEGIES[apps.Deployment].warnings(deployment) == [
        f'{where}.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead',
        f'{where}.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer',
        f'{where}.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply',
        f"{where}.containers[0].ports[1]: duplicate port definition with {where}.containers[0].ports[0]",
    ]


def warned(spec: dict[str, Any]) -> list[str]:
    pod = Subject.of({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
    return pod.strategy.warnings(pod.obj)


def test_a_variable_may_be_built_upon_the_one_before_it() -> None:
    def warnings(**second: Any) -> int:
        return len(warned({"containers": [{"name": "c", "env": [{"name": "A", "value": "x"}, {"name": "A", **second}]}]}))

    assert warnings(value="$(A)/y") == 0
    field = {"fieldRef": {"fieldPath": "metadata.name"}}
    assert [warnings(value="$(A)"), warnings(value="y"), warnings(valueFrom=field)] == [1, 1, 1]


def test_containers_of_a_pod_share_its_ports() -> None:
    def port(number: int = 80, host: int = 0, ip: str = "") -> dict[str, Any]:
        return {"containerPort": number, "protocol": "TCP", "hostPort": host, "hostIP": ip}

    def words(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
        found = warned({"containers": [{"name": "a", "ports": [first]}, {"name": "b", "ports": [second]}]})
        assert all(text.startswith("spec.containers[1].ports[0]: ") for text in found)
        return [text.partition(": ")[2].partition(" port definition with spec.containers[0].ports[0]")[0] for text in found]

    assert words(port(), port(81)) == words(port(host=1), port(host=2)) == []
    assert words(port(), port()) == ["duplicate"]
    assert words(port(), port(host=1)) == ["overlapping"]
    assert words(port(host=1), port(host=1, ip="10.0.0.1")) == ["dangerously ambiguous"]


def test_what_picks_no_pod_or_means_nothing_is_warned_of() -> None:
    term = {"topologyKey": "zone"}
    required, preferred = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
    spread = {"topologyKey": "beta.kubernetes.io/os", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    spec = {
        "topologySpreadConstraints": [spread],
        "hostAliases": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}],
        "terminationGracePeriodSeconds": -1,
        "affinity": {"podAffinity": {required: [term]}, "podAntiAffinity": {preferred: [{"weight": 1, "podAffinityTerm": term}]}},
        "overhead": {"memory": "1m"},
    }
    nothing = "a null labelSelector results in matching no pod"
    renamed = 'beta.kubernetes.io/os is deprecated since v1.14; use "kubernetes.io/os" instead'
    assert warned(spec) == [
        f"spec.topologySpreadConstraints[0].topologyKey: {renamed}",
        f"spec.topologySpreadConstraints[0].labelSelector: {nothing}",
        'spec.hostAliases[1].ip: duplicate ip "10.0.0.1"',
        'spec.overhead[memory]: fractional byte value "1m" is invalid, must be an integer',
        "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
        f"spec.affinity.podAffinity.{required}[0].labelSelector: {nothing}",
        f"spec.affinity.podAntiAffinity.{preferred}[0].podAffinityTerm.labelSelector: {nothing}",
    ]


def test_scale_is_read_and_written() -> None:
    deployment = apps.Deployment()
    deployment.metadata.name, deployment.metadata.namespace, deployment.metadata.resource_version = "d", "default", "7"
    deployment.spec.replicas, deployment.status.replicas = 3, 2
    deployment.spec.selector.match_labels["app"] = "web"
    rule = deployment.spec.selector.match_expressions.add(key="tier", operator="In")
    rule.values.extend(["b", "a"])
    deployment.spec.selector.match_expressions.add(key="old", operator="DoesNotExist")
    scale = to_scale(deployment)
    assert (scale.metadata.name, scale.spec.replicas, scale.status.replicas) == ("d", 3, 2)
    assert scale.status.selector == "app=web,!old,tier in (a,b)" == selector_text(deployment.spec.selector)
    scale.spec.replicas = 9
    apply_scale(deployment, scale)
    assert (deployment.spec.replicas, deployment.metadata.resource_version) == (9, "7")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"),
        (48 * 3600 - 1, "47h"),
        (48 * 3600, "2d"),
        (50 * 3600, "2d2h"),
        (8 * 86400, "8d"),
        (730 * 86400, "2y"),
        (740 * 86400, "2y10d"),
        (8 * 365 * 86400, "8y"),
    ],
)
def test_human_durations(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


@pytest.mark.parametrize("message", [apps.Deployment, flowcontrol.FlowSchema, flowcontrol.PriorityLevelConfiguration])
def test_labels_that_a_write_to_the_status_does_not_change(message: type[Any]) -> None:
    old, changed = message(), message()
    old.metadata.labels["mine"] = changed.metadata.labels["mine"] = "1"
    changed.metadata.labels["other"] = "2"
    changed.metadata.resource_version = "7"
    strategy_for(version_of(message)).prepare_for_status_update(changed, old)
    assert (dict(changed.metadata.labels), changed.metadata.resource_version) == ({"mine": "1"}, "7")


CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx:1"}]}}
JOB_TEMPLATE = {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "nginx:1"}]}}}}


@pytest.mark.parametrize(
    ("version", "kind", "name", "spec"),
    [
        ("v1", "PersistentVolumeClaim", "a", {**CLAIM, "dataSource": {"apiGroup": "Bad Group", "kind": "X", "name": "y"}}),
        ("apps/v1", "StatefulSet", "a.b", {"serviceName": "A_b", "selector": {"matchLabels": {"app": "web"}}, "template": TEMPLATE}),
        ("batch/v1", "CronJob", "a", {"schedule": "TZ=UTC * * * * *", "jobTemplate": JOB_TEMPLATE}),
    ],
)
def test_what_was_stored_before_a_rule_may_be_changed(version: str, kind: str, name: str, spec: dict[str, Any]) -> None:
    manifest = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}
    assert Subject.of(manifest).created().causes()
    changed = {**manifest, "metadata": {"name": name, "labels": {"a": "b"}}}
    assert Subject.of(changed).updated_from(Subject.of(manifest).created()) == []


def test_a_schedule_of_old_that_names_a_zone_keeps_it_alone() -> None:
    def cron_job(zone: str | None) -> Any:
        spec = {"schedule": "TZ=UTC * * * * *", **({"timeZone": zone} if zone else {})}
        return Subject.of({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"}, "spec": spec})

    old, same, both = cron_job(None), cron_job(None), cron_job("UTC")
    assert same.strategy.validate_update(same.obj, old.obj) == []
    told = [cause.message.partition(": ")[2] for cause in both.strategy.validate_update(both.obj, old.obj)]
    assert told == ['"TZ=UTC * * * * *": cannot use both timeZone field and TZ or CRON_TZ in schedule']


@pytest.mark.parametrize(("established", "before", "is_refused"), [("True", b"", True), ("False", b"", False), ("True", b"no key", False)])
def test_who_signs_for_a_conversion_can_be_read_once_it_is_served(established: str, before: bytes, is_refused: bool) -> None:
    """Until then another may write it there, and what could not be read may stay."""

    def definition(bundle: bytes) -> Any:
        client = {"url": "https://a.example", "caBundle": b64encode(bundle).decode()}
        spec = {"conversion": {"strategy": "Webhook", "webhook": {"clientConfig": client}}}
        status = {"conditions": [{"type": "Established", "status": established}]}
        manifest = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "a.b.c"}}
        return Subject.of({**manifest, "spec": spec, "status": status})

    old, new = definition(before), definition(b"no certificate")
    causes = new.strategy.validate_update(new.obj, old.obj)
    assert [cause.message.partition(": ")[0] for cause in causes] == (["Invalid value"] if is_refused else [])
    assert all(cause.field == "spec.conversion.webhook.clientConfig.caBundle" for cause in causes)
