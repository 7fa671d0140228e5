"""What is asked of scales, bindings and evictions, of deletes with preconditions and of updates: both servers answer alike."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.peer.peers import Answer, Ask, Peers

pytestmark = [pytest.mark.peer, pytest.mark.etcd]

CORE, APPS = "/api/v1/namespaces/default", "/apis/apps/v1/namespaces/default"
MERGE = "application/merge-patch+json"
CONTAINERS = [{"name": "c", "image": "busybox"}]
POD = {"metadata": {"name": "sub", "labels": {"app": "web"}}, "spec": {"containers": CONTAINERS}}
DEPLOYMENT = {
    "metadata": {"name": "sub"},
    "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": CONTAINERS}}},
}
CONFIG = {"metadata": {"name": "sub"}, "data": {"a": "b"}}
# What differs, by what theirs says, and why.
EXPLAINED = {
    r"^\[target\.kind: ": "a Binding that makes no sense is the client's mistake, not the server's",
    r"\[\]string\{": "newer Kubernetes shows lists as JSON",
    r"is registered for version": "newer Kubernetes names no files of its own",
    "of the object .* does not match the namespace on the request": "newer Kubernetes says it in other words",
}


def scale(name: str = "sub", replicas: int = 2, **metadata: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default", **metadata}, "spec": {"replicas": replicas}}


def binding(name: str = "sub", node: str = "n", kind: str = "Node") -> dict[str, Any]:
    return {"metadata": {"name": name}, "target": {"kind": kind, "name": node}}


def eviction(name: str = "sub", version: str = "policy/v1beta1", **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"apiVersion": version, "kind": "Eviction", "metadata": {"name": name}}
    return {**found, "deleteOptions": options} if options else found


def deleting(**options: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "DeleteOptions", **options}


DRY = {"dryRun": "All"}
SCALE, BIND, EVICT, CONFIGS = f"{APPS}/deployments/sub/scale", f"{CORE}/pods/sub/binding", f"{CORE}/pods/sub/eviction", f"{CORE}/configmaps"
ASKS = [
    Ask("POST", f"{CORE}/pods", body=POD),
    Ask("POST", f"{APPS}/deployments", body=DEPLOYMENT),
    Ask("POST", CONFIGS, body=CONFIG),
    Ask("PUT", SCALE, body=scale(uid="other")),
    Ask("PUT", SCALE, body=scale(resourceVersion="1")),
    Ask("PUT", SCALE, body=scale(replicas=-1)),
    Ask("PUT", SCALE, DRY, body=scale(replicas=7)),
    Ask("GET", SCALE),
    Ask("PUT", SCALE, body=scale("x")),
    Ask("PUT", SCALE, body=scale("")),
    Ask("PUT", f"{APPS}/deployments/nope/scale", body=scale("nope")),
    Ask("PATCH", SCALE, body={"spec": {"replicas": 3}}, content_type=MERGE),
    Ask("PATCH", SCALE, body={"spec": {"replicas": -3}}, content_type=MERGE),
    Ask("PATCH", SCALE, body={"metadata": {"uid": "x"}, "spec": {"replicas": 3}}, content_type=MERGE),
    Ask("PATCH", SCALE, body={"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 4}}, content_type=MERGE),
    Ask("DELETE", SCALE),
    Ask("POST", SCALE, body=scale()),
    Ask("GET", f"{CORE}/pods/sub/scale"),
    Ask("POST", BIND, body=binding("x")),
    Ask("POST", BIND, body=binding("")),
    Ask("POST", BIND, body=binding(kind="Pod", node="")),
    Ask("POST", BIND, DRY, body=binding()),
    Ask("POST", f"{CORE}/pods/nope/binding", body=binding("nope")),
    Ask("GET", BIND),
    Ask("POST", BIND, body=binding()),
    Ask("POST", BIND, body=binding()),
    Ask("POST", f"{CORE}/bindings", body=binding()),
    Ask("POST", EVICT, body=eviction("x")),
    Ask("POST", EVICT, body=eviction("")),
    Ask("POST", f"{CORE}/pods/nope/eviction", body=eviction("nope")),
    Ask("POST", EVICT, body=eviction(preconditions={"uid": "other"})),
    Ask("POST", EVICT, body=eviction(preconditions={"resourceVersion": "1"})),
    Ask("POST", EVICT, body=eviction(dryRun=["Some"])),
    Ask("POST", EVICT, body=eviction(propagationPolicy="Sideways")),
    Ask("POST", EVICT, DRY, body=eviction()),
    Ask("GET", EVICT),
    Ask("POST", EVICT, body=eviction(version="policy/v1alpha1")),
    Ask("POST", EVICT, body=eviction()),
    Ask("DELETE", f"{CONFIGS}/sub", body=deleting(preconditions={"uid": "x"})),
    Ask("DELETE", f"{CONFIGS}/sub", body=deleting(preconditions={"resourceVersion": "1"})),
    Ask("DELETE", f"{CONFIGS}/sub", body=deleting(propagationPolicy="Sideways")),
    Ask("DELETE", f"{CONFIGS}/sub", body=deleting(propagationPolicy="Orphan", orphanDependents=True)),
    Ask("PUT", f"{CONFIGS}/sub", body={"metadata": {}, "data": {}}),
    Ask("PUT", f"{CONFIGS}/sub", body={"metadata": {"name": "sub", "uid": "x"}}),
    Ask("PUT", f"{CONFIGS}/sub", body={"metadata": {"name": "other"}}),
    Ask("PUT", f"{CONFIGS}/sub", body={"metadata": {"name": "sub", "namespace": "other"}}),
]


def told(answer: Answer) -> tuple[Any, ...]:
    """Status, reason, words without uids and revisions, whom they are about, and the count of a Scale."""
    found = answer.body if isinstance(answer.body, dict) else {}
    words = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID", str(found.get("message", "")))
    words = re.sub(r"in record \(\d+\)", "in record (REVISION)", words)
    count = found.get("spec", {}).get("replicas")
    return answer.status, found.get("reason"), words, found.get("details", {}).get("kind"), count


def test_both_answer_alike(peers: Peers) -> None:
    different = []
    for ask in ASKS:
        theirs, ours = map(told, peers.ask(ask))
        if theirs != ours and not any(re.search(pattern, theirs[2]) for pattern in EXPLAINED):
            different.append((ask.method, ask.path, ask.body, theirs, ours))
    assert different == []
