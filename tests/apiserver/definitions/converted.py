"""Widgets in three versions that a webhook converts: ``v1`` has ``spec.address`` (host:port), ``v2`` ``spec.host`` and ``spec.port``."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.apiserver.definitions.asgi import CRDS, WIDGETS, Rest, definition, running, widget
from tests.support.webhook import Answer, Webhook, running_webhook

V1, V2, V3 = (WIDGETS.replace("/v1/", f"/{name}/") for name in ("v1", "v2", "v3"))
NAME = "widgets.example.org"
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
TEXT: dict[str, Any] = {"type": "string"}
NUMBER: dict[str, Any] = {"type": "integer", "minimum": 1}
STATUS = {"type": "object", "properties": {"replicas": {"type": "integer"}}}
ONE_FIELD = {"address": TEXT, "replicas": {"type": "integer"}}
TWO_FIELDS = {"host": TEXT, "port": {**NUMBER, "default": 80}, "replicas": {"type": "integer"}}


def schema(spec: dict[str, Any]) -> dict[str, Any]:
    properties = {"spec": {"type": "object", "properties": spec}, "status": STATUS}
    return {"openAPIV3Schema": {"type": "object", "properties": properties}}


def versions(stored: str = "v1") -> list[dict[str, Any]]:
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    fields: dict[str, dict[str, Any]] = {"v1": ONE_FIELD, "v2": TWO_FIELDS, "v3": TWO_FIELDS}
    return [
        {
            "name": name,
            "served": True,
            "storage": name == stored,
            "schema": schema(spec),
            "subresources": {"status": {}, "scale": scale},
            "selectableFields": [{"jsonPath": ".spec.address" if name == "v1" else ".spec.host"}],
            "additionalPrinterColumns": [{"name": "Host", "type": "string", "jsonPath": ".spec.host"}] if name != "v1" else [],
        }
        for name, spec in fields.items()
    ]


def defined(webhook: Webhook, stored: str = "v1", review_versions: tuple[str, ...] = ("v1",)) -> dict[str, Any]:
    found = definition(versions=versions(stored))
    config = {"url": webhook.url, "caBundle": b64encode(webhook.ca_bundle).decode()}
    found["spec"]["conversion"] = {
        "strategy": "Webhook",
        "webhook": {"clientConfig": config, "conversionReviewVersions": list(review_versions)},
    }
    return found


async def convert(body: Any) -> Any:
    """What an honest webhook answers."""
    request = body["request"]
    objects = [in_version(obj, request["desiredAPIVersion"]) for obj in request["objects"]]
    return answer(body, objects)


def answer(body: Any, objects: list[Any], **changed: Any) -> Any:
    response = {"uid": body["request"]["uid"], "convertedObjects": objects, "result": {"status": "Success"}, **changed}
    return {"apiVersion": body["apiVersion"], "kind": body["kind"], "response": response}


def in_version(obj: dict[str, Any], api_version: str) -> dict[str, Any]:
    spec = dict(obj.get("spec", {}))
    if obj["apiVersion"].endswith("/v1") and not api_version.endswith("/v1"):
        spec["host"], _, port = spec.pop("address", "").partition(":")
        if port:
            spec["port"] = int(port)
    elif api_version.endswith("/v1") and not obj["apiVersion"].endswith("/v1"):
        spec["address"] = f"{spec.pop('host', '')}:{spec.pop('port', '')}".removesuffix(":")
    return {**obj, "apiVersion": api_version, "spec": spec}


def v2_widget(name: str = "a", **spec: Any) -> dict[str, Any]:
    return widget(name, "example.org/v2", spec=spec)


@asynccontextmanager
async def converting(webhook_answer: Answer = convert, stored: str = "v1") -> AsyncIterator[tuple[Rest, Webhook]]:
    async with running_webhook(webhook_answer) as webhook, running() as rest:
        await rest.define(defined(webhook, stored))
        yield rest, webhook


async def store_in(rest: Rest, webhook: Webhook, version: str) -> None:
    """Makes another version the stored one, and waits until that is so."""
    found = (await rest("GET", f"{CRDS}/{NAME}")).json
    found["spec"]["versions"] = versions(version)
    assert (await rest("PUT", f"{CRDS}/{NAME}", found)).status == 200
    await rest.until_served(lambda resource: resource.storage.version == version)
