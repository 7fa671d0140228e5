"""A snapshot of Kubernetes' etcd is a state for our API server, and one of ours for Kubernetes'."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from services.standalone.backup import snapshot
from tests.apiserver.rest.live import SETTINGS, running_server
from tests.peer.comparison import Schema, as_stored, without_newer
from tests.peer.kube_apiserver import running_kube_apiserver
from tests.peer.objects import collection_of, inputs
from tests.peer.peers import Ask, Peer, wait_for_namespace
from tests.peer.test_mixed_control_plane import OLDER
from tests.support.etcd import EtcdServer, running_etcd

pytestmark = [pytest.mark.peer, pytest.mark.etcd]

# What an API server of 1.20 reads.
READABLE = dataclasses.replace(SETTINGS, storage_versions=OLDER)


def test_from_kubernetes(tmp_path: Path) -> None:
    with running_etcd(folder(tmp_path, "old")) as etcd, running_kube_apiserver(folder(tmp_path, "theirs"), etcd.endpoint) as server:
        with contextlib.closing(Peer(server)) as theirs:
            wait_for_namespace(theirs)
            written = write_all(theirs, schema_of(theirs), ())
            schema = schema_of(theirs)
        asyncio.run(snapshot.take(etcd.endpoint, tmp_path / "cluster.db", snapshot.silent))
    with (
        restored(tmp_path) as etcd,
        running_server(folder(tmp_path, "ours"), endpoint=etcd.endpoint) as live,
        contextlib.closing(Peer(live)) as ours,
    ):
        for path, obj in written.items():
            found = ours.ask(Ask("GET", path))
            assert found.status == 200, path
            known = schema.of_kind(obj)
            assert known is not None
            assert as_stored(without_newer(found.body, known)) == as_stored(obj)


def test_to_kubernetes(tmp_path: Path) -> None:
    with running_etcd(folder(tmp_path, "old")) as etcd:
        with (
            running_server(folder(tmp_path, "ours"), endpoint=etcd.endpoint, settings=READABLE) as live,
            contextlib.closing(Peer(live)) as ours,
        ):
            written = write_all(ours, None, ())
        asyncio.run(snapshot.take(etcd.endpoint, tmp_path / "cluster.db", snapshot.silent))
    with (
        restored(tmp_path) as etcd,
        running_kube_apiserver(folder(tmp_path, "theirs"), etcd.endpoint) as server,
        contextlib.closing(Peer(server)) as theirs,
    ):
        schema = schema_of(theirs)
        compared = 0
        for path, obj in written.items():
            known = schema.of_kind(obj)
            if known is None:
                continue
            found = theirs.ask(Ask("GET", path))
            assert found.status == 200, (path, found.body)
            assert as_stored(found.body) == as_stored(without_newer(obj, known))
            compared += 1
        assert compared > 20


def folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


@contextlib.contextmanager
def restored(tmp_path: Path) -> Iterator[EtcdServer]:
    """An etcd that was made from the snapshot."""
    server = EtcdServer(folder(tmp_path, "new"), "new")
    snapshot.unpack(tmp_path / "cluster.db", tmp_path / "new" / "data", server.name, server.peer_url)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def schema_of(peer: Peer) -> Schema:
    return Schema(peer.ask(Ask("GET", "/openapi/v2")).body["definitions"])


def write_all(peer: Peer, schema: Schema | None, but: Sequence[str]) -> dict[str, Any]:
    """Creates the objects of the scenario files that are taken, under names of their own; what is read then, by path."""
    written = {}
    for number, (name, obj) in enumerate(inputs()):
        if name.startswith("refused") or obj["kind"] in but or (schema and schema.of_kind(obj) is None):
            continue
        metadata = {**obj["metadata"], "name": f"n-{number}"}
        answer = peer.ask(Ask("POST", collection_of(obj), body={**obj, "metadata": metadata}))
        if answer.status == 201:
            path = f"{collection_of(obj)}/n-{number}"
            written[path] = peer.ask(Ask("GET", path)).body
    assert len(written) > 50
    return written
