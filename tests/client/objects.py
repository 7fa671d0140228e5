"""Small objects for the client's tests."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core


def config_map(name: str = "a", namespace: str = "default", labels: dict[str, str] | None = None, **data: str) -> core.ConfigMap:
    obj = core.ConfigMap(data=data)
    obj.metadata.name, obj.metadata.namespace = name, namespace
    obj.metadata.labels.update(labels or {})
    return obj


def pod(name: str = "p", namespace: str = "default", node: str = "", labels: dict[str, str] | None = None) -> core.Pod:
    obj = core.Pod()
    obj.metadata.name, obj.metadata.namespace = name, namespace
    obj.metadata.labels.update(labels or {})
    obj.spec.node_name = node
    obj.spec.containers.add(name="main", image="busybox")
    return obj


def binding(namespace: str, node: str, name: str = "p") -> core.Binding:
    obj = core.Binding()
    obj.metadata.name, obj.metadata.namespace = name, namespace
    obj.target.kind, obj.target.name = "Node", node
    return obj
