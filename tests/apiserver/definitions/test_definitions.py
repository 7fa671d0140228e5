"""CustomResourceDefinitions: names, conditions, what is served for them, and their end."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from knarr.client.clock import SYSTEM_CLOCK
from services.apiserver.component import ApiServer
from services.apiserver.definitions.names import status_of
from services.apiserver.in_memory import SETTINGS, ApiInMemory, _no_kubelet
from services.apiserver.metrics import CACHED_OBJECTS
from services.apiserver.rest.application import create_app
from services.apiserver.storage.store import Put, Transaction
from tests.apiserver.definitions.asgi import CRDS, TOKENS, WIDGETS, Rest, definition, running, widget

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
MERGE = "application/merge-patch+json"


async def test_a_definition_is_established_and_published() -> None:
    async with running() as rest:
        await rest.define(definition(names={"shortNames": ["wd"], "categories": ["all"]}))
        found = (await rest("GET", f"{CRDS}/widgets.example.org")).json
        assert found["status"]["acceptedNames"] == {
            "plural": "widgets",
            "singular": "widget",
            "shortNames": ["wd"],
            "kind": "Widget",
            "listKind": "WidgetList",
            "categories": ["all"],
        }
        assert found["status"]["storedVersions"] == ["v1"]
        assert found["spec"]["conversion"] == {"strategy": "None"}
        (resource,) = (await rest("GET", "/apis/example.org/v1")).json["resources"]
        assert (resource["name"], resource["shortNames"], resource["categories"]) == ("widgets", ["wd"], ["all"])
        groups = (await rest("GET", "/apis")).json["groups"]
        assert [group["name"] for group in groups if group["name"] == "example.org"] == ["example.org"]
        document = (await rest("GET", "/openapi/v3/apis/example.org/v1")).json
        assert "org.example.v1.Widget" in document["components"]["schemas"]


async def test_a_definition_says_that_it_is_not_established_before_it_is() -> None:
    """`kubectl wait` fails at conditions that are ``null``, and it may ask at once."""
    async with running() as rest:
        made = (await rest("POST", CRDS, definition())).json
        (condition,) = made["status"]["conditions"]
        assert (condition["type"], condition["status"], condition["reason"]) == ("Established", "False", "Installing")
        assert condition["lastTransitionTime"] == made["metadata"]["creationTimestamp"]


async def test_objects_are_written_read_watched_and_patched() -> None:
    async with running() as rest:
        await rest.define(definition())
        async with rest.watch(f"{WIDGETS}?watch=1&resourceVersion={rest.api.store.revision}") as events:
            made = await rest("POST", WIDGETS, widget(spec={"a": 1}, junk=True))
            assert made.status == 201 and "junk" not in made.json
            assert made.warnings == ['299 - "unknown field \\"junk\\""']
            assert made.json["metadata"]["generation"] == 1
            patched = await rest("PATCH", f"{WIDGETS}/a", {"spec": {"b": 2}}, MERGE)
            assert patched.json["spec"] == {"a": 1, "b": 2} and patched.json["metadata"]["generation"] == 2
            operations = b'[{"op":"remove","path":"/spec/a"}]'
            assert (await rest("PATCH", f"{WIDGETS}/a", operations, "application/json-patch+json")).json["spec"] == {"b": 2}
            listed = (await rest("GET", WIDGETS)).json
            assert (listed["kind"], [item["spec"] for item in listed["items"]]) == ("WidgetList", [{"b": 2}])
            gone = await rest("DELETE", f"{WIDGETS}/a")
            assert gone.json["status"] == "Success"
            told = [await events.get() for _ in range(4)]
        assert [event["type"] for event in told] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
        assert told[0]["object"] == made.json


async def test_it_lies_in_the_store_as_kubernetes_keeps_it() -> None:
    async with running() as rest:
        await rest.define(definition())
        await rest("POST", WIDGETS, widget(spec={"b": 1, "a": "<x>"}))
        (item,) = rest.api.store.items("/registry/example.org/widgets/")
        assert item.key == "/registry/example.org/widgets/default/a"
        assert item.value.startswith(b'{"apiVersion":"example.org/v1","kind":"Widget","metadata":{"creationTimestamp":')
        # What another server has written: other keys first, and a line's end.
        text = b'{"apiVersion":"example.org/v1","data":1,"kind":"Widget","metadata":{"name":"b","namespace":"default"},"spec":{"z":1}}\n'
        rest.api.store.apply(Transaction({}, [Put("/registry/example.org/widgets/default/b", text)]))
        await rest.api.settle()
        found = (await rest("GET", f"{WIDGETS}/b")).json
        assert found["metadata"]["resourceVersion"] == str(rest.api.store.revision)
        assert found["spec"] == {"z": 1} and "data" not in found


@pytest.mark.parametrize(
    ("body", "content_type", "status", "words"),
    [
        (widget(spec={}) | {"kind": "Gadget"}, "application/json", 400, "cannot be handled as a Widget"),
        (b'{"metadata":{"name":"a"}}', "application/json", 400, "Object 'Kind' is missing"),
        (b"[]", "application/json", 400, "no JSON object"),
        (b"{", "application/json", 400, "no JSON"),
        (b"k8s\0", "application/vnd.kubernetes.protobuf", 415, "accepted media types include: application/json, application/yaml"),
        (widget() | {"metadata": {"name": "a", "labels": {"a": 1}}}, "application/json", 400, "cannot be handled as a Widget"),
        (widget() | {"metadata": []}, "application/json", 400, "cannot be handled as a Widget"),
    ],
)
async def test_bodies_that_are_none(body: Any, content_type: str, status: int, words: str) -> None:
    async with running() as rest:
        await rest.define(definition())
        answer = await rest("POST", WIDGETS, body, content_type)
        assert answer.status == status and words in answer.json["message"]


async def test_field_validation() -> None:
    async with running() as rest:
        await rest.define(definition())
        text = b'{"apiVersion":"example.org/v1","kind":"Widget","metadata":{"name":"a","x":1},"spec":{"a":1,"a":2},"junk":1}'
        strict = await rest("POST", f"{WIDGETS}?fieldValidation=Strict", text)
        assert strict.status == 400
        for stray in ('duplicate field "spec.a"', 'unknown field "metadata.x"', 'unknown field "junk"'):
            assert stray in strict.json["message"]
        assert not (await rest("POST", f"{WIDGETS}?fieldValidation=Ignore", text)).warnings
        yaml = b"apiVersion: example.org/v1\nkind: Widget\nmetadata: {name: b}\nspec: {a: 1}\njunk: 1\n"
        made = await rest("POST", WIDGETS, yaml, "application/yaml")
        assert made.status == 201 and len(made.warnings) == 1


@pytest.mark.parametrize("revision", [{}, {"resourceVersion": "0"}])
async def test_an_update_must_say_what_it_is_meant_for(revision: dict[str, str]) -> None:
    async with running() as rest:
        await rest.define(definition())
        assert (await rest("POST", WIDGETS, widget())).status == 201
        answer = await rest("PUT", f"{WIDGETS}/a", {**widget(), "metadata": {"name": "a", **revision}})
        assert answer.status == 422 and "must be specified for an update" in answer.json["message"]


async def test_a_strategic_merge_patch_is_refused_with_what_is_accepted() -> None:
    async with running() as rest:
        await rest.define(definition())
        await rest("POST", WIDGETS, widget())
        answer = await rest("PATCH", f"{WIDGETS}/a", {"spec": {}}, "application/strategic-merge-patch+json")
        assert (answer.status, answer.json["reason"]) == (415, "UnsupportedMediaType")
        assert answer.json["message"].endswith("application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml")


async def test_protobuf_is_answered_with_json_to_whom_takes_it() -> None:
    async with running() as rest:
        await rest.define(definition())
        assert (await rest("GET", WIDGETS, accept="application/vnd.kubernetes.protobuf,application/json")).json["kind"] == "WidgetList"
        assert (await rest("GET", WIDGETS, accept="application/vnd.kubernetes.protobuf")).status == 406


SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "replicas": {"type": "integer", "minimum": 0, "default": 1},
                "mode": {"type": "string", "enum": ["fast", "slow"]},
                "ready": {"type": "boolean"},
            },
        },
        "status": {
            "type": "object",
            "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}, "since": {"type": "string"}},
        },
    },
}
PARTS: dict[str, Any] = {
    "subresources": {
        "status": {},
        "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"},
    },
    "additionalPrinterColumns": [
        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
        {"name": "Mode", "type": "string", "jsonPath": ".spec.mode", "priority": 1, "description": "How."},
        {"name": "Since", "type": "date", "jsonPath": ".status.since"},
        {"name": "Ready", "type": "boolean", "jsonPath": ".spec.mode"},
    ],
    "selectableFields": [{"jsonPath": ".spec.mode"}, {"jsonPath": ".spec.ready"}],
}


async def test_defaults_and_values() -> None:
    async with running() as rest:
        await rest.define(definition(schema=SCHEMA))
        assert (await rest("POST", WIDGETS, widget(spec={"mode": "fast"}))).json["spec"] == {"mode": "fast", "replicas": 1}
        refused = await rest("POST", WIDGETS, widget("b", spec={"mode": "odd", "replicas": -1}))
        assert refused.status == 422 and refused.json["details"]["kind"] == "Widget"
        assert refused.causes == [
            'spec.mode: Unsupported value: "odd": supported values: "fast", "slow"',
            "spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0",
        ]
        assert (await rest("POST", WIDGETS, widget("c"))).causes == ["spec: Required value"]
        unset = await rest("PUT", f"{WIDGETS}/a", widget(spec={}))
        assert unset.causes == ["metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"]


async def test_status_and_scale() -> None:
    async with running() as rest:
        await rest.define(definition(schema=SCHEMA, **PARTS))
        made = await rest("POST", WIDGETS, widget(spec={}, status={"replicas": 9}))
        assert "status" not in made.json
        told = {"status": {"replicas": 2, "selector": "a=b"}, "spec": {"replicas": 7}, "metadata": {"labels": {"x": "y"}}}
        answered = (await rest("PATCH", f"{WIDGETS}/a/status", told, MERGE)).json
        assert (answered["spec"], answered["status"]) == ({"replicas": 1}, {"replicas": 2, "selector": "a=b"})
        assert answered["metadata"]["generation"] == 1 and "labels" not in answered["metadata"]
        kept = (await rest("PATCH", f"{WIDGETS}/a", {"status": None, "spec": {"mode": "slow"}}, MERGE)).json
        assert kept["status"] == answered["status"] and kept["metadata"]["generation"] == 2
        scale = (await rest("GET", f"{WIDGETS}/a/scale")).json
        assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
        assert (scale["spec"], scale["status"]) == ({"replicas": 1}, {"replicas": 2, "selector": "a=b"})
        scaled = await rest("PATCH", f"{WIDGETS}/a/scale", {"spec": {"replicas": 5}}, MERGE)
        assert scaled.json["spec"] == {"replicas": 5}
        assert (await rest("GET", f"{WIDGETS}/a")).json["spec"]["replicas"] == 5
        wrong = await rest("PATCH", f"{WIDGETS}/a/status", {"status": {"replicas": "x"}}, MERGE)
        assert wrong.causes[0].startswith('status.replicas: Invalid value: "string": status.replicas in body must be of type integer')


async def test_columns_and_selectable_fields() -> None:
    async with running() as rest:
        await rest.define(definition(schema=SCHEMA, **PARTS))
        for name, spec in (("a", {"mode": "fast", "ready": True}), ("b", {"mode": "slow"})):
            await rest("POST", WIDGETS, widget(name, spec=spec))
        table = (await rest("GET", WIDGETS, accept=TABLE)).json
        assert [(column["name"], column["type"], column["priority"]) for column in table["columnDefinitions"]] == [
            ("Name", "string", 0),
            ("Replicas", "integer", 0),
            ("Mode", "string", 1),
            ("Since", "date", 0),
            ("Ready", "boolean", 0),
        ]
        assert [row["cells"] for row in table["rows"]] == [["a", 1, "fast", None, None], ["b", 1, "slow", None, None]]
        for selector, names in (
            ("spec.mode=slow", ["b"]),
            ("spec.mode!=slow", ["a"]),
            ("spec.ready=true", ["a"]),
            ("metadata.name=b", ["b"]),
        ):
            found = (await rest("GET", f"{WIDGETS}?fieldSelector={selector}")).json["items"]
            assert [item["metadata"]["name"] for item in found] == names, selector
        assert (await rest("GET", f"{WIDGETS}?fieldSelector=spec.other=1")).status == 400


async def test_columns_end_before_a_path_that_nobody_understands() -> None:
    """Published definitions have such paths: they are taken, as Kubernetes takes them."""
    paths = {"First": ".spec.list[].name", "Odd": ".spec[?", "After": ".spec.mode"}
    columns = [{"name": name, "type": "string", "jsonPath": path} for name, path in paths.items()]
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    async with running() as rest:
        await rest.define(definition(schema=schema, additionalPrinterColumns=columns))
        await rest("POST", WIDGETS, widget(spec={"list": [{"name": "x"}, {"name": "y"}]}))
        table = (await rest("GET", WIDGETS, accept=TABLE)).json
        assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "First"]
        assert table["rows"][0]["cells"] == ["a", "x"]


async def test_several_versions_show_the_same_objects() -> None:
    open_spec = {"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
    narrow = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "integer"}}}}}
    versions = [
        {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": open_spec}},
        {"name": "v1beta1", "served": True, "storage": False, "schema": {"openAPIV3Schema": narrow}, "deprecated": True},
        {"name": "v1alpha1", "served": False, "storage": False, "schema": {"openAPIV3Schema": narrow}},
    ]
    async with running() as rest:
        await rest.define(definition(versions=versions))
        older = WIDGETS.replace("/v1/", "/v1beta1/")
        made = await rest("POST", older, widget(api_version="example.org/v1beta1", spec={"a": 1, "b": 2}))
        assert made.json["apiVersion"] == "example.org/v1beta1" and made.json["spec"] == {"a": 1}
        assert '299 - "example.org/v1beta1 Widget is deprecated"' in made.warnings
        assert (await rest("GET", f"{WIDGETS}/a")).json["apiVersion"] == "example.org/v1"
        assert (await rest("GET", WIDGETS.replace("/v1/", "/v1alpha1/"))).status == 404
        # Another version is stored from now on: what lies there already is shown all the same.
        for version in versions:
            version["storage"] = version["name"] == "v1beta1"
        found = (await rest("GET", f"{CRDS}/widgets.example.org")).json
        found["spec"]["versions"] = versions
        changed = await rest("PUT", f"{CRDS}/widgets.example.org", found)
        assert changed.json["status"]["storedVersions"] == ["v1", "v1beta1"]
        await _until_stored(rest, "v1beta1")
        assert (await rest("GET", f"{WIDGETS}/a")).json["spec"] == {"a": 1}
        gone = {"spec": {"versions": [version for version in versions if version["name"] != "v1"]}}
        refused = await rest("PATCH", f"{CRDS}/widgets.example.org", gone, MERGE)
        assert refused.status == 422 and "missing from spec.versions; v1 was previously a storage version" in refused.json["message"]


async def test_a_sub_resource_is_served_in_the_versions_that_have_it() -> None:
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"status": anything, "spec": anything}}
    parts: dict[str, Any] = {"v1": {"status": {}}, "v2": {}, "v3": {"status": {}, "scale": PARTS["subresources"]["scale"]}}
    versions = [
        {"name": name, "served": True, "storage": name == "v2", "schema": {"openAPIV3Schema": schema}, "subresources": found}
        for name, found in parts.items()
    ]
    async with running() as rest:
        await rest.define(definition(versions=versions))
        in_two = WIDGETS.replace("/v1/", "/v2/")
        made = await rest("POST", in_two, widget(api_version="example.org/v2", status={"a": 1}, spec={"replicas": 2}))
        assert made.json["status"] == {"a": 1}
        # Through a version with a status of its own it is not reached by a write to the object, nor the other way round.
        assert (await rest("PATCH", f"{WIDGETS}/a", {"status": {"a": 2}}, MERGE)).json["status"] == {"a": 1}
        assert (await rest("PATCH", f"{WIDGETS}/a/status", {"status": {"a": 3}}, MERGE)).json["status"] == {"a": 3}
        assert (await rest("PATCH", f"{in_two}/a/status", {"status": {"a": 4}}, MERGE)).status == 404
        assert (await rest("GET", f"{in_two}/a/scale")).status == 404 and (await rest("GET", f"{WIDGETS}/a/scale")).status == 404
        in_three = WIDGETS.replace("/v1/", "/v3/")
        assert (await rest("GET", f"{in_three}/a/scale")).json["spec"] == {"replicas": 2}
        assert (await rest("PATCH", f"{in_three}/a/scale", {"spec": {"replicas": 4}}, MERGE)).json["spec"] == {"replicas": 4}
        assert (await rest("GET", f"{in_two}/a")).json["spec"] == {"replicas": 4}
        for name, found in parts.items():
            listed = (await rest("GET", f"/apis/example.org/{name}")).json["resources"]
            assert {entry["name"] for entry in listed} == {"widgets", *(f"widgets/{part}" for part in found)}
            document = (await rest("GET", f"/openapi/v3/apis/example.org/{name}")).json
            prefix = f"/apis/example.org/{name}/namespaces/{{namespace}}/widgets/{{name}}/"
            assert {path.removeprefix(prefix) for path in document["paths"] if path.startswith(prefix)} == set(found)


async def _until_stored(rest: Rest, version: str) -> None:
    while True:
        served = rest.api.server.registry.preferred("example.org", "widgets")
        if served is not None and served.resource.storage.version == version:
            return
        await asyncio.sleep(0.01)


async def test_two_definitions_that_want_one_name() -> None:
    async with running() as rest:
        await rest.define(definition(names={"shortNames": ["wd"]}))
        await rest("POST", CRDS, definition("wodgets", kind="Widget", names={"shortNames": ["wd"], "singular": "widget"}))
        refused = await rest.until_condition("wodgets.example.org", "NamesAccepted", "False")
        assert (refused["reason"], refused["message"]) == ("ListKindConflict", '"WidgetList" is already in use')
        assert (await rest.until_condition("wodgets.example.org", "Established", "False"))["reason"] == "NotAccepted"
        assert (await rest("GET", "/apis/example.org/v1/wodgets")).status == 404
        # The names are free once their owner is gone.
        await rest("DELETE", f"{CRDS}/widgets.example.org")
        await rest.until_condition("wodgets.example.org", "Established")
        assert (await rest("GET", "/apis/example.org/v1/wodgets")).status == 200


async def test_a_name_of_the_servers_own_is_not_given_away() -> None:
    async with running() as rest:
        taken = definition("deployments", "apps", "Deployment")
        assert (await rest("POST", CRDS, taken)).status == 422  # a group needs a dot
        own = definition("leases", "coordination.k8s.io", "Lease")
        own["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, for a test"}
        assert (await rest("POST", CRDS, own)).status == 201
        assert (await rest.until_condition("leases.coordination.k8s.io", "NamesAccepted", "False"))["reason"] == "ListKindConflict"
        assert (await rest("GET", "/apis/coordination.k8s.io/v1/leases")).status == 200


async def test_objects_go_with_their_definition_and_watchers_hear_of_it() -> None:
    async with running() as rest:
        await rest.define(definition())
        await rest("POST", WIDGETS, widget() | {"metadata": {"name": "a", "finalizers": ["example.org/hold"]}})
        await rest("POST", WIDGETS, widget("b"))
        async with rest.watch(f"{WIDGETS}?watch=1&resourceVersion={rest.api.store.revision}") as events:
            assert (await rest("DELETE", f"{CRDS}/widgets.example.org")).status == 200
            told = [(await events.get()) for _ in range(2)]
            assert {(event["type"], event["object"]["metadata"]["name"]) for event in told} == {("MODIFIED", "a"), ("DELETED", "b")}
            refused = await rest("POST", WIDGETS, widget("c"))
            assert (refused.status, refused.json["message"]) == (405, "create not allowed while custom resource definition is terminating")
            assert (await rest.until_condition("widgets.example.org", "Terminating"))["reason"] == "InstanceDeletionInProgress"
            await rest("PATCH", f"{WIDGETS}/a", {"metadata": {"finalizers": None}}, MERGE)
            assert (await events.get())["type"] == "DELETED"
            assert await events.get() is None  # the stream ends
        await rest.until_gone("widgets.example.org")
        assert (await rest("GET", WIDGETS)).status == 404
        assert not list(rest.api.store.items("/registry/example.org/"))
        # The same again is another one.
        await rest.define(definition())
        assert (await rest("GET", WIDGETS)).json["items"] == []


async def test_what_is_established_is_served_from_the_first_moment_and_by_every_server() -> None:
    api = ApiInMemory()
    async with running(api) as rest:
        await rest.define(definition())
        await rest("POST", WIDGETS, widget(spec={"a": 1}))
        second = ApiServer(SETTINGS, _no_kubelet, store=api.store, clock=SYSTEM_CLOCK)
        tasks = [asyncio.create_task(second.feed.run()), asyncio.create_task(second.definitions.run())]
        try:
            other = Rest(api, create_app(second.api, TOKENS, second.registry))
            await second.backend.synced()
            assert (await other("GET", f"{WIDGETS}/a")).json["spec"] == {"a": 1}
            await rest("POST", CRDS, definition("gadgets", kind="Gadget"))
            await other.until_condition("gadgets.example.org", "Established")
            while second.registry.preferred("example.org", "gadgets") is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def test_a_change_of_the_schema_counts_at_once_also_for_what_is_stored() -> None:
    async with running() as rest:
        await rest.define(definition())
        await rest("POST", WIDGETS, widget(spec={"old": 1}))
        new = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"mode": {"type": "string", "default": "fast"}}}}}
        patch = {"spec": {"versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": new}}]}}
        assert (await rest("PATCH", f"{CRDS}/widgets.example.org", patch, MERGE)).status == 200
        while (found := (await rest("GET", f"{WIDGETS}/a")).json)["spec"] != {"mode": "fast"}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert found["metadata"]["generation"] == 1


async def test_a_definition_has_only_those_of_its_group_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """With hundreds of others each new one would hold the loop."""
    looked: list[str] = []

    def counted(found: Any, group: Any, now: Any) -> Any:
        looked.append(found.metadata.name)
        return status_of(found, group, now)

    async with running() as rest:
        for number in range(5):
            await rest.define(definition(f"things{number}", kind=f"Thing{number}"))
        monkeypatch.setattr("services.apiserver.definitions.keeper.status_of", counted)
        await rest.define(definition("others", "example.net", "Other"))
        assert set(looked) == {"others.example.net"}
        await rest("DELETE", f"{CRDS}/things0.example.org")
        await rest.until_gone("things0.example.org")
        await rest.define(definition("lasts", "example.net", "Last"))
        assert {name.partition(".")[2] for name in looked[-2:]} == {"example.net"}


async def test_a_hundred_definitions_made_and_removed_leave_nothing_behind() -> None:
    async with running() as rest:

        async def cycle(number: int) -> None:
            name = f"things{number}"
            await rest.define(definition(name, kind=f"Thing{number}", schema=SCHEMA, **PARTS))
            path = f"/apis/example.org/v1/namespaces/default/{name}"
            body = {"apiVersion": "example.org/v1", "kind": f"Thing{number}", "metadata": {"name": "a"}, "spec": {}}
            assert (await rest("POST", path, body)).status == 201
            assert (await rest("GET", path, accept=TABLE)).status == 200
            rest.api.server.feed.measure()
            await rest("DELETE", f"{CRDS}/{name}.example.org")
            await rest.until_gone(f"{name}.example.org")

        def alive() -> int:
            from knarr.machinery.custom.schema import Schema

            gc.collect()
            return sum(isinstance(found, Schema) for found in gc.get_objects())

        await cycle(0)
        before = alive()
        for number in range(1, 100):
            await cycle(number)
        assert alive() <= before
        assert rest.api.server.registry.preferred("example.org", "things7") is None
        assert not any("things" in str(sample.labels) for family in CACHED_OBJECTS.collect() for sample in family.samples)
