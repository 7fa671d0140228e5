"""Kubernetes' API server and ours side by side: the same request to both."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

import urllib3

from tests.apiserver.rest.live import TOKEN, running_server
from tests.peer.kube_apiserver import running_kube_apiserver
from tests.support.etcd import running_etcd

TIMEOUT_SECONDS = 20.0
STORAGE_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"


class Server(Protocol):
    @property
    def url(self) -> str: ...
    @property
    def ca(self) -> Path: ...


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: the body is an object, sent as JSON, or text that is sent as it is."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = "application/json"
    accept: str = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """The body is text where it is no JSON document, as a watch's is."""

    status: int
    body: Any


class Peer:
    """One of the two servers, as a client sees it."""

    def __init__(self, server: Server) -> None:
        self._url = server.url
        self._pool = urllib3.PoolManager(ca_certs=str(server.ca))

    def ask(self, ask: Ask) -> Answer:
        query = f"?{urlencode(ask.query)}" if ask.query else ""
        headers = {"Authorization": f"Bearer {TOKEN}", "Accept": ask.accept, "Content-Type": ask.content_type}
        body = ask.body if ask.body is None or isinstance(ask.body, str | bytes) else json.dumps(ask.body)
        answer = self._pool.request(
            ask.method, f"{self._url}{ask.path}{query}", body=body, headers=headers, timeout=TIMEOUT_SECONDS, retries=False
        )
        text = answer.data.decode()
        with contextlib.suppress(ValueError):
            return Answer(answer.status, json.loads(text))
        return Answer(answer.status, text)

    def close(self) -> None:
        self._pool.clear()


@dataclass(frozen=True, slots=True)
class Peers:
    theirs: Peer
    ours: Peer

    def ask(self, ask: Ask) -> tuple[Answer, Answer]:
        """Kubernetes' answer and ours."""
        return self.theirs.ask(ask), self.ours.ask(ask)


def wait_for_namespace(peer: Peer) -> None:
    """Kubernetes makes the namespace `default` some moments after it says that it is ready."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while peer.ask(Ask("GET", "/api/v1/namespaces/default")).status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextlib.contextmanager
def running_peers(folder: Path) -> Iterator[Peers]:
    """Both servers, each over an etcd of its own or, ours, in memory."""
    for name in ("etcd", "theirs", "ours"):
        (folder / name).mkdir()
    with (
        running_etcd(folder / "etcd") as etcd,
        running_kube_apiserver(folder / "theirs", etcd.endpoint) as theirs,
        running_server(folder / "ours", in_memory=True) as ours,
        contextlib.closing(Peer(theirs)) as their_peer,
        contextlib.closing(Peer(ours)) as our_peer,
    ):
        wait_for_namespace(their_peer)
        account = Ask("POST", "/api/v1/namespaces/default/serviceaccounts", body={"metadata": {"name": "default"}})
        assert their_peer.ask(account).status == 201
        _give_classes(our_peer, their_peer)
        yield Peers(their_peer, our_peer)


def _give_classes(ours: Peer, theirs: Peer) -> None:
    """The StorageClasses that our server begins with: claims are given the default one by both."""
    for found in ours.ask(Ask("GET", STORAGE_CLASSES)).body["items"]:
        metadata = {key: found["metadata"][key] for key in ("name", "annotations", "labels") if key in found["metadata"]}
        assert theirs.ask(Ask("POST", STORAGE_CLASSES, body={**found, "metadata": metadata})).status == 201
