"""Kubernetes' API server and ours over one etcd: what the one writes, the other reads, changes, watches and deletes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.apiserver.rest.live import running_server
from tests.peer.comparison import Schema, as_stored, without_newer
from tests.peer.kube_apiserver import running_kube_apiserver
from tests.peer.objects import STORED_NEWER, collection_of, inputs
from tests.peer.peers import Ask, Peer, Peers
from tests.support.etcd import running_etcd

pytestmark = [pytest.mark.peer, pytest.mark.etcd]

BOTH_WAYS = pytest.mark.parametrize("writer", ["theirs", "ours"])
SERVICES = "/api/v1/namespaces/default/services"


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    folder = tmp_path_factory.mktemp("one-store")
    for name in ("etcd", "theirs", "ours"):
        (folder / name).mkdir()
    with contextlib.ExitStack() as stack:
        etcd = stack.enter_context(running_etcd(folder / "etcd"))
        theirs = stack.enter_context(running_kube_apiserver(folder / "theirs", etcd.endpoint))
        ours = stack.enter_context(running_server(folder / "ours", endpoint=etcd.endpoint))
        yield Peers(
            stack.enter_context(contextlib.closing(Peer(theirs))),
            stack.enter_context(contextlib.closing(Peer(ours))),
        )


@pytest.fixture(scope="module")
def known(one_store: Peers) -> Schema:
    return Schema(one_store.theirs.ask(Ask("GET", "/openapi/v2")).body["definitions"])


def sides(peers: Peers, writer: str) -> tuple[Peer, Peer]:
    """Who writes and who reads."""
    return (peers.theirs, peers.ours) if writer == "theirs" else (peers.ours, peers.theirs)


def of_one_revision(one: Peer, another: Peer, path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What both show of an object that something may be written about meanwhile: whether an APIService's server is there."""
    for _ in range(5):
        found, other = one.ask(Ask("GET", path)).body, another.ask(Ask("GET", path)).body
        if found["metadata"]["resourceVersion"] == other["metadata"]["resourceVersion"]:
            break
    return found, other


@BOTH_WAYS
@pytest.mark.parametrize("obj", [pytest.param(obj, id=name) for name, obj in inputs() if name.startswith(("defaults", "updates"))])
def test_the_other_reads_what_one_wrote(one_store: Peers, known: Schema, writer: str, obj: dict[str, Any]) -> None:
    schema = known.of_kind(obj)
    unread = STORED_NEWER if writer == "ours" else ()
    if schema is None or list(schema.newer_fields(obj)) or obj["kind"] in unread:
        pytest.skip("newer than the peer")
    writing, reading = sides(one_store, writer)
    collection = collection_of(obj)
    created = writing.ask(Ask("POST", collection, body=obj))
    if created.status != 201:
        pytest.skip(f"refused: {created.body['message']}")
    name = created.body["metadata"]["name"]
    path = f"{collection}/{name}"
    try:
        mine, other = of_one_revision(writing, reading, path)
        if writer == "ours":
            mine = without_newer(mine, schema)
        else:
            other = without_newer(other, schema)
        assert as_stored(other) == as_stored(mine)
    finally:
        assert reading.ask(Ask("DELETE", path, body={"gracePeriodSeconds": 0, "propagationPolicy": "Background"})).status == 200
    if obj["kind"] != "Namespace" and not created.body["metadata"].get("finalizers"):
        assert writing.ask(Ask("GET", path)).status == 404


@BOTH_WAYS
def test_a_watch_tells_what_the_other_wrote(one_store: Peers, writer: str) -> None:
    writing, reading = sides(one_store, writer)
    collection, name = "/api/v1/namespaces/default/configmaps", f"watched-{writer}"
    since = reading.ask(Ask("GET", collection)).body["metadata"]["resourceVersion"]
    body = {"metadata": {"name": name}, "data": {"a": "1"}}
    assert writing.ask(Ask("POST", collection, body=body)).status == 201
    assert writing.ask(Ask("PUT", f"{collection}/{name}", body={**body, "data": {"a": "2"}})).status == 200
    assert writing.ask(Ask("DELETE", f"{collection}/{name}")).status == 200
    query = {"watch": "true", "resourceVersion": since, "timeoutSeconds": "1", "fieldSelector": f"metadata.name={name}"}
    events = [json.loads(line) for line in reading.ask(Ask("GET", collection, query)).body.splitlines()]
    assert [(event["type"], event["object"]["data"]["a"]) for event in events] == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


@BOTH_WAYS
def test_an_address_is_given_once(one_store: Peers, writer: str) -> None:
    writing, other = sides(one_store, writer)
    port = {"ports": [{"port": 80}]}
    given = writing.ask(Ask("POST", SERVICES, body={"metadata": {"name": f"a-{writer}"}, "spec": port})).body["spec"]["clusterIP"]
    wanted = {"metadata": {"name": f"b-{writer}"}, "spec": {**port, "clusterIP": given}}
    refused = other.ask(Ask("POST", SERVICES, body=wanted))
    assert (refused.status, "already allocated" in refused.body["message"]) == (422, True)
    assert other.ask(Ask("DELETE", f"{SERVICES}/a-{writer}")).status == 200
    assert writing.ask(Ask("POST", SERVICES, body=wanted)).status == 201
    assert other.ask(Ask("DELETE", f"{SERVICES}/b-{writer}")).status == 200


@BOTH_WAYS
def test_a_revision_of_the_other_guards(one_store: Peers, writer: str) -> None:
    writing, other = sides(one_store, writer)
    collection, name = "/api/v1/namespaces/default/configmaps", f"guarded-{writer}"
    created = writing.ask(Ask("POST", collection, body={"metadata": {"name": name}})).body
    path = f"{collection}/{name}"
    changed = other.ask(Ask("PUT", path, body={**created, "data": {"a": "1"}}))
    assert changed.status == 200
    assert writing.ask(Ask("PUT", path, body={**created, "data": {"a": "2"}})).status == 409
    assert writing.ask(Ask("GET", path)).body["data"] == {"a": "1"}


@BOTH_WAYS
def test_a_scale_is_the_other_ones_too(one_store: Peers, writer: str) -> None:
    writing, other = sides(one_store, writer)
    collection, name = "/apis/apps/v1/namespaces/default/deployments", f"scaled-{writer}"
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "hello:1"}]}}
    body = {"metadata": {"name": name}, "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}}
    assert writing.ask(Ask("POST", collection, body=body)).status == 201
    patch = Ask("PATCH", f"{collection}/{name}/scale", body={"spec": {"replicas": 3}}, content_type="application/merge-patch+json")
    assert other.ask(patch).status == 200
    found = writing.ask(Ask("GET", f"{collection}/{name}")).body
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (3, 2)
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "hello:1"
