"""Every kind that Kubernetes' API server and ours both have, over one etcd in which some lie encrypted.

Each is created through the one, and read, listed, patched, watched and deleted through the other.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from knarr.machinery.catalog import BUILT_IN, RETIRED
from knarr.machinery.resources import Version
from services.apiserver.encryption.configuration import read_encryption
from services.apiserver.storage.etcd import EtcdSettings, EtcdStore
from tests.apiserver.rest.live import SETTINGS, running_server
from tests.apiserver.rest.test_answers_to_writes import body_of, name_of
from tests.peer.comparison import Schema, as_stored, without_newer
from tests.peer.kube_apiserver import running_kube_apiserver
from tests.peer.objects import collection_of
from tests.peer.peers import Ask, Peer, Peers, wait_for_namespace
from tests.peer.test_mixed_control_plane import OLDER
from tests.peer.test_one_store import BOTH_WAYS, sides
from tests.support.etcd import running_etcd

pytestmark = [pytest.mark.peer, pytest.mark.etcd]

# A definition is made with its objects in test_custom_resources; a namespace goes when a controller has emptied it.
ELSEWHERE = ("CustomResourceDefinition", "APIService")
VERSIONS = [
    version
    for resource in BUILT_IN
    for version in resource.versions
    if resource.stored and version.kind not in ELSEWHERE and (version.served or version.api_version in RETIRED)
]
# 1.20 takes a Job for one of its own only with the labels that 1.27 has put a prefix before.
# Both servers write the status of FlowSchemas, each when it has heard of one.
NOT_CHANGED = (("Job", "ours"), ("FlowSchema", "ours"), ("FlowSchema", "theirs"))
# What is written otherwise in a version that was retired.
OLDER_BODIES = {("networking.k8s.io/v1beta1", "Ingress"): {"spec": {"backend": {"serviceName": "s", "servicePort": 80}}}}
MERGE = "application/merge-patch+json"


def _keys(*names: str) -> dict[str, Any]:
    return {"keys": [{"name": name, "secret": base64.b64encode(name.encode().ljust(32, b".")).decode()} for name in names]}


ENCRYPTION = {
    "apiVersion": "apiserver.config.k8s.io/v1",
    "kind": "EncryptionConfiguration",
    "resources": [
        {"resources": ["secrets"], "providers": [{"secretbox": _keys("box")}, {"identity": {}}]},
        {"resources": ["configmaps"], "providers": [{"aesgcm": _keys("gcm")}, {"identity": {}}]},
        {"resources": ["deployments.apps"], "providers": [{"aescbc": _keys("cbc")}, {"identity": {}}]},
    ],
}


@dataclasses.dataclass(frozen=True, slots=True)
class Shared:
    peers: Peers
    known: Schema
    endpoint: str


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp("every-kind")
    for name in ("etcd", "theirs", "ours"):
        (folder / name).mkdir()
    file = folder / "encryption.yaml"
    file.write_text(yaml.safe_dump(ENCRYPTION))
    file.chmod(0o600)
    settings = dataclasses.replace(SETTINGS, revived_versions=frozenset(RETIRED), storage_versions=OLDER, encryption=read_encryption(file))
    with contextlib.ExitStack() as stack:
        etcd = stack.enter_context(running_etcd(folder / "etcd"))
        option = f"--encryption-provider-config={file}"
        kube = stack.enter_context(running_kube_apiserver(folder / "theirs", etcd.endpoint, options=[option]))
        theirs = stack.enter_context(contextlib.closing(Peer(kube)))
        wait_for_namespace(theirs)
        live = stack.enter_context(running_server(folder / "ours", endpoint=etcd.endpoint, settings=settings))
        ours = stack.enter_context(contextlib.closing(Peer(live)))
        yield Shared(Peers(theirs, ours), Schema(theirs.ask(Ask("GET", "/openapi/v2")).body["definitions"]), etcd.endpoint)


@BOTH_WAYS
@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: f"{version.qualified}.{version.version}")
def test_what_one_creates_the_other_has_too(shared: Shared, version: Version, writer: str) -> None:
    name = name_of(version, f"made-by-{writer}")
    body = {**body_of(version, name), **OLDER_BODIES.get((version.api_version, version.kind), {})}
    collection = collection_of_version(version)
    if shared.peers.theirs.ask(Ask("GET", collection)).status == 404:
        pytest.skip("1.20 does not serve it")
    writing, reading = sides(shared.peers, writer)
    path = f"{collection}/{name}"
    since = writing.ask(Ask("GET", collection)).body["metadata"]["resourceVersion"]
    created = writing.ask(Ask("POST", collection, body=body))
    assert created.status == 201, created.body
    assert same(shared, writing.ask(Ask("GET", path)).body, reading.ask(Ask("GET", path)).body, writer)
    assert name in [item["metadata"]["name"] for item in reading.ask(Ask("GET", collection)).body["items"]]

    if (version.kind, writer) in NOT_CHANGED:
        assert reading.ask(Ask("DELETE", path, body={"propagationPolicy": "Background"})).status == 200
        return
    patch = {"metadata": {"labels": {"patched": "yes"}, "finalizers": None}}
    patched = reading.ask(Ask("PATCH", path, body=patch, content_type=MERGE))
    assert patched.status == 200, patched.body["message"]
    assert patched.body["metadata"]["labels"]["patched"] == "yes"
    found = writing.ask(Ask("GET", path)).body
    assert found["metadata"]["uid"] == created.body["metadata"]["uid"] and found["metadata"]["labels"]["patched"] == "yes"
    put = writing.ask(Ask("PUT", path, body={**found, "metadata": {**found["metadata"], "annotations": {"put": "yes"}}}))
    assert put.status == 200, put.body["message"]
    assert reading.ask(Ask("GET", path)).body["metadata"]["annotations"]["put"] == "yes"

    gone = reading.ask(Ask("DELETE", path, body={"gracePeriodSeconds": 0, "propagationPolicy": "Background"}))
    assert gone.status == 200, gone.body
    told = ["ADDED", "MODIFIED", "MODIFIED", "MODIFIED" if version.kind == "Namespace" else "DELETED"]
    if version.kind != "Namespace":
        assert writing.ask(Ask("GET", path)).status == 404
    events = watched(writing, collection, name, since)
    # Some are marked as going before they go.
    going = [event for event in events if event["type"] == "MODIFIED" and event["object"]["metadata"].get("deletionTimestamp")]
    seen = [event["type"] for event in events if event not in going or version.kind == "Namespace"]
    assert seen == told
    assert {event["object"]["apiVersion"] for event in events} == {version.api_version}


def collection_of_version(version: Version) -> str:
    if version.served:
        return collection_of({"apiVersion": version.api_version, "kind": version.kind})
    namespace = "/namespaces/default" if version.resource.namespaced else ""
    return f"/apis/{version.api_version}{namespace}/{version.resource.plural}"


def same(shared: Shared, mine: Any, other: Any, writer: str) -> bool:
    """What the writer and the reader show, as far as 1.20 knows its fields."""
    theirs, ours = (mine, other) if writer == "theirs" else (other, mine)
    schema = shared.known.of_kind(theirs)
    assert schema is not None
    assert as_stored(without_newer(ours, schema)) == as_stored(theirs)
    return True


def watched(peer: Peer, collection: str, name: str, since: str) -> list[Any]:
    query = {"watch": "true", "resourceVersion": since, "timeoutSeconds": "1", "fieldSelector": f"metadata.name={name}"}
    answer = peer.ask(Ask("GET", collection, query))
    assert answer.status == 200
    return [answer.body] if isinstance(answer.body, dict) else [json.loads(line) for line in answer.body.splitlines()]


@BOTH_WAYS
@pytest.mark.parametrize(
    ("collection", "stored", "prefix"),
    [
        ("/api/v1/namespaces/default/secrets", "secrets", "k8s:enc:secretbox:v1:box:"),
        ("/api/v1/namespaces/default/configmaps", "configmaps", "k8s:enc:aesgcm:v1:gcm:"),
    ],
)
def test_both_encrypt_alike(shared: Shared, writer: str, collection: str, stored: str, prefix: str) -> None:
    writing, reading = sides(shared.peers, writer)
    name = f"hidden-by-{writer}"
    data = {"password": base64.b64encode(b"hidden words").decode()}
    assert writing.ask(Ask("POST", collection, body={"metadata": {"name": name}, "data": data})).status == 201
    value = asyncio.run(value_of(shared.endpoint, f"/registry/{stored}/default/{name}"))
    assert value.startswith(prefix.encode()) and b"hidden words" not in value
    assert reading.ask(Ask("GET", f"{collection}/{name}")).body["data"] == data
    assert reading.ask(Ask("PATCH", f"{collection}/{name}", body={"data": {"more": "bW9yZQ=="}}, content_type=MERGE)).status == 200
    assert writing.ask(Ask("GET", f"{collection}/{name}")).body["data"] == {**data, "more": "bW9yZQ=="}
    assert asyncio.run(value_of(shared.endpoint, f"/registry/{stored}/default/{name}")).startswith(prefix.encode())


async def value_of(endpoint: str, key: str) -> bytes:
    store = EtcdStore(EtcdSettings((endpoint,)))
    try:
        found = await store.get(key)
        assert found is not None
        return found.value
    finally:
        await store.close()


@BOTH_WAYS
def test_a_node_port_is_given_once(shared: Shared, writer: str) -> None:
    writing, other = sides(shared.peers, writer)
    services = "/api/v1/namespaces/default/services"

    def service(name: str, port: int | None = None) -> Ask:
        ports = [{"port": 80, **({"nodePort": port} if port else {})}]
        return Ask("POST", services, body={"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": ports}})

    given = writing.ask(service(f"a-{writer}")).body["spec"]["ports"][0]["nodePort"]
    refused = other.ask(service(f"b-{writer}", given))
    assert (refused.status, "provided port is already allocated" in refused.body["message"]) == (422, True)
    taken = {other.ask(service(f"n-{number}-{writer}")).body["spec"]["ports"][0]["nodePort"] for number in range(5)}
    assert given not in taken and len(taken) == 5
    assert other.ask(Ask("DELETE", f"{services}/a-{writer}")).status == 200
    assert writing.ask(service(f"b-{writer}", given)).status == 201
    for name in (f"b-{writer}", *(f"n-{number}-{writer}" for number in range(5))):
        assert writing.ask(Ask("DELETE", f"{services}/{name}")).status == 200


def test_addresses_given_by_both_in_turn_are_all_different(shared: Shared) -> None:
    services, given = "/api/v1/namespaces/default/services", []
    for number in range(20):
        peer = shared.peers.theirs if number % 2 else shared.peers.ours
        made = peer.ask(Ask("POST", services, body={"metadata": {"name": f"turn-{number}"}, "spec": {"ports": [{"port": 80}]}}))
        assert made.status == 201
        given.append(made.body["spec"]["clusterIP"])
    assert len(set(given)) == 20
    for number in range(20):
        peer = shared.peers.ours if number % 2 else shared.peers.theirs
        assert peer.ask(Ask("DELETE", f"{services}/turn-{number}")).status == 200
