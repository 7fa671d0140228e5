"""Custom resources whose versions a webhook converts: each is read, written and watched, whichever is stored."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from services.apiserver.conversion import conversions
from services.apiserver.in_memory import ApiInMemory
from tests.apiserver.definitions.asgi import CRDS, Rest, running, widget
from tests.apiserver.definitions.converted import (
    APPLY,
    MERGE,
    NAME,
    V1,
    V2,
    V3,
    convert,
    converting,
    defined,
    store_in,
    v2_widget,
)
from tests.apiserver.rest.streams.backend import LeadingNode
from tests.support.webhook import running_webhook

KEY = "/registry/example.org/widgets/default/a"


def stored(rest: Rest, key: str = KEY) -> Any:
    (item,) = rest.api.store.items(key)
    return orjson.loads(item.value)


async def test_each_version_is_written_and_read() -> None:
    async with converting() as (rest, webhook):
        made = await rest("POST", V2, v2_widget(host="db", port=5432))
        assert made.status == 201 and made.json["spec"] == {"host": "db", "port": 5432}
        assert (stored(rest)["apiVersion"], stored(rest)["spec"]) == ("example.org/v1", {"address": "db:5432"})
        # What others may see of it is what the store makes of it: asked once there, once back.
        assert [(body["request"]["desiredAPIVersion"], len(body["request"]["objects"])) for body in webhook.asked] == [
            ("example.org/v1", 1),
            ("example.org/v2", 1),
        ]
        assert "resourceVersion" not in webhook.asked[0]["request"]["objects"][0]["metadata"]
        assert (await rest("GET", f"{V2}/a")).json == made.json
        assert (await rest("GET", f"{V1}/a")).json["spec"] == {"address": "db:5432"}
        assert len(webhook.asked) == 2
        assert (await rest("GET", f"{V3}/a")).json["apiVersion"] == "example.org/v3"
        replaced = await rest("PUT", f"{V3}/a", {**made.json, "apiVersion": "example.org/v3", "spec": {"host": "x"}})
        assert replaced.status == 200 and replaced.json["spec"] == {"host": "x", "port": 80}
        assert replaced.json["metadata"]["generation"] == 2
        assert stored(rest)["spec"] == {"address": "x:80"}
        patched = await rest("PATCH", f"{V1}/a", {"spec": {"address": "y:1"}}, MERGE)
        assert patched.json["spec"] == {"address": "y:1"}
        assert (await rest("GET", f"{V2}/a")).json["spec"] == {"host": "y", "port": 1}
        assert (await rest("DELETE", f"{V2}/a")).json["status"] == "Success"


async def test_rules_are_those_of_the_version_that_is_written() -> None:
    async with converting() as (rest, webhook):
        refused = await rest("POST", V2, v2_widget(host="db", port=0))
        assert refused.status == 422
        assert refused.causes == ["spec.port: Invalid value: 0: spec.port in body should be greater than or equal to 1"]
        assert not webhook.asked
        # What the other version says of it is nobody's affair, until somebody changes it there.
        assert (await rest("POST", V1, widget(spec={"address": "db:0"}))).status == 201
        assert (await rest("PATCH", f"{V2}/a", {"spec": {"host": "x"}}, MERGE)).status == 200
        assert (await rest("PATCH", f"{V2}/a", {"spec": {"port": -1}}, MERGE)).status == 422


async def test_nothing_new_is_not_written_and_a_dry_run_neither() -> None:
    async with converting() as (rest, webhook):
        made = await rest("POST", V2, v2_widget(host="db", port=1))
        revision, asked = rest.api.store.revision, len(webhook.asked)
        assert (await rest("PATCH", f"{V2}/a", {"spec": {"port": 1}}, MERGE)).json == made.json
        assert (await rest("PATCH", f"{V2}/a?dryRun=All", {"spec": {"port": 2}}, MERGE)).json["spec"]["port"] == 2
        assert (await rest("POST", f"{V2}?dryRun=All", v2_widget("b", host="x"))).json["spec"] == {"host": "x", "port": 80}
        assert (rest.api.store.revision, len(webhook.asked)) == (revision, asked)


async def test_a_lost_field_is_lost_for_its_writer_too() -> None:
    async def forgetful(body: Any) -> Any:
        for obj in body["request"]["objects"]:
            obj["spec"].pop("port", None)
        return await convert(body)

    async with converting(forgetful) as (rest, _):
        assert (await rest("POST", V2, v2_widget(host="db", port=5432))).json["spec"]["host"] == "db"
        assert stored(rest)["spec"] == {"address": "db"}


async def test_lists_are_converted_together_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversions, "BATCH", 40)
    async with converting() as (rest, webhook):
        for number in range(100):
            await rest("POST", V1, widget(f"w{number:03}", spec={"address": f"h:{number + 1}"}))
        lists = await asyncio.gather(*(rest("GET", V2) for _ in range(8)))
        assert all(found.body == lists[0].body for found in lists)
        assert [item["spec"]["port"] for item in lists[0].json["items"]] == list(range(1, 101))
        assert sorted(len(body["request"]["objects"]) for body in webhook.asked) == [20, 40, 40]
        await rest("PATCH", f"{V1}/w000", {"spec": {"address": "h:7"}}, MERGE)
        assert (await rest("GET", V2)).json["items"][0]["spec"]["port"] == 7
        # Only what has changed is asked about again.
        assert len(webhook.asked[3]["request"]["objects"]) == 1 and len(webhook.asked) == 4
        table = (await rest("GET", V2, accept="application/json;as=Table;v=v1;g=meta.k8s.io")).json
        assert table["rows"][0]["cells"] == ["w000", "h"]


async def test_pages_and_selections_are_of_the_version() -> None:
    async with converting() as (rest, _):
        for number in range(5):
            await rest("POST", V1, widget(f"w{number}", spec={"address": f"{'even' if number % 2 == 0 else 'odd'}:{number + 1}"}))
        first = (await rest("GET", f"{V2}?limit=2")).json
        assert [item["spec"]["port"] for item in first["items"]] == [1, 2] and first["metadata"]["remainingItemCount"] == 3
        rest_of = (await rest("GET", f"{V2}?continue={first['metadata']['continue']}")).json
        assert [item["spec"]["port"] for item in rest_of["items"]] == [3, 4, 5]
        selected = (await rest("GET", f"{V2}?fieldSelector=spec.host%3Deven")).json
        assert [item["metadata"]["name"] for item in selected["items"]] == ["w0", "w2", "w4"]
        paged = (await rest("GET", f"{V2}?fieldSelector=spec.host%3Deven&limit=2")).json
        assert [item["metadata"]["name"] for item in paged["items"]] == ["w0", "w2"]
        more = (await rest("GET", f"{V2}?fieldSelector=spec.host%3Deven&continue={paged['metadata']['continue']}")).json
        assert [item["metadata"]["name"] for item in more["items"]] == ["w4"]
        gone = (await rest("DELETE", f"{V2}?fieldSelector=spec.host%3Dodd")).json
        assert [item["spec"]["host"] for item in gone["items"]] == ["odd", "odd"]
        assert len((await rest("GET", V1)).json["items"]) == 3


async def test_watchers_of_a_version_share_one_conversion() -> None:
    async with converting() as (rest, webhook):
        await rest("POST", V1, widget(spec={"address": "a:1"}))
        start = rest.api.store.revision
        watchers = [rest.watch(f"{V2}?watch=1&resourceVersion={start}") for _ in range(10)]
        queues = [await watcher.__aenter__() for watcher in watchers]
        try:
            await rest("PATCH", f"{V1}/a", {"spec": {"address": "b:2"}}, MERGE)
            await rest("DELETE", f"{V1}/a")
            for queue in queues:
                told = [await queue.get(), await queue.get()]
                assert [(event["type"], event["object"]["apiVersion"], event["object"]["spec"]) for event in told] == [
                    ("MODIFIED", "example.org/v2", {"host": "b", "port": 2}),
                    ("DELETED", "example.org/v2", {"host": "b", "port": 2}),
                ]
        finally:
            for watcher in watchers:
                await watcher.__aexit__(None, None, None)
        # Once for all, and what is deleted was known by then, or comes with it.
        assert sum(len(body["request"]["objects"]) for body in webhook.asked) <= 2


async def test_a_watch_begins_with_what_is_there_and_tells_who_enters_and_leaves() -> None:
    async with converting() as (rest, _):
        for name, address in (("a", "x:1"), ("b", "y:1")):
            await rest("POST", V1, widget(name, spec={"address": address}))
        async with rest.watch(f"{V2}?watch=1&fieldSelector=spec.host%3Dx") as events:
            first = await events.get()
            assert (first["type"], first["object"]["metadata"]["name"], first["object"]["spec"]) == ("ADDED", "a", {"host": "x", "port": 1})
            await rest("PATCH", f"{V1}/b", {"spec": {"address": "x:2"}}, MERGE)
            await rest("PATCH", f"{V1}/a", {"spec": {"address": "z:2"}}, MERGE)
            told = [await events.get(), await events.get()]
            assert [(event["type"], event["object"]["metadata"]["name"]) for event in told] == [("ADDED", "b"), ("DELETED", "a")]
            assert told[1]["object"]["spec"] == {"host": "x", "port": 1}


async def test_status_and_scale_in_each_version() -> None:
    async with converting() as (rest, _):
        await rest("POST", V2, v2_widget(host="db", port=1, replicas=3))
        status = await rest("PATCH", f"{V2}/a/status", {"status": {"replicas": 2}, "spec": {"host": "no"}}, MERGE)
        assert status.json["status"] == {"replicas": 2} and status.json["spec"]["host"] == "db"
        scale = (await rest("GET", f"{V3}/a/scale")).json
        assert scale["kind"] == "Scale" and scale["spec"] == {"replicas": 3} and scale["status"]["replicas"] == 2
        assert (await rest("PATCH", f"{V3}/a/scale", {"spec": {"replicas": 5}}, MERGE)).json["spec"] == {"replicas": 5}
        assert stored(rest)["spec"] == {"address": "db:1", "replicas": 5} and stored(rest)["status"] == {"replicas": 2}


async def test_managers_own_fields_in_their_own_version() -> None:
    async with converting() as (rest, _):
        one = await rest("PATCH", f"{V2}/a?fieldManager=one", v2_widget(host="db", port=1), APPLY)
        assert one.status == 201, one.json
        two = {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {"replicas": 2}}
        assert (await rest("PATCH", f"{V1}/a?fieldManager=two", two, APPLY)).status == 200
        found = (await rest("GET", f"{V1}/a")).json["metadata"]["managedFields"]
        owned: dict[str, Any] = {entry["manager"]: [entry["apiVersion"], entry["fieldsV1"]["f:spec"]] for entry in found}
        assert owned == {"one": ["example.org/v2", {"f:host": {}, "f:port": {}}], "two": ["example.org/v1", {"f:replicas": {}}]}
        # In v1 the address is what one has said in v2.
        other = {**two, "spec": {"address": "x:1"}}
        conflict = await rest("PATCH", f"{V1}/a?fieldManager=three", other, APPLY)
        assert conflict.status == 409
        assert conflict.json["message"] == 'Apply failed with 1 conflict: conflict with "one": .spec.host'
        forced = await rest("PATCH", f"{V1}/a?fieldManager=three&force=true", other, APPLY)
        assert forced.json["spec"] == {"address": "x:1", "replicas": 2}
        owned = {entry["manager"]: entry["fieldsV1"].get("f:spec") for entry in forced.json["metadata"]["managedFields"]}
        assert owned["three"] == {"f:address": {}} and owned["one"] == {"f:port": {}}
        # An update takes in its own version what it changes.
        updated = await rest("PATCH", f"{V2}/a?fieldManager=four", {"spec": {"port": 9}}, MERGE)
        entries = {entry["manager"]: entry for entry in updated.json["metadata"]["managedFields"]}
        assert entries["four"]["apiVersion"] == "example.org/v2" and entries["four"]["fieldsV1"]["f:spec"] == {"f:port": {}}
        assert "one" not in entries and "three" not in entries
        # Applying less takes away what nobody else has, in whatever version it was said.
        assert (await rest("PATCH", f"{V2}/a?fieldManager=two", v2_widget(), APPLY)).json["spec"] == {"host": "x", "port": 9}
        assert updated.json["metadata"]["resourceVersion"] != "0"


async def test_another_version_is_stored_from_now_on() -> None:
    async with converting() as (rest, webhook):
        made = await rest("POST", V1, widget(spec={"address": "db:1"}))
        await store_in(rest, webhook, "v2")
        status = (await rest("GET", f"{CRDS}/{NAME}")).json["status"]
        assert status["storedVersions"] == ["v1", "v2"]
        webhook.asked.clear()
        # As it was stored nobody has to be asked.
        assert (await rest("GET", f"{V1}/a")).json == made.json and not webhook.asked
        assert (await rest("GET", f"{V2}/a")).json["spec"] == {"host": "db", "port": 1}
        assert stored(rest)["apiVersion"] == "example.org/v1"
        # Writing it anew moves it, though nothing of it is new.
        assert (await rest("PATCH", f"{V1}/a", {}, MERGE)).json["spec"] == {"address": "db:1"}
        assert (stored(rest)["apiVersion"], stored(rest)["spec"]) == ("example.org/v2", {"host": "db", "port": 1})
        revision = rest.api.store.revision
        await rest("PATCH", f"{V1}/a", {}, MERGE)
        assert rest.api.store.revision == revision
        found = (await rest("GET", f"{CRDS}/{NAME}")).json
        found["status"]["storedVersions"] = ["v2"]
        assert (await rest("PUT", f"{CRDS}/{NAME}/status", found)).json["status"]["storedVersions"] == ["v2"]


async def test_what_finalizers_hold_is_marked_in_each_version() -> None:
    async with converting() as (rest, _):
        await rest("POST", V2, v2_widget(host="db", port=1) | {"metadata": {"name": "a", "finalizers": ["example.org/x"]}})
        going = (await rest("DELETE", f"{V2}/a")).json
        assert going["spec"] == {"host": "db", "port": 1} and going["metadata"]["deletionTimestamp"]
        assert (stored(rest)["apiVersion"], stored(rest)["spec"]) == ("example.org/v1", {"address": "db:1"})
        assert (await rest("PATCH", f"{V2}/a", {"metadata": {"finalizers": None}}, MERGE)).status == 200
        assert (await rest("GET", f"{V1}/a")).status == 404


async def test_labels_and_annotations_are_the_webhooks_to_change() -> None:
    async def labelling(body: Any) -> Any:
        found = await convert(body)
        for obj in found["response"]["convertedObjects"]:
            obj["metadata"] = {**obj["metadata"], "labels": {"seen": "yes"}, "generation": 77, "finalizers": ["stray"], "annotations": None}
        return found

    async with converting(labelling) as (rest, _):
        await rest("POST", V1, widget(spec={"address": "db:1"}) | {"metadata": {"name": "a", "annotations": {"a": "b"}}})
        found = (await rest("GET", f"{V2}/a")).json["metadata"]
        assert found["labels"] == {"seen": "yes"} and found["generation"] == 1
        assert "annotations" not in found and "finalizers" not in found
        selected = (await rest("GET", f"{V2}?labelSelector=seen%3Dyes")).json["items"]
        assert len(selected) == 1 and (await rest("GET", f"{V1}?labelSelector=seen%3Dyes")).json["items"] == []


async def test_a_review_of_v1beta1() -> None:
    async with running_webhook(convert) as webhook, converting() as (rest, _):
        found = (await rest("GET", f"{CRDS}/{NAME}")).json
        found["spec"]["conversion"] = defined(webhook, review_versions=("v9", "v1beta1", "v1"))["spec"]["conversion"]
        await rest("PUT", f"{CRDS}/{NAME}", found)
        await rest.until_served(lambda resource: "v9" in str(resource.converter))
        assert (await rest("POST", V2, v2_widget(host="db"))).status == 201
        assert {body["apiVersion"] for body in webhook.asked} == {"apiextensions.k8s.io/v1beta1"}


async def test_a_version_that_is_not_served_can_still_be_what_is_stored() -> None:
    async with converting() as (rest, _):
        await rest("POST", V2, v2_widget(host="db", port=1))
        found = (await rest("GET", f"{CRDS}/{NAME}")).json
        found["spec"]["versions"][0]["served"] = False
        await rest("PUT", f"{CRDS}/{NAME}", found)
        await rest.until_served(lambda resource: not resource.storage.served)
        assert (await rest("GET", f"{V1}/a")).status == 404
        assert (await rest("GET", f"{V2}/a")).json["spec"] == {"host": "db", "port": 1}


async def test_a_webhook_behind_a_service_is_reached_through_the_node_of_its_pod() -> None:
    api, node = ApiInMemory(), LeadingNode()
    object.__setattr__(api.server.api.pipeline, "node_streams", node)
    service = core.Service(metadata=meta.ObjectMeta(name="hook", namespace="default"))
    service.spec.ports.add(name="web", port=443)
    pod = core.Pod(metadata=meta.ObjectMeta(name="hook-1", namespace="default"), spec=core.PodSpec(node_name="node-1"))
    pod.spec.containers.add(name="c", image="busybox")
    pod.status.pod_ip = "10.1.2.3"
    endpoints = core.Endpoints(metadata=meta.ObjectMeta(name="hook", namespace="default"))
    subset = endpoints.subsets.add()
    subset.ports.add(name="web", port=9443)
    subset.addresses.add(ip="10.1.2.3", target_ref=core.ObjectReference(kind="Pod", name="hook-1", namespace="default"))
    api.seed(service, core.Node(metadata=meta.ObjectMeta(name="node-1")), pod, endpoints)
    async with running_webhook(convert) as webhook, running(api) as rest:
        node.ports[9443] = webhook.port
        found = defined(webhook)
        config = found["spec"]["conversion"]["webhook"]["clientConfig"]
        del config["url"]
        config["service"] = {"name": "hook", "namespace": "default", "path": "/convert"}
        await rest.define(found)
        assert (await rest("POST", V2, v2_widget(host="db", port=1))).json["spec"] == {"host": "db", "port": 1}
        assert node.asked == [("hook-1", 9443, True)]
    assert node.open == 0
