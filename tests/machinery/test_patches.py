"""The three patch languages, on recorded exchanges and on their own rules."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import StatusError
from knarr.machinery.patches import json_patch, merge, strategic

RECORDED = Path(__file__).resolve().parents[1] / "data" / "recorded-exchanges.json"
# Kubernetes before 1.23 kept a null that met nothing as an empty string.
OLDER = {"strategic: null removes"}


def recorded_patches() -> list[Any]:
    """(name, object before, patch, object after), for every recorded patch of a Deployment."""
    found: list[Any] = []
    objects: dict[str, Any] = {}
    for exchange in json.loads(RECORDED.read_text()):
        request, answer = exchange["request"], exchange["response"]["body"]
        name: str = exchange["name"]
        if request["method"] == "PATCH" and name.startswith(("strategic", "merge", "json patch")):
            found.append(pytest.param(name, objects[request["path"]], request["body"], answer, id=name))
        if isinstance(answer, dict) and answer.get("kind") == "Deployment":
            objects[f"/apis/apps/v1/namespaces/default/deployments/{answer['metadata']['name']}"] = answer
    return found


@pytest.mark.parametrize(("name", "before", "patch", "after"), recorded_patches())
def test_recorded_patches(name: str, before: dict[str, Any], patch: Any, after: dict[str, Any]) -> None:
    kept = copy.deepcopy((before, patch))
    if name.startswith("strategic"):
        result = strategic.apply(apps.Deployment, before, patch)
    else:
        result = (merge if name.startswith("merge") else json_patch).apply(before, patch)
    assert (before, patch) == kept
    assert containers(result) == containers(after)
    assert result["spec"]["strategy"]["type"] == after["spec"]["strategy"]["type"]
    if name not in OLDER:
        assert result["metadata"].get("labels") == after["metadata"].get("labels")
        assert result["spec"].get("replicas", 1) == after["spec"]["replicas"]


def containers(deployment: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """What a patch says of containers, without what defaulting adds."""
    found = deployment["spec"]["template"]["spec"]["containers"]
    return [(container["name"], container["image"], container.get("env")) for container in found]


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": spec}


def patched(before: dict[str, Any], **spec: Any) -> dict[str, Any]:
    result: dict[str, Any] = strategic.apply(core.Pod, before, {"spec": spec})["spec"]
    return result


def test_lists_without_a_merge_key_are_replaced() -> None:
    before = pod(containers=[{"name": "c", "args": ["a", "b"]}])
    assert patched(before, containers=[{"name": "c", "args": ["z"]}]) == {"containers": [{"name": "c", "args": ["z"]}]}


def test_replace_and_delete_an_object() -> None:
    before = pod(securityContext={"runAsUser": 1, "fsGroup": 2}, nodeSelector={"a": "b"})
    assert patched(before, securityContext={"$patch": "replace", "fsGroup": 3})["securityContext"] == {"fsGroup": 3}
    assert patched(before, nodeSelector={"$patch": "delete"})["nodeSelector"] == {}
    assert patched(before, nodeSelector={"$patch": "merge", "c": "d"})["nodeSelector"] == {"a": "b", "c": "d"}


def test_primitive_lists_merge_and_lose_elements() -> None:
    before = {"metadata": {"finalizers": ["a", "b"]}}
    added = strategic.apply(core.Pod, before, {"metadata": {"finalizers": ["b", "c"]}})
    assert sorted(added["metadata"]["finalizers"]) == ["a", "b", "c"]
    removed = strategic.apply(core.Pod, before, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a", "x"]}})
    assert removed["metadata"] == {"finalizers": ["b"]}


def test_what_is_not_retained_may_be_null_beside() -> None:
    change = {"name": "v", "$retainKeys": ["hostPath", "name"], "emptyDir": None, "hostPath": {"path": "/x"}}
    assert patched(pod(volumes=[{"name": "v", "emptyDir": {}}]), volumes=[change])["volumes"] == [{"name": "v", "hostPath": {"path": "/x"}}]


def test_retained_keys_of_a_volume() -> None:
    before = pod(volumes=[{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}])
    change = {"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}
    assert patched(before, volumes=[change])["volumes"] == [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "emptyDir": {}}]


def test_order_without_change() -> None:
    before = pod(containers=[{"name": "a"}, {"name": "b"}, {"name": "server-only"}])
    result = patched(before, **{"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]})
    assert [container["name"] for container in result["containers"]] == ["b", "a", "server-only"]


def test_new_values_lose_directives_and_nulls() -> None:
    result = patched(
        pod(), nodeSelector={"a": None, "b": "c"}, containers=[{"name": "c", "$patch": "delete"}, {"name": "d", "image": None}]
    )
    assert result == {"nodeSelector": {"b": "c"}, "containers": [{"name": "d"}]}


def test_a_merge_key_that_is_null_is_there() -> None:
    result = patched(pod(containers=[{"name": "c"}]), containers=[{"name": None, "image": "i"}])
    assert result["containers"] == [{"name": None, "image": "i"}, {"name": "c"}]


def test_ports_merge_by_their_number() -> None:
    before = pod(containers=[{"name": "c", "ports": [{"containerPort": 80, "name": "http"}]}])
    result = patched(before, containers=[{"name": "c", "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 81}]}])
    assert result["containers"][0]["ports"] == [{"containerPort": 80, "name": "http", "protocol": "TCP"}, {"containerPort": 81}]


@pytest.mark.parametrize(
    ("spec", "code", "problem"),
    [
        ({"containers": [{"image": "x"}]}, 422, "does not contain declared merge key: name"),
        ({"containers": ["x"]}, 422, "expected a JSON object"),
        ({"$patch": "explode"}, 400, "unknown patch type found: explode"),
        ({"containers": [{"name": "c", "$patch": "explode"}]}, 400, "unknown patch type found: explode"),
        ({"$retainKeys": ["a"], "b": 1}, 400, "retainKeys"),
        ({"$setElementOrder/containers": [{"name": "x"}], "containers": [{"name": "c"}]}, 400, "doesn't match $setElementOrder list"),
    ],
    ids=str,
)
def test_refused_strategic_patches(spec: dict[str, Any], code: int, problem: str) -> None:
    with pytest.raises(StatusError) as caught:
        patched(pod(containers=[{"name": "c"}]), **spec)
    assert (caught.value.code, problem in str(caught.value)) == (code, True)


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": [1]}, {"a": [None, {"b": None, "c": [{"d": None}]}]}, {"a": [None, {"c": [{}]}]}),
    ],
)
def test_merge_patch_of_rfc_7386(before: Any, patch: Any, after: Any) -> None:
    assert merge.apply(before, patch) == after


@pytest.mark.parametrize(
    ("operation", "after"),
    [
        ({"op": "add", "path": "/b", "value": 1}, {"a": [1, 2], "b": 1}),
        ({"op": "add", "path": "/a/1", "value": 9}, {"a": [1, 9, 2]}),
        ({"op": "add", "path": "/a/-", "value": 9}, {"a": [1, 2, 9]}),
        ({"op": "remove", "path": "/a/0"}, {"a": [2]}),
        ({"op": "replace", "path": "/a", "value": None}, {"a": None}),
        ({"op": "move", "from": "/a", "path": "/x~1y~0"}, {"x/y~": [1, 2]}),
        ({"op": "copy", "from": "/a/1", "path": "/b"}, {"a": [1, 2], "b": 2}),
        ({"op": "test", "path": "/a", "value": [1, 2.0]}, None),
        ({"op": "test", "path": "/missing", "value": None}, {"a": [1, 2]}),
    ],
    ids=str,
)
def test_json_patch_of_rfc_6902(operation: dict[str, Any], after: Any) -> None:
    if after is None:
        with pytest.raises(StatusError, match="test failed"):
            json_patch.apply({"a": [1, 2]}, [operation])
    else:
        assert json_patch.apply({"a": [1, 2]}, [operation]) == after


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ({"op": "test", "path": "/a/0", "value": True}, 422),
        ({"op": "replace", "path": "/b", "value": 1}, 422),
        ({"op": "remove", "path": "/a/2"}, 422),
        ({"op": "remove", "path": "/a/01"}, 422),
        ({"op": "remove", "path": ""}, 422),
        ({"op": "add", "path": "/x/y", "value": 1}, 422),
        ({"op": "move", "from": "/a", "path": "/a/0"}, 422),
        ({"op": "jump", "path": "/a"}, 422),
        ({"op": "add", "path": "a", "value": 1}, 422),
        ({"op": "copy", "path": "/a"}, 400),
        ("x", 400),
    ],
    ids=str,
)
def test_refused_json_patches(operation: Any, code: int) -> None:
    document = {"a": [1, 2]}
    with pytest.raises(StatusError) as caught:
        json_patch.apply(document, [{"op": "add", "path": "/a/-", "value": 3}, {"op": "remove", "path": "/a/2"}, operation])
    assert (caught.value.code, document) == (code, {"a": [1, 2]})


def test_too_many_operations() -> None:
    with pytest.raises(StatusError) as caught:
        json_patch.apply({}, [{"op": "add", "path": "/a", "value": 1}] * (json_patch.MAX_OPERATIONS + 1))
    assert caught.value.code == 413
