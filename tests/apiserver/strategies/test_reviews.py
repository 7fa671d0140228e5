"""What reviews must say of those whose access they ask about."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api.authorization.v1 import authorization_pb2 as authorization
from knarr.machinery import codec
from services.apiserver.strategies.reviews import validate_review

KEY = {"key": "metadata.name", "operator": "In", "values": ["a"]}


def told(**attributes: Any) -> list[str]:
    spec = {"resourceAttributes": {"verb": "list", "resource": "pods", **attributes}}
    manifest = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
    review: Any = codec.from_json(authorization.SelfSubjectAccessReview, manifest, codec.UnknownFields.REJECT).message
    return [f"{str(cause.field).removeprefix('spec.resourceAttributes.')}: {cause.message}" for cause in validate_review(review)]


@pytest.mark.parametrize("name", ["fieldSelector", "labelSelector"])
def test_a_selector_is_text_or_rules(name: str) -> None:
    rule = {**KEY, "key": "a"}
    assert told(**{name: {"rawSelector": "a=b"}}) == told(**{name: {"requirements": [rule]}}) == []
    assert told(**{name: {"rawSelector": "a=b", "requirements": [rule]}}) == [
        f'{name}.rawSelector: Invalid value: "a=b": may not specified at the same time as requirements'
    ]
    words = f"when spec.resourceAttributes.{name} is specified, requirements or rawSelector is required"
    assert told(**{name: {}}) == [f"{name}.requirements: Required value: {words}"]


@pytest.mark.parametrize("name", ["fieldSelector", "labelSelector"])
def test_its_rules_have_values_or_none(name: str) -> None:
    rules = [
        {"key": "a", "operator": "In"},
        {"key": "a", "operator": "Exists", "values": ["b"]},
        # Of a newer client perhaps.
        {"key": "a", "operator": "Resembles", "values": ["b"]},
    ]
    assert told(**{name: {"requirements": rules}}) == [
        f"{name}.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        f"{name}.requirements[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
    ]


def test_keys_and_values_of_labels_are_those_of_labels() -> None:
    bad = {"key": "", "operator": "In", "values": ["-"]}
    assert told(fieldSelector={"requirements": [bad]}) == ["fieldSelector.requirements[0].key: Required value: must be specified"]
    found = told(labelSelector={"requirements": [bad]})
    assert [cause.partition(": ")[0] for cause in found] == [
        *["labelSelector.requirements[0].key"] * 2,
        "labelSelector.requirements[0].values[0]",
    ]
