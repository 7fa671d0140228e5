"""Definitions as older Kubernetes stored them, and as they are stored now."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.machinery.catalog import version_of
from knarr.machinery.conversions.definitions import modern
from knarr.machinery.envelope import wrap

FORM = version_of(apiextensions.CustomResourceDefinition).form
SCHEMA = {"openAPIV3Schema": {"type": "object"}}


def older(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "apiextensions.k8s.io/v1beta1", "kind": "CustomResourceDefinition", "metadata": {"name": "a.b.c"}, "spec": spec}


def test_what_was_said_once_is_said_in_each_version() -> None:
    columns = [{"name": "A", "type": "string", "JSONPath": ".a"}]
    versions = [{"name": "v1", "served": True, "storage": True}, {"name": "v2", "served": True, "storage": False, "schema": {"x": 1}}]
    found = modern(
        older(group="b.c", version="v1", versions=versions, validation=SCHEMA, additionalPrinterColumns=columns, subresources={})
    )
    assert found["apiVersion"] == "apiextensions.k8s.io/v1" and found["spec"]["conversion"] == {"strategy": "None"}
    first, second = found["spec"]["versions"]
    assert first == {
        **versions[0],
        "schema": SCHEMA,
        "subresources": {},
        "additionalPrinterColumns": [{"name": "A", "type": "string", "jsonPath": ".a"}],
    }
    assert second["schema"] == {"x": 1}


def test_a_single_version_and_a_webhook() -> None:
    conversion = {"strategy": "Webhook", "webhookClientConfig": {"url": "https://x"}, "conversionReviewVersions": ["v1"]}
    found = modern(older(version="v1", conversion=conversion))["spec"]
    assert found["versions"] == [{"name": "v1", "served": True, "storage": True}]
    assert found["conversion"]["webhook"] == {"clientConfig": {"url": "https://x"}, "conversionReviewVersions": ["v1"]}
    assert modern(found) is found


def test_it_is_stored_as_json_and_read_as_both() -> None:
    definition = apiextensions.CustomResourceDefinition()
    definition.metadata.name, definition.spec.group = "a.b.c", "b.c"
    definition.spec.names.plural = definition.status.accepted_names.plural = "a"
    raw = definition.SerializeToString(deterministic=True)
    value = FORM.wrap(raw)
    assert orjson.loads(value)["spec"]["group"] == "b.c"
    assert FORM.unwrap(value) == ("apiextensions.k8s.io/v1", raw)
    assert FORM.unwrap(wrap("apiextensions.k8s.io/v1", "CustomResourceDefinition", raw)) == ("apiextensions.k8s.io/v1", raw)
    assert FORM.unwrap(orjson.dumps(older(group="b.c", version="v1")))[0] == "apiextensions.k8s.io/v1"
    with pytest.raises(ValueError):
        FORM.unwrap(b'{"apiVersion":"apiextensions.k8s.io/v1","spec":3}')
