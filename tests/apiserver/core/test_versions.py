"""One resource in several versions, also in several groups: written through one, read, listed, watched and selected through another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.protobuf.message import Message

from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling_v1
from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling_v2
from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.events.v1 import events_pb2 as events
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.metrics.v1beta1 import metrics_pb2 as metrics
from knarr.api.runtime.v1 import runtime_pb2 as runtime
from knarr.client.client import Client
from knarr.machinery import catalog, envelope
from knarr.machinery.conversions.autoscaling import METRICS
from knarr.machinery.errors import BadRequest, Conflict, Invalid, NotFound
from knarr.machinery.resources import Conversion, Resource, Version
from services.apiserver.entry import Entry
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.storage.store import Put, Transaction
from services.apiserver.strategies import STRATEGIES
from tests.support.faces import RestClient, rpc_client

PROTOBUF = "application/vnd.kubernetes.protobuf"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
OLD, NEW = "/api/v1/namespaces/default/events", "/apis/events.k8s.io/v1/namespaces/default/events"
V1, V2 = (f"/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers" for version in ("v1", "v2"))


@pytest.fixture
async def api() -> AsyncIterator[ApiInMemory]:
    async with ApiInMemory() as found:
        yield found


@pytest.fixture
def rest(api: ApiInMemory) -> RestClient:
    return RestClient(api)


@pytest.fixture(params=["local", "rpc"])
async def client(request: pytest.FixtureRequest, api: ApiInMemory, tmp_path: Path) -> AsyncIterator[Client]:
    if request.param == "local":
        yield api.client()
    else:
        async with rpc_client(api, tmp_path) as found:
            yield found


def new_event(name: str = "e", pod: str = "p") -> events.Event:
    event = events.Event(type="Normal", reason="Started", action="Start", reporting_controller="example.org/c", reporting_instance="c-1")
    event.metadata.name, event.metadata.namespace, event.note = name, "default", "it runs"
    event.event_time.seconds = 1_700_000_000
    event.regarding.kind, event.regarding.namespace, event.regarding.name = "Pod", "default", pod
    return event


def old_event(name: str = "o") -> core.Event:
    event = core.Event(type="Warning", reason="Failed", message="it does not", count=3)
    event.metadata.name, event.metadata.namespace = name, "default"
    event.involved_object.kind, event.involved_object.namespace, event.involved_object.name = "Pod", "default", "q"
    return event


def autoscaler(cpu: int = 70) -> autoscaling_v1.HorizontalPodAutoscaler:
    made = autoscaling_v1.HorizontalPodAutoscaler()
    made.metadata.name, made.metadata.namespace = "a", "default"
    made.spec.scale_target_ref.kind, made.spec.scale_target_ref.name, made.spec.max_replicas = "Deployment", "web", 5
    made.spec.scale_target_ref.api_version = "apps/v1"
    made.spec.target_cpu_utilization_percentage = cpu
    return made


MEMORY = {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}}


async def test_events_are_one_resource_in_two_groups(api: ApiInMemory, client: Client) -> None:
    await client.create(new_event())
    await client.create(old_event())
    (stored, _) = api.store.items("/registry/events/")
    assert envelope.unwrap(stored.value).type_meta == runtime.TypeMeta(api_version="v1", kind="Event")
    found = await client.get(core.Event, "e", "default")
    assert (found.message, found.involved_object.name, found.reporting_component) == ("it runs", "p", "example.org/c")
    assert (await client.get(events.Event, "o", "default")).deprecated_count == 3
    for message in (core.Event, events.Event):
        listed: Any = await client.list(message, "default")
        assert [item.metadata.name for item in listed.items] == ["e", "o"] and all(type(item) is message for item in listed.items)
    patched = await client.patch(core.Event, "e", "default", patch={"message": "it ran"})
    assert patched.message == "it ran" and (await client.get(events.Event, "e", "default")).note == "it ran"
    seen = await client.get(events.Event, "e", "default")
    seen.series.count, seen.series.last_observed_time.seconds = 2, 1_700_000_060
    updated = await client.update(seen)
    assert (await client.get(core.Event, "e", "default")).series.count == 2
    with pytest.raises(Conflict):
        await client.update(seen)
    updated.note = "else"
    with pytest.raises(Invalid, match="message"):
        await client.update(updated)
    await client.delete(events.Event, "o", "default")
    with pytest.raises(NotFound, match=r'events\.events\.k8s\.io "o" not found'):
        await client.get(events.Event, "o", "default")
    with pytest.raises(NotFound, match='events "o" not found'):
        await client.get(core.Event, "o", "default")


async def test_a_watch_sees_what_is_written_in_other_versions(client: Client) -> None:
    await client.create(old_event("before"))
    watches: dict[Any, Any] = {message: client.watch(message, "default", resource_version="0") for message in (core.Event, events.Event)}
    for message, stream in watches.items():
        assert [(event.type, type(event.object), event.object.metadata.name) for event in await anext(stream)] == [
            ("ADDED", message, "before")
        ]
    await client.create(new_event())
    await client.patch(core.Event, "e", "default", patch={"count": 4})
    await client.delete(events.Event, "e", "default")
    seen: dict[type[Message], list[Any]] = {message: [] for message in watches}
    for message, stream in watches.items():
        async with asyncio.timeout(5):
            while len(seen[message]) < 3:
                seen[message] += await anext(stream)
        assert [event.type for event in seen[message]] == ["ADDED", "MODIFIED", "DELETED"]
        await stream.aclose()
    assert [event.object.count for event in seen[core.Event]] == [0, 4, 4]
    assert [event.object.deprecated_count for event in seen[events.Event]] == [0, 4, 4]


async def test_fields_are_selected_by_the_versions_own_names(client: Client) -> None:
    await client.create(new_event("e", "p"))
    await client.create(old_event("o"))
    for message, prefix in ((core.Event, "involvedObject"), (events.Event, "regarding")):
        found: Any = await client.list(message, field_selector=f"{prefix}.name=p")
        assert [item.metadata.name for item in found.items] == ["e"]
    for message, label in ((core.Event, "regarding.name"), (events.Event, "involvedObject.name"), (events.Event, "source")):
        with pytest.raises(BadRequest, match=f"field label not supported: {label}"):
            await client.list(message, field_selector=f"{label}=p")
    assert len((await client.list(events.Event, field_selector="reportingController=example.org/c,metadata.name=e")).items) == 1


async def test_autoscalers_are_one_resource_in_two_versions(api: ApiInMemory, client: Client) -> None:
    await client.create(autoscaler())
    (stored,) = api.store.items("/registry/horizontalpodautoscalers/")
    assert envelope.unwrap(stored.value).type_meta == runtime.TypeMeta(api_version="autoscaling/v2", kind="HorizontalPodAutoscaler")
    found = await client.get(autoscaling_v2.HorizontalPodAutoscaler, "a", "default")
    assert [(metric.resource.name, metric.resource.target.average_utilization) for metric in found.spec.metrics] == [("cpu", 70)]
    assert found.spec.min_replicas == 1
    both = [MEMORY, {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}]
    await client.patch(autoscaling_v2.HorizontalPodAutoscaler, "a", "default", patch={"spec": {"metrics": both}})
    old = await client.get(autoscaling_v1.HorizontalPodAutoscaler, "a", "default")
    assert old.spec.target_cpu_utilization_percentage == 60
    assert orjson.loads(old.metadata.annotations[METRICS])[0]["resource"] == {"name": "memory", "targetAverageValue": "1Gi"}
    # A client of v1 that knows nothing of other metrics changes what it knows and keeps the rest.
    old.spec.max_replicas, old.spec.target_cpu_utilization_percentage = 9, 50
    await client.update(old)
    await client.patch(autoscaling_v1.HorizontalPodAutoscaler, "a", "default", patch={"spec": {"minReplicas": 2}})
    found = await client.get(autoscaling_v2.HorizontalPodAutoscaler, "a", "default")
    assert (found.spec.min_replicas, found.spec.max_replicas, found.spec.metrics[1].resource.target.average_utilization) == (2, 9, 50)
    assert found.spec.metrics[0].resource.name == "memory" and not found.metadata.annotations
    found.status.desired_replicas = 4
    found.status.conditions.add(type="AbleToScale", status="True")
    await client.update(found, subresource="status")
    assert (await client.get(autoscaling_v1.HorizontalPodAutoscaler, "a", "default")).status.desired_replicas == 4
    before = await client.get(autoscaling_v1.HorizontalPodAutoscaler, "a", "default")
    after = await client.update(before)
    assert after.metadata.resource_version == before.metadata.resource_version, "nothing changed: nothing is written"


async def test_both_versions_on_rest(rest: RestClient) -> None:
    spec = {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w"}, "metrics": [MEMORY]}
    body = {"metadata": {"name": "a"}, "spec": spec}
    created = await rest.call("POST", V2, body)
    assert (created.status, created.json["apiVersion"]) == (201, "autoscaling/v2")
    assert "warning" not in created.headers
    dry = await rest.call("PUT", f"{V1}/a?dryRun=All", {**(await rest.get(f"{V1}/a")).json, "spec": {**spec, "metrics": None}})
    assert (dry.status, dry.json["apiVersion"], "metrics" in dry.json["spec"]) == (200, "autoscaling/v1", False)
    other = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", **body}
    assert (await rest.call("POST", V1, other)).status == 400, "a body is in the version of its path"
    found = (await rest.get(f"{V1}/a")).json
    assert found["apiVersion"] == "autoscaling/v1" and METRICS in found["metadata"]["annotations"]
    listed = (await rest.get(V1)).json
    assert (listed["kind"], listed["apiVersion"], listed["items"][0]) == ("HorizontalPodAutoscalerList", "autoscaling/v1", found)
    assert (await rest.get(V1 + "?fieldSelector=metadata.name%3Da")).json["items"] == listed["items"]
    for path, message in ((V1, autoscaling_v1), (V2, autoscaling_v2)):
        unknown = envelope.unwrap((await rest.get(f"{path}/a", accept=PROTOBUF)).body)
        obj = message.HorizontalPodAutoscaler.FromString(unknown.raw)
        assert unknown.type_meta.api_version == path.removeprefix("/apis/").partition("/namespaces")[0]
        assert (obj.metadata.name, obj.spec.max_replicas) == ("a", 3)
        sent = envelope.wrap(unknown.type_meta.api_version, unknown.type_meta.kind, unknown.raw)
        assert (await rest.call("PUT", f"{path}/a", sent, content_type=PROTOBUF)).status == 200
        items = envelope.unwrap((await rest.get(path, accept=PROTOBUF)).body).raw
        assert message.HorizontalPodAutoscalerList.FromString(items).items[0] == obj
    rows = {path: (await rest.get(path, accept=TABLE)).json for path in (V1, V2)}
    assert rows[V1]["rows"][0]["cells"] == rows[V2]["rows"][0]["cells"]
    assert rows[V1]["rows"][0]["cells"][1:3] == ["Deployment/w", "memory: <unknown>/1Gi"]
    assert METRICS in rows[V1]["rows"][0]["object"]["metadata"]["annotations"]
    assert "annotations" not in rows[V2]["rows"][0]["object"]["metadata"]
    partial = (await rest.get(f"{V1}/a", accept="application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")).json
    assert METRICS in partial["metadata"]["annotations"]
    watched = await rest.get(f"{V1}?watch=true&resourceVersion=0&timeoutSeconds=1")
    assert orjson.loads(watched.body.splitlines()[0])["object"] == (await rest.get(f"{V1}/a")).json
    assert (await rest.call("DELETE", f"{V1}/a")).json["details"]["group"] == "autoscaling"
    assert (await rest.get(f"{V2}/a")).status == 404


async def test_both_groups_of_events_on_rest(rest: RestClient) -> None:
    event = {
        "metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "reason": "R", "action": "A", "note": "n",
        "reportingController": "c", "reportingInstance": "i", "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
    }  # fmt: skip
    assert (await rest.call("POST", NEW, {**event, "deprecatedCount": 1})).status == 422
    assert (await rest.call("POST", NEW, event)).status == 201
    assert (await rest.get(f"{OLD}/e")).json["message"] == "n"
    for path in (OLD, NEW):
        table = (await rest.get(path, accept=TABLE)).json
        assert table["rows"][0]["cells"][3] == "pod/p"
        assert b'"e"' in (await rest.get(path + "?watch=true&resourceVersion=0&timeoutSeconds=1")).body
    assert (await rest.get(NEW + "?fieldSelector=regarding.name%3Dx")).json["items"] == []
    assert (await rest.call("PATCH", f"{NEW}/e", {"note": "other"}, content_type="application/merge-patch+json")).status == 422
    assert (await rest.call("PATCH", f"{OLD}/e", {"message": "m"}, content_type="application/strategic-merge-patch+json")).json[
        "message"
    ] == "m"
    gone = await rest.call("DELETE", NEW)
    assert (gone.json["apiVersion"], gone.json["items"][0]["note"]) == ("events.k8s.io/v1", "m")
    assert (await rest.get(OLD)).json["items"] == []


async def test_discovery_and_documents_have_both(rest: RestClient) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    groups = {item["metadata"]["name"]: item for item in (await rest.get("/apis", accept=accept)).json["items"]}
    assert [version["version"] for version in groups["autoscaling"]["versions"]] == ["v2", "v1"], "the preferred one is the first"
    assert [entry["resource"] for entry in groups["events.k8s.io"]["versions"][0]["resources"]] == ["events"]
    legacy = (await rest.get("/apis/autoscaling")).json
    assert (legacy["preferredVersion"]["version"], [found["version"] for found in legacy["versions"]]) == ("v2", ["v2", "v1"])
    for path, name in (
        ("api/v1", "core.v1.Event"),
        ("apis/events.k8s.io/v1", "events.v1.Event"),
        ("apis/autoscaling/v1", "autoscaling.v1.HorizontalPodAutoscaler"),
        ("apis/autoscaling/v2", "autoscaling.v2.HorizontalPodAutoscaler"),
    ):
        assert f"io.k8s.api.{name}" in (await rest.get(f"/openapi/v3/{path}")).json["components"]["schemas"], path


async def test_another_version_is_made_once_a_revision(api: ApiInMemory, rest: RestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    # The messages are those of kinds that have rules of their own.
    for message in (core.PodTemplate, core.LimitRange):
        monkeypatch.delitem(STRATEGIES, message, raising=False)
    monkeypatch.setattr(api.server.api.pipeline.strategies, "_entries", STRATEGIES)
    made: list[Message] = []

    def back(message: Any) -> Any:
        made.append(message)
        other = metrics.NodeMetrics(metadata=message.metadata)
        other.metadata.annotations["shown"] = "yes"
        return other

    def forth(message: Any) -> Any:
        other = metrics.PodMetrics(metadata=message.metadata)
        del other.metadata.annotations["shown"]
        return other

    # Also names that no message type has: bodies and answers go by the registry's.
    stored = Version("example.org", "v1", "Widget", metrics.PodMetrics, metrics.PodMetricsList)
    shown = Version(
        "example.org",
        "v1beta1",
        "Gadget",
        metrics.NodeMetrics,
        metrics.NodeMetricsList,
        Conversion(forth, back),
        "example.org/v1beta1 is old",
    )
    api.server.registry.add(Resource("widgets", (stored, shown)))
    paths = [f"/apis/example.org/{version}/namespaces/default/widgets" for version in ("v1", "v1beta1")]
    body = {"kind": "Gadget", "apiVersion": "example.org/v1beta1", "metadata": {"name": "w", "annotations": {"shown": "yes"}}}
    assert (await rest.call("POST", paths[1], {**body, "kind": "LimitRange", "apiVersion": "v1"})).status == 400
    created = await rest.call("POST", paths[1], body)
    assert (created.status, created.json["kind"], created.json["metadata"]["annotations"]) == (201, "Gadget", {"shown": "yes"})
    assert "example.org/v1beta1 is old" in created.headers["warning"][0]
    assert len(made) == 2, "to see what of it is its maker's, and to answer"
    made.clear()
    answer = await rest.get(f"{paths[0]}/w")
    assert (answer.json["kind"], answer.json["apiVersion"]) == ("Widget", "example.org/v1")
    assert "annotations" not in answer.json["metadata"]
    assert "warning" not in answer.headers
    for _ in range(3):
        for path in (f"{paths[1]}/w", paths[1], f"{paths[1]}?watch=true&resourceVersion=0&timeoutSeconds=1"):
            assert b"Gadget" in (await rest.get(path)).body
    assert made == [], "the answer to its writer is everybody's"
    change = {"metadata": {"labels": {"a": "c"}}}
    found = await rest.call("PATCH", f"{paths[0]}/w", change, content_type="application/merge-patch+json")
    assert found.status == 200, found.body
    made.clear()
    assert (await rest.get(f"{paths[1]}/w")).json["metadata"]["labels"] == {"a": "c"}
    assert len(made) == 1


def test_the_stored_bytes_pass_unconverted() -> None:
    version = catalog.version_of(core.Event)
    raw = old_event().SerializeToString()
    entry = Entry(version, "/registry/events/default/o", 7, raw)
    assert entry.served(version) is entry and entry.raw is raw
    other = catalog.version_of(events.Event)
    assert entry.served(other) is entry.served(other) and entry.served(other).version is other
    entry.forget_derived()
    assert events.Event.FromString(entry.served(other).with_revision).metadata.resource_version == "7"


async def test_what_was_stored_in_another_version_is_read_too(api: ApiInMemory, rest: RestClient) -> None:
    key, kept = "/registry/horizontalpodautoscalers/default/a", autoscaler(40)
    kept.metadata.uid, kept.metadata.creation_timestamp.seconds = "u", 1_700_000_000
    api.store.apply(Transaction({}, [Put(key, envelope.wrap("autoscaling/v1", "HorizontalPodAutoscaler", kept.SerializeToString()))]))
    await api.settle()
    metrics = (await rest.get(f"{V2}/a")).json["spec"]["metrics"]
    assert metrics[0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 40}
    assert (await rest.get(f"{V1}/a")).json["spec"]["targetCPUUtilizationPercentage"] == 40
    changed = await rest.call("PATCH", f"{V1}/a", {"spec": {"maxReplicas": 7}}, content_type="application/merge-patch+json")
    assert changed.status == 200, changed.json
    (stored,) = api.store.items("/registry/horizontalpodautoscalers/")
    assert envelope.unwrap(stored.value).type_meta.api_version == "autoscaling/v2"
    api.store.apply(Transaction({}, [Put(key, envelope.wrap("autoscaling/v9", "HorizontalPodAutoscaler", b""))]))
    await api.settle()
    refused = await rest.get(f"{V2}/a")
    assert refused.status == 500, "a version that nobody can read is left out, logged, and told to who asks for the object"
    assert "cannot be read: horizontalpodautoscalers of autoscaling/v9 are not served" in refused.json["message"]


async def test_what_an_older_kubernetes_stored_is_read_too(api: ApiInMemory, client: Client) -> None:
    lease = coordination.Lease(metadata=meta.ObjectMeta(name="a", namespace="default", uid="u"), spec={"holder_identity": "me"})
    lease.metadata.creation_timestamp.seconds = 1_700_000_000
    wrapped = envelope.wrap("coordination.k8s.io/v1beta1", "Lease", lease.SerializeToString())
    api.store.apply(Transaction({}, [Put("/registry/leases/default/a", wrapped)]))
    await api.settle()
    found = await client.get(coordination.Lease, "a", "default")
    assert found.spec.holder_identity == "me"
    found.spec.holder_identity = "you"
    await client.update(found)
    (stored,) = api.store.items("/registry/leases/")
    assert envelope.unwrap(stored.value).type_meta.api_version == "coordination.k8s.io/v1"


def test_a_version_belongs_to_one_resource() -> None:
    version = catalog.version_of(core.Event)
    with pytest.raises(ValueError, match="belongs to another resource"):
        Resource("others", (version,))


async def test_objects_of_any_version_are_seeded(api: ApiInMemory) -> None:
    api.seed(autoscaler())
    (found,) = api.all(autoscaling_v2.HorizontalPodAutoscaler)
    assert found.spec.metrics[0].resource.target.average_utilization == 70
    assert api.all(autoscaling_v1.HorizontalPodAutoscaler)[0].spec.target_cpu_utilization_percentage == 70


async def test_who_uses_a_deprecated_version_is_told(rest: RestClient) -> None:
    warned = (await rest.get("/api/v1/namespaces/default/endpoints")).headers["warning"]
    assert warned == ['299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"']
    assert "warning" not in (await rest.get("/apis/discovery.k8s.io/v1/endpointslices")).headers
