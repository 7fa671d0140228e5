"""Custom resources of Kubernetes' API server and ours over one etcd: who defines them, serves them in both, and both judge alike."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from tests.peer.peers import Answer, Ask, Peer, Peers
from tests.peer.test_one_store import BOTH_WAYS, one_store, sides  # noqa: F401

pytestmark = [pytest.mark.peer, pytest.mark.etcd]

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SECONDS = 30.0
MERGE = "application/merge-patch+json"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "maximum": 5},
                "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
                "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5, "minLength": 2},
                "port": {"x-kubernetes-int-or-string": True},
                "when": {"type": "string", "format": "date-time"},
                "parts": {
                    "type": "array",
                    "minItems": 1,
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["k"],
                    "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}},
                },
                "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "either": {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
                           "oneOf": [{"required": ["x"]}, {"required": ["y"]}]},
            },
        },
        "status": {"type": "object", "properties": {"count": {"type": "integer"}}},
    },
}  # fmt: skip


def definition(plural: str, kind: str) -> dict[str, Any]:
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": SCHEMA},
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.count"}},
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.org"},
        "spec": {"group": "example.org", "scope": "Namespaced", "names": {"plural": plural, "kind": kind}, "versions": [version]},
    }


def until(peer: Peer, path: str, status: int = 200) -> None:
    end = time.monotonic() + SECONDS
    while peer.ask(Ask("GET", path)).status != status:
        assert time.monotonic() < end, path


def define(peers: Peers, writing: Peer, plural: str, kind: str) -> str:
    assert writing.ask(Ask("POST", CRDS, body=definition(plural, kind))).status == 201
    path = f"/apis/example.org/v1/namespaces/default/{plural}"
    for peer in (peers.theirs, peers.ours):
        until(peer, path)
    return path


def without_times(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = {name: item for name, item in obj["metadata"].items() if name not in ("managedFields", "selfLink")}
    return {**obj, "metadata": metadata}


@BOTH_WAYS
def test_what_one_defines_both_serve(one_store: Peers, writer: str) -> None:  # noqa: F811
    writing, reading = sides(one_store, writer)
    plural, kind = f"{writer}things", f"{writer.title()}Thing"
    path = define(one_store, writing, plural, kind)
    body = {"apiVersion": "example.org/v1", "kind": kind, "metadata": {"name": "one"}, "spec": {"size": 1, "free": {"z": [1, "<"]}}}
    made = writing.ask(Ask("POST", path, body=body))
    assert made.status == 201 and made.body["spec"]["mode"] == "a"
    assert without_times(reading.ask(Ask("GET", f"{path}/one")).body) == without_times(made.body)
    changed = reading.ask(Ask("PATCH", f"{path}/one", body={"spec": {"size": 2}}, content_type=MERGE))
    assert (changed.status, changed.body["metadata"]["generation"]) == (200, 2)
    told = writing.ask(Ask("PATCH", f"{path}/one/status", body={"status": {"count": 2}}, content_type=MERGE))
    assert (told.status, told.body["spec"]["size"], told.body["status"]) == (200, 2, {"count": 2})
    scaled = reading.ask(Ask("PATCH", f"{path}/one/scale", body={"spec": {"replicas": 3}}, content_type=MERGE))
    assert (scaled.status, scaled.body["status"]["replicas"]) == (200, 2)
    assert without_times(writing.ask(Ask("GET", f"{path}/one")).body) == without_times(reading.ask(Ask("GET", f"{path}/one")).body)
    listed = writing.ask(Ask("GET", path)).body
    assert (listed["kind"], [item["spec"]["size"] for item in listed["items"]]) == (f"{kind}List", [3])
    assert reading.ask(Ask("DELETE", f"{CRDS}/{plural}.example.org")).status == 200
    for peer in (writing, reading):
        until(peer, f"{CRDS}/{plural}.example.org", 404)
        until(peer, path, 404)


REFUSED: dict[str, dict[str, Any]] = {
    "missing": {},
    "null": {"size": None},
    "type": {"size": "x"},
    "float": {"size": 1.5},
    "large": {"size": 6},
    "enum": {"size": 1, "mode": "c"},
    "pattern": {"size": 1, "name": "A1"},
    "short": {"size": 1, "name": "a"},
    "int or string": {"size": 1, "port": []},
    "format": {"size": 1, "when": "yesterday"},
    "few": {"size": 1, "parts": []},
    "repeated key": {"size": 1, "parts": [{"k": "a"}, {"k": "a"}]},
    "no key": {"size": 1, "parts": [{}]},
    "repeated": {"size": 1, "tags": ["a", "b", "a"]},
    "no object": {"size": 1, "free": 1},
    "neither": {"size": 1, "either": {}},
    "both": {"size": 1, "either": {"x": 1, "y": 1}},
}


def judgement(answer: Answer) -> tuple[int, list[tuple[str, str]]]:
    """Newer Kubernetes names the element of a list, and shows objects as JSON."""
    causes = answer.body.get("details", {}).get("causes", [])
    return answer.status, sorted((_plain(cause["field"]), _plain(cause["message"])) for cause in causes)


def _plain(text: str) -> str:
    return re.sub(r"\[\d+\]\.", ".", text).replace("map[string]interface {}", "")


def test_both_judge_alike(one_store: Peers) -> None:  # noqa: F811
    path = define(one_store, one_store.ours, "judged", "Judged")
    differences = {}
    for name, spec in REFUSED.items():
        body = {"apiVersion": "example.org/v1", "kind": "Judged", "metadata": {"name": "x"}, "spec": spec}
        theirs, ours = (peer.ask(Ask("POST", path, {"dryRun": "All"}, body)) for peer in (one_store.theirs, one_store.ours))
        if judgement(ours) != judgement(theirs):
            differences[name] = {"ours": ours.body.get("message"), "theirs": theirs.body.get("message")}
    assert not differences
    assert one_store.ours.ask(Ask("DELETE", f"{CRDS}/judged.example.org")).status == 200
