"""The shapes of the built-in kinds, and what Kubernetes' own clients show of their fields."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.machinery.catalog import BUILT_IN
from knarr.machinery.fieldsets import fields as sets
from knarr.machinery.fieldsets.check import problems
from knarr.machinery.fieldsets.compare import compare
from knarr.machinery.fieldsets.descriptors import shape_of
from knarr.machinery.fieldsets.shape import Shape
from knarr.machinery.schema import descriptor_of

VERSIONS = [version for resource in BUILT_IN for version in resource.versions]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: f"{version.api_version} {version.kind}")
def test_every_kind_has_a_shape_and_its_empty_object_fits(version: Any) -> None:
    shape = shape_of(descriptor_of(version.message))
    seen: set[int] = set()
    walk(shape, seen)
    assert problems(shape, codec.to_dict(version.message())) == []


def walk(shape: Shape, seen: set[int]) -> None:
    if id(shape) in seen:
        return
    seen.add(id(shape))
    if shape.sort == "list":
        assert shape.element is not None
        assert shape.atomic or not shape.keys or set(shape.keys) <= set(shape.element.fields)
    for below in (*shape.fields.values(), *([shape.element] if shape.element is not None else [])):
        walk(below, seen)


def at(shape: Shape, *names: str) -> Shape:
    for name in names:
        found = shape.field(name)
        assert found is not None, name
        shape = found.element if found.sort == "list" and found.element is not None and not found.atomic else found
    return shape


def test_lists_maps_and_structs_are_as_their_options_say() -> None:
    deployment, service = shape_of(descriptor_of(apps.Deployment)), shape_of(descriptor_of(core.Service))
    pod = at(deployment, "spec", "template", "spec")
    container = at(pod, "containers")
    ports, env = container.field("ports"), container.field("env")
    assert ports is not None and env is not None
    assert (ports.atomic, ports.keys, dict(ports.key_defaults)) == (
        False,
        ("containerPort", "protocol"),
        {"protocol": "TCP", "containerPort": 0},
    )
    assert (env.atomic, env.keys) == (False, ("name",))
    command, selector = container.field("command"), pod.field("nodeSelector")
    assert command is not None and command.atomic and selector is not None and selector.atomic
    assert at(deployment, "spec", "selector").atomic and at(service, "spec", "selector").atomic
    finalizers = at(deployment, "metadata").field("finalizers")
    assert finalizers is not None and (finalizers.atomic, finalizers.keys) == (False, ())
    assert at(container, "env", "valueFrom", "secretKeyRef").atomic
    assert at(deployment, "apiVersion").scalar == "string"
    assert pod.field("apiVersion") is None


def test_the_fields_of_a_new_deployment_are_those_that_kubectl_shows() -> None:
    """As ``kubectl create deployment`` leaves them: structs that Go always writes are no members, pointers, maps and elements are."""
    made = apps.Deployment()
    made.metadata.labels["app"] = made.spec.selector.match_labels["app"] = made.spec.template.metadata.labels["app"] = "d"
    made.spec.strategy.rolling_update.max_surge.str_val = "25%"
    container = made.spec.template.spec.containers.add(name="c", image="i")
    container.ports.add(container_port=80, protocol="TCP")
    written = compare(shape_of(descriptor_of(apps.Deployment)), codec.to_dict(apps.Deployment()), codec.to_dict(made)).written
    assert written == {
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {
            "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"c"}': {
                            ".": {},
                            "f:image": {},
                            "f:name": {},
                            "f:ports": {
                                ".": {},
                                'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}, "f:protocol": {}},
                            },
                            "f:resources": {},
                        }
                    }
                },
            },
        },
    }
    assert sets.decode(sets.encode(written)) == written
