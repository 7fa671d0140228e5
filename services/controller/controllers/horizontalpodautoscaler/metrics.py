"""Where an autoscaler's values come from: metrics.k8s.io for resources, custom.metrics.k8s.io and external.metrics.k8s.io of whoever serves
them. Values are in thousandths."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import orjson

from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling
from knarr.api.metrics.v1beta1 import metrics_pb2 as metrics
from knarr.client.client import Client
from knarr.machinery import quantity
from knarr.machinery.errors import StatusError
from knarr.objects.owners import group_of
from services.controller.controllers.horizontalpodautoscaler.samples import Sample, Samples, Unmeasured, of_containers, of_pods
from services.controller.versions import NoVersion, Versions

CUSTOM, EXTERNAL = "custom.metrics.k8s.io", "external.metrics.k8s.io"
EVERY = "*"

T = TypeVar("T")
Json = dict[str, Any]


class ClientSources:
    """Asks the API server, in the controller's name. ``versions`` know kinds by name."""

    def __init__(self, client: Client, versions: Versions) -> None:
        self._client, self._versions = client, versions

    async def of_resource(self, resource: str, namespace: str, selector: str, container: str) -> Samples:
        listing = self._client.list(metrics.PodMetrics, namespace, label_selector=selector)
        found = (await _fetched(listing, "unable to fetch metrics from resource metrics API")).items
        if not found:
            raise Unmeasured("no metrics returned from resource metrics API")
        return of_containers(found, resource, container) if container else of_pods(found, resource)

    async def of_pods(self, metric: str, namespace: str, selector: str, metric_selector: str) -> Samples:
        query = {"labelSelector": selector, "metricLabelSelector": metric_selector}
        values = await self._custom("pods", namespace, EVERY, metric, query)
        return {_name(value): Sample(_value(value)) for value in values}

    async def of_object(self, metric: str, namespace: str, described: autoscaling.CrossVersionObjectReference, metric_selector: str) -> int:
        query = {"metricLabelSelector": metric_selector}
        group = group_of(described.api_version)
        if (group, described.kind) == ("", "Namespace"):
            # Its own: no other can be named.
            values = await self._custom("metrics", namespace, metric, "", query)
        else:
            try:
                resource = (await self._versions.of(group, described.kind, described.api_version)).resource
            except NoVersion as error:
                raise Unmeasured(f"unable to fetch metrics from custom metrics API: {error}") from error
            plural = f"{resource.plural}.{group}" if group else resource.plural
            values = await self._custom(plural, namespace, described.name, metric, query)
        return _value(values[0])

    async def of_outside(self, metric: str, namespace: str, metric_selector: str) -> int:
        asking = self._client.ask_elsewhere(EXTERNAL, metric, namespace, query=_given({"labelSelector": metric_selector}))
        values = _items(await _fetched(asking, "unable to fetch metrics from external metrics API"), "external")
        return sum(_value(value) for value in values)

    async def _custom(self, plural: str, namespace: str, name: str, metric: str, query: dict[str, str]) -> Sequence[Json]:
        asking = self._client.ask_elsewhere(CUSTOM, plural, namespace, name, metric, query=_given(query))
        return _items(await _fetched(asking, "unable to fetch metrics from custom metrics API"), "custom")


async def _fetched(asking: Awaitable[T], problem: str) -> T:
    try:
        return await asking
    except StatusError as error:
        raise Unmeasured(f"{problem}: {error}") from error


def _given(query: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in query.items() if value}


def _items(answer: bytes, kind: str) -> Sequence[Json]:
    """At least one."""
    try:
        found = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise Unmeasured(f"the answer of the {kind} metrics API is no JSON: {error}") from error
    items = found.get("items") if isinstance(found, dict) else None
    values = [value for value in items if isinstance(value, dict)] if isinstance(items, list) else []
    if not values:
        raise Unmeasured(f"no metrics returned from {kind} metrics API")
    return values


def _value(value: Json) -> int:
    text = value.get("value")
    try:
        return quantity.milli(str(text))
    except ValueError as error:
        raise Unmeasured(f"{str(text)[:50]!r} is no quantity: {error}") from error


def _name(value: Json) -> str:
    described = value.get("describedObject")
    return str(described.get("name")) if isinstance(described, dict) else ""
