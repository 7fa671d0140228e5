"""What pods use and what other metrics are, as a test says it, for an API server in memory without kubelets or other API servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import orjson

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.kubelet.v1 import kubelet_service_pb2 as kubelet
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.clock import Clock
from knarr.machinery.errors import status_error
from knarr.machinery.resources import Version
from knarr.machinery.times import to_time
from knarr.service.authentication import User
from services.apiserver.in_memory import ApiInMemory

WINDOW_SECONDS = 15


class Measured:
    """``cpu`` answers the millicores that each container of a pod uses; None where it is not measured.

    ``values`` are those of custom and external metrics by path, from the version on (``namespaces/default/pods/*/rate``): names of objects
    and quantities. ``asked`` are the paths that were asked for, with their query.
    """

    def __init__(self, api: ApiInMemory, clock: Clock) -> None:
        self._api, self._clock = api, clock
        self.cpu: Callable[[core.Pod], int | None] = lambda pod: None
        self.values: dict[str, list[tuple[str, str]]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        pipeline = api.server.api.pipeline
        setattr(pipeline.node_stats, "of", self._stats)  # noqa: B010
        pipeline.elsewhere.ask = self._ask
        pipeline.elsewhere.version_of = {"custom.metrics.k8s.io": "v1beta2", "external.metrics.k8s.io": "v1beta1"}.get

    async def _stats(self, node: core.Node) -> kubelet.GetStatsResponse:
        now = to_time(self._clock.now())
        found = kubelet.GetStatsResponse()
        for pod in self._api.all(core.Pod):
            if pod.spec.node_name != node.metadata.name or (millicores := self.cpu(pod)) is None:
                continue
            for container in pod.spec.containers:
                stats = found.containers.add(memory_bytes=1 << 20)
                stats.container.namespace, stats.container.pod = pod.metadata.namespace, pod.metadata.name
                stats.container.container = container.name
                stats.cpu_rate.nanocores, stats.cpu_rate.window_milliseconds = millicores * 1_000_000, WINDOW_SECONDS * 1000
                stats.cpu_rate.time.CopyFrom(meta.MicroTime(seconds=now.seconds, nanos=now.nanos))
        return found

    async def _ask(self, version: Version, method: str, path: str, body: bytes, user: User) -> bytes:
        path, _, query = path.partition("?")
        place = path.partition(f"/{version.version}/")[2]
        self.asked.append((place, dict(parse_qsl(query))))
        if place not in self.values:
            raise status_error("NotFound", f"the server could not find the metric at {place}")
        items: list[dict[str, Any]] = [
            {"describedObject": {"name": name}, "value": value, "timestamp": "2026-01-01T00:00:00Z"} for name, value in self.values[place]
        ]
        return orjson.dumps({"kind": "MetricValueList", "apiVersion": version.api_version, "items": items})
