"""A patch that names a part of an object comes to the same as one that is applied to the whole of it."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError
from knarr.objects.copies import copy_of
from services.apiserver.pipeline import patching
from services.apiserver.pipeline.patching import ParsedPatch
from tests.controller.objects import deployment, pod

PATCHES: list[tuple[str, Any]] = [
    ("nothing", {}),
    ("a finalizer taken", {"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a"]}}),
    ("a label", {"metadata": {"labels": {"a": "b", "app": None}}}),
    ("all labels", {"metadata": {"labels": None}}),
    ("no managers", {"metadata": {"managedFields": [{}]}}),
    ("the kind told", {"kind": "Pod", "apiVersion": "v1", "metadata": {"annotations": {"a": "b"}}}),
    ("the spec", {"spec": {"terminationGracePeriodSeconds": 5}}),
    ("no spec", {"spec": None}),
    ("a condition", {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
    ("spec and status", {"spec": {"paused": True}, "status": {"replicas": 3}}),
    ("a stranger", {"colour": "red", "metadata": {"shade": 1}}),
    ("a number for a name", {"metadata": {"labels": {"a": 5}}}),
    ("a list for a map", {"metadata": {"labels": []}}),
    ("replace", {"$patch": "replace", "metadata": {"name": "web"}}),
    ("retain", {"$retainKeys": ["metadata"], "metadata": {"name": "web"}}),
]


def _obj(kind: type[Any]) -> Any:
    found = pod("web") if kind is core.Pod else deployment("web")
    found.metadata.finalizers.extend(["example.com/a", "example.com/b"])
    found.metadata.labels["app"] = "web"
    found.status.conditions.add(type="Ready", status="True", reason="Fine")
    return found


def _outcome(apply: Any, patch: ParsedPatch, obj: Any, validation: str) -> Any:
    warnings: list[str] = []
    try:
        return apply(patch, obj, version_of(type(obj)).form, validation, warnings), warnings
    except StatusError as error:
        return error.status


@pytest.mark.parametrize("validation", ["Ignore", "Warn", "Strict"])
@pytest.mark.parametrize("kind", [core.Pod, apps.Deployment], ids=lambda kind: kind.DESCRIPTOR.name)
@pytest.mark.parametrize("language", ["merge", "strategic"])
@pytest.mark.parametrize("body", [body for _, body in PATCHES], ids=[name for name, _ in PATCHES])
def test_a_part_is_patched_as_the_whole_is(body: Any, language: str, kind: type[Any], validation: str) -> None:
    obj, patch = _obj(kind), ParsedPatch(language, body)
    kept = copy_of(obj)
    assert _outcome(patching.apply, patch, obj, validation) == _outcome(patching._apply, patch, copy_of(obj), validation)
    assert obj == kept


def test_the_values_of_all_parts_are_counted() -> None:
    """A part may have as many as are left of an object's; what is told of it is told once."""
    obj = _obj(core.Pod)
    for number in range(12_000):
        obj.spec.containers[0].env.add(name=f"E{number}")
    for count, refused in ((30_000, True), (10_000, False)):
        patch = ParsedPatch("merge", {"metadata": {"annotations": {f"a{number}": "" for number in range(count)}}, "colour": "red"})
        outcome, whole = (_outcome(apply, patch, obj, "Warn") for apply in (patching.apply, patching._apply))
        assert outcome == whole
        assert (getattr(outcome, "reason", "") == "RequestEntityTooLarge") is refused


def test_what_is_not_named_is_not_made_json(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[dict[str, Any]] = []
    to_dict = codec.to_dict

    def noted(message: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        written.append(to_dict(message, *arguments, **options))
        return written[-1]

    monkeypatch.setattr(codec, "to_dict", noted)
    obj = _obj(core.Pod)
    found, _ = _outcome(patching.apply, ParsedPatch("strategic", PATCHES[1][1]), obj, "Warn")
    assert list(found.metadata.finalizers) == ["example.com/b"] and found.spec == obj.spec and found.status == obj.status
    empty = to_dict(core.Pod())
    assert [(value["spec"], value["status"]) for value in written] == [(empty["spec"], empty["status"])]
