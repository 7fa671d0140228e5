"""Webhooks that convert nothing, something else, or in their own good time."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from typing import Any

import orjson
import pytest
from aiohttp import web

from knarr.machinery import budget
from knarr.service.certificates import CertificateAuthority
from services.apiserver.conversion import conversions
from services.apiserver.webhooks import client
from tests.apiserver.definitions.asgi import CRDS, WIDGETS, definition, running, widget
from tests.apiserver.definitions.converted import APPLY, MERGE, NAME, V1, V2, answer, convert, converting, defined, store_in, v2_widget
from tests.support.webhook import running_webhook

HEAD = "conversion webhook for example.org/v1, Kind=Widget "


def changed(**metadata: Any) -> Any:
    """An honest answer but for some of the metadata; None takes a field away."""

    def change(obj: dict[str, Any]) -> dict[str, Any]:
        given = {name: item for name, item in {**obj["metadata"], **metadata}.items() if item is not None}
        return {**obj, "metadata": given}

    return objects(change)


def objects(change: Any) -> Any:
    async def lie(body: Any) -> Any:
        found = await convert(body)
        found["response"]["convertedObjects"] = [change(obj) for obj in found["response"]["convertedObjects"]]
        return found

    return lie


def response(**fields: Any) -> Any:
    async def lie(body: Any) -> Any:
        found = await convert(body)
        found["response"].update(fields)
        return found

    return lie


def says(what: Any) -> Any:
    async def lie(body: Any) -> Any:
        return what

    return lie


def deep() -> Any:
    found: Any = 1
    for _ in range(budget.MAX_DEPTH + 1):
        found = [found]
    return found


LIES: dict[str, tuple[Any, str]] = {
    "fewer": (response(convertedObjects=[]), "returned 0 objects, expected 1"),
    "more": (response(convertedObjects=[{}, {}]), "returned 2 objects, expected 1"),
    "none": (response(convertedObjects=None), "returned 0 objects, expected 1"),
    "uid": (response(uid="other"), 'failed: expected response.uid="'),
    "failure": (response(result={"status": "Failure", "message": "no way"}), "failed: no way"),
    "failure without words": (response(result={"status": "Failure"}), "failed: response.result.status was 'Failure', not 'Success'"),
    "no result": (response(result=None), "failed: response.result.status was '', not 'Success'"),
    "no response": (says({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview"}), "failed: no response provided"),
    "another kind": (
        says({"apiVersion": "v1", "kind": "Status"}),
        "failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got v1, Kind=Status",
    ),
    "text": (says(b"hello"), "failed: couldn't get version/kind; json parse error: "),
    "a list": (says([]), "failed: the answer is no JSON object"),
    "deeper than a parser goes": (says(b"[" * 100_000), "failed: couldn't get version/kind; json parse error: "),
    "no object": (response(convertedObjects=[1]), "returned invalid object: it is no JSON object"),
    "version": (
        objects(lambda obj: {**obj, "apiVersion": "example.org/v1"}),
        "returned invalid object: invalid groupVersion (expected example.org/v2, received example.org/v1)",
    ),
    "kind": (objects(lambda obj: {**obj, "kind": "Gadget"}), "returned invalid object: invalid kind (expected Widget, received Gadget)"),
    "deep": (
        objects(lambda obj: {**obj, "spec": deep()}),
        "returned invalid object: exceeded max depth: objects and lists may be nested 100 deep",
    ),
    "many": (
        objects(lambda obj: {**obj, "spec": [0] * (budget.MAX_VALUES + 1)}),
        "returned invalid object: the object has too many fields",
    ),
    "name": (changed(name="b"), "returned invalid object: must have the same name: a != b"),
    "namespace": (changed(namespace=None), "returned invalid object: must have the same namespace: default != "),
    "object's uid": (changed(uid="x"), "returned invalid object: must have the same UID: "),
    "metadata gone": (
        objects(lambda obj: {name: item for name, item in obj.items() if name != "metadata"}),
        "returned invalid metadata: missing metadata in converted object",
    ),
    "metadata no object": (objects(lambda obj: {**obj, "metadata": "x"}), "returned invalid metadata: metadata of the converted object"),
    "labels no object": (changed(labels=["x"]), "returned invalid metadata: metadata.labels of the converted object is no JSON object"),
    "label no string": (changed(labels={"a": 1}), "returned invalid metadata: metadata.labels[a] must be a string"),
    "no such label": (changed(labels={"a b": "c"}), "returned invalid metadata: metadata.labels: Invalid value: "),
    "too many annotations": (changed(annotations={"a": "x" * 300_000}), "returned invalid metadata: metadata.annotations: Too long"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_lies(lie: str) -> None:
    how, words = LIES[lie]
    async with converting(how) as (rest, webhook):
        await rest("POST", V1, widget(spec={"address": "db:1"}))
        for method, path, body in (("GET", f"{V2}/a", None), ("GET", V2, None), ("PATCH", f"{V2}/a", {"spec": {"port": 2}})):
            refused = await rest(method, path, body, MERGE)
            assert refused.status == 500 and refused.json["kind"] == "Status" and "reason" not in refused.json
            assert refused.json["message"].startswith(HEAD + words), refused.json["message"]
        # Who needs no conversion is not concerned.
        assert (await rest("GET", f"{V1}/a")).json["spec"] == {"address": "db:1"}
        # And when it is honest again, nothing of the lie is left.
        webhook.answer = convert
        assert (await rest("GET", f"{V2}/a")).json["spec"] == {"host": "db", "port": 1}


async def test_what_cannot_be_converted_is_not_stored() -> None:
    async with converting(response(result={"status": "Failure", "message": "no way"})) as (rest, _):
        refused = await rest("POST", V2, v2_widget(host="db"))
        assert refused.status == 500
        assert refused.json["message"] == "conversion webhook for example.org/v2, Kind=Widget failed: no way"
        assert (await rest("PATCH", f"{V2}/a?fieldManager=me", v2_widget(host="db"), APPLY)).status == 500
        assert list(rest.api.store.items("/registry/example.org/")) == []


async def test_one_of_many_is_named_by_its_place() -> None:
    def change(obj: dict[str, Any]) -> dict[str, Any]:
        return {**obj, "kind": "Gadget"} if obj["metadata"]["name"] == "b" else obj

    async with converting(objects(change)) as (rest, _):
        for name in ("a", "b", "c"):
            await rest("POST", V1, widget(name))
        refused = await rest("GET", V2)
        assert (
            refused.json["message"]
            == HEAD + "returned invalid converted object at index 1: invalid kind (expected Widget, received Gadget)"
        )


async def test_a_watch_ends_with_what_cannot_be_converted() -> None:
    async with converting() as (rest, webhook):
        await rest("POST", V1, widget(spec={"address": "db:1"}))
        start = rest.api.store.revision
        async with (
            rest.watch(f"{V2}?watch=1&resourceVersion={start}") as events,
            rest.watch(f"{V1}?watch=1&resourceVersion={start}") as others,
        ):
            webhook.answer = response(result={"status": "Failure", "message": "no way"})
            await rest("PATCH", f"{V1}/a", {"spec": {"address": "db:2"}}, MERGE)
            told = await events.get()
            assert (told["type"], told["object"]["code"], told["object"]["message"]) == ("ERROR", 500, HEAD + "failed: no way")
            assert await events.get() is None
            assert (await others.get())["type"] == "MODIFIED"


async def test_a_webhook_that_is_away() -> None:
    async with running() as rest:
        async with running_webhook(convert) as webhook:
            await rest.define(defined(webhook))
            await rest("POST", V1, widget(spec={"address": "db:1"}))
        refused = await rest("GET", f"{V2}/a")
        assert refused.status == 500
        assert refused.json["message"].startswith(f'{HEAD}failed: Post "{webhook.url}?timeout=30s": dial tcp 127.0.0.1:{webhook.port}: ')
        assert (await rest("GET", f"{V1}/a")).status == 200


async def test_a_webhook_that_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversions, "HOOK_SECONDS", 0.05)
    held = asyncio.Event()

    async def slow(body: Any) -> Any:
        await held.wait()

    async with converting(slow) as (rest, webhook):
        await rest("POST", V1, widget(spec={"address": "db:1"}))
        await rest.define(definition("gadgets", kind="Gadget"))
        asking = asyncio.create_task(rest("GET", f"{V2}/a"))
        # Others are answered meanwhile.
        assert (await rest("GET", WIDGETS.replace("widgets", "gadgets"))).status == 200
        refused = await asking
        assert refused.status == 500
        assert refused.json["message"].endswith("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")
        held.set()
        # On a machine that is busy the time may be over before it was reached; it is never asked again.
        assert len(webhook.asked) <= 1


async def test_who_leaves_takes_nothing_from_those_who_stay() -> None:
    held = asyncio.Event()

    async def slow(body: Any) -> Any:
        await held.wait()
        return await convert(body)

    async with converting(slow) as (rest, webhook):
        await rest("POST", V1, widget(spec={"address": "db:1"}))
        first, second = (asyncio.create_task(rest("GET", f"{V2}/a")) for _ in range(2))
        while not webhook.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.wait({first})
        held.set()
        assert (await second).json["spec"] == {"host": "db", "port": 1}
        assert len(webhook.asked) == 1


async def test_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_BYTES", 10_000)

    async def huge(body: Any) -> Any:
        found = await convert(body)
        return orjson.dumps(found) + b" " * 20_000

    async with converting(huge) as (rest, _):
        await rest("POST", V1, widget(spec={"address": "db:1"}))
        assert (await rest("GET", f"{V2}/a")).json["message"].endswith("the answer has more than 10000 bytes")


async def test_a_stranger_is_not_believed() -> None:
    async with running_webhook(convert) as webhook, running() as rest:
        found = defined(webhook)
        stranger = CertificateAuthority.create().pair.certificate
        found["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] = b64encode(stranger).decode()
        await rest.define(found)
        await rest("POST", V1, widget(spec={"address": "db:1"}))
        refused = await rest("GET", f"{V2}/a")
        assert "x509: certificate signed by unknown authority" in refused.json["message"] and not webhook.asked


async def test_a_redirect_is_not_followed() -> None:
    async with running_webhook(convert) as other:

        async def elsewhere(body: Any) -> Any:
            return web.Response(status=308, headers={"Location": other.url})

        async with converting(elsewhere) as (rest, _):
            await rest("POST", V1, widget(spec={"address": "db:1"}))
            assert "redirects are not followed" in (await rest("GET", f"{V2}/a")).json["message"]
        assert not other.asked


async def test_a_review_of_no_version_that_is_known() -> None:
    async with running_webhook(convert) as webhook, running() as rest:
        refused = await rest("POST", CRDS, defined(webhook, review_versions=("v7",)))
        assert refused.status == 422 and "conversionReviewVersions" in refused.causes[0]


async def test_a_definition_goes_although_its_webhook_is_away() -> None:
    """Its objects are deleted as they are stored."""
    async with converting() as (rest, webhook):
        await rest("POST", V2, v2_widget(host="db"))
        webhook.answer = response(result={"status": "Failure", "message": "no way"})
        await rest("DELETE", f"{CRDS}/{NAME}")
        await rest.until_gone(NAME)
        assert list(rest.api.store.items("/registry/example.org/")) == []


async def test_objects_of_a_former_version_hold_up_a_definition_until_they_can_be_converted() -> None:
    async with converting() as (rest, webhook):
        await rest("POST", V1, widget(spec={"address": "db:1"}))
        await store_in(rest, webhook, "v2")
        webhook.answer = response(result={"status": "Failure", "message": "no way"})
        await rest("DELETE", f"{CRDS}/{NAME}")
        while True:
            found = await rest.until_condition(NAME, "Terminating")
            if found["reason"] == "InstanceDeletionFailed":
                break
            await asyncio.sleep(0.01)
        assert "could not issue all deletes: conversion webhook for example.org/v1, Kind=Widget failed: no way" in found["message"]
        webhook.answer = convert
        await rest.until_gone(NAME)
        assert list(rest.api.store.items("/registry/example.org/")) == []


async def test_one_webhook_is_asked_so_much_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversions, "BATCH", 1)

    async def slow(body: Any) -> Any:
        await asyncio.sleep(0.01)
        return await convert(body)

    async with converting(slow) as (rest, webhook):
        for number in range(30):
            await rest("POST", V1, widget(f"w{number}", spec={"address": "db:1"}))
        assert len((await rest("GET", V2)).json["items"]) == 30
        assert webhook.most_open == conversions.AT_ONCE


async def test_an_answer_to_another_review_is_none() -> None:
    async def twice(body: Any) -> Any:
        return answer(body, [(await convert(body))["response"]["convertedObjects"][0]] * 2)

    async with converting(twice) as (rest, _):
        await rest("POST", V1, widget("a", spec={"address": "db:1"}))
        await rest("POST", V1, widget("b", spec={"address": "db:2"}))
        refused = await rest("GET", V2)
        assert refused.json["message"] == HEAD + "returned invalid converted object at index 1: must have the same name: b != a"
