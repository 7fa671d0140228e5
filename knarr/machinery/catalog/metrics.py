"""How much nodes and pods use: metrics.k8s.io, answered and never stored."""

from __future__ import annotations

from knarr.api.metrics.v1beta1 import metrics_pb2 as metrics
from knarr.machinery.resources import Resource, Version

METRICS = "metrics.k8s.io"
READ = ("get", "list")

RESOURCES: tuple[Resource, ...] = (
    Resource(
        "nodes",
        (Version(METRICS, "v1beta1", "NodeMetrics", metrics.NodeMetrics, metrics.NodeMetricsList),),
        namespaced=False,
        key=f"{METRICS}/nodes",
        verbs=READ,
        stored=False,
    ),
    Resource(
        "pods",
        (Version(METRICS, "v1beta1", "PodMetrics", metrics.PodMetrics, metrics.PodMetricsList),),
        key=f"{METRICS}/pods",
        verbs=READ,
        stored=False,
    ),
)
