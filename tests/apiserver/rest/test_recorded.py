"""Replays what a Kubernetes API server was asked and answered: same status, reasons, fields and defaults.

The server is as the recording one was: without accounts for pods, with versions that were retired since, with what others had left there.
``recorded-exchanges-newer.json`` names the exchanges that newer Kubernetes answers differently, with the reason and what differs. Our
warnings of what nothing acts by yet are passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3

from services.apiserver.admission.catalog import PLUGINS
from services.apiserver.admission.service_account.plugin import ServiceAccount
from services.apiserver.fields.table import WARNED, rows
from services.apiserver.settings import ApiServerSettings
from tests.apiserver.rest.live import TOKEN, LiveServer, running_server
from tests.apiserver.rest.matching import differences

DATA = Path(__file__).parents[2] / "data"
EXCHANGES: list[dict[str, Any]] = json.loads((DATA / "recorded-exchanges.json").read_text())
NEWER: dict[str, dict[str, Any]] = json.loads((DATA / "recorded-exchanges-newer.json").read_text())

POD_SPEC = {"containers": [{"name": "c", "image": "nginx:1"}]}
WORKLOAD = {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": POD_SPEC}}
# What the recording server had from outside the exchanges: by path.
LEFTOVERS: list[tuple[str, dict[str, Any]]] = [
    ("/api/v1/namespaces/default/events", {
        "metadata": {"name": "e1"}, "type": "Normal", "reason": "X", "message": "m", "count": 1,
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p1"},
    }),
    ("/api/v1/namespaces/default/pods", {"metadata": {"name": "z1"}, "spec": POD_SPEC}),
    ("/apis/apps/v1/namespaces/default/deployments", {"metadata": {"name": "z1"}, "spec": WORKLOAD}),
    ("/apis/apps/v1/namespaces/default/statefulsets", {"metadata": {"name": "ss1"}, "spec": WORKLOAD}),
    ("/api/v1/namespaces/default/services", {"metadata": {"name": "z1"}, "spec": {"ports": [{"port": 80}]}}),
    ("/api/v1/namespaces/default/services", {"metadata": {"name": "z2"}, "spec": {"ports": [{"port": 80}]}}),
]  # fmt: skip
# What came to it from outside while it was recorded: before which exchange, and by path.
MEANWHILE: dict[str, tuple[str, dict[str, Any]]] = {
    "refused: duplicate": ("/api/v1/namespaces/default/limitranges", {
        "metadata": {"name": "l"}, "spec": {"limits": [{"type": "Pod", "max": {"cpu": "4"}}]},
    }),
}  # fmt: skip
SETTINGS = ApiServerSettings(advertise_address="192.0.2.1", revived_versions=frozenset({"policy/v1beta1"}))
WITHOUT_ACCOUNTS = [plugin for plugin in PLUGINS if plugin is not ServiceAccount]
# What our own warnings end with: docs/fields.md tells them.
OURS = tuple(f": {row.words}" for row in rows() if row.state == WARNED)


@dataclass
class Answer:
    status: int
    body: Any
    warnings: list[str]


@pytest.fixture(scope="module", params=["memory", pytest.param("etcd", marks=pytest.mark.etcd)])
def answers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Answer]]:
    """All exchanges in their order, against one fresh server; compared one by one below."""
    folder = tmp_path_factory.mktemp("recorded")
    with running_server(folder, in_memory=request.param == "memory", settings=SETTINGS, plugins=WITHOUT_ACCOUNTS) as server:
        yield replay(server)


def replay(server: LiveServer) -> dict[str, Answer]:
    found: dict[str, Answer] = {}
    with urllib3.PoolManager(ca_certs=str(server.ca), headers={"Authorization": f"Bearer {TOKEN}"}) as pool:
        create: dict[str, Any] = {"method": "POST", "query": {}, "content_type": "application/json", "accept": None}
        for path, body in LEFTOVERS:
            assert ask(pool, server, {**create, "path": path, "body": body}).status == 201
        for exchange in EXCHANGES:
            if exchange["name"] in MEANWHILE:
                path, body = MEANWHILE[exchange["name"]]
                assert ask(pool, server, {**create, "path": path, "body": body}).status == 201
            found[exchange["name"]] = ask(pool, server, exchange["request"])
    return found


def ask(pool: urllib3.PoolManager, server: LiveServer, request: dict[str, Any]) -> Answer:
    query = f"?{urlencode(request['query'])}" if request["query"] else ""
    headers = {**pool.headers}
    if request["content_type"]:
        headers["Content-Type"] = request["content_type"]
    if request["accept"]:
        headers["Accept"] = request["accept"]
    body = request["body"] if isinstance(request["body"], str) or request["body"] is None else json.dumps(request["body"])
    response = pool.request(
        request["method"], f"{server.url}{request['path']}{query}", body=body, headers=headers, timeout=20, retries=False
    )
    text = response.data.decode()
    found = json.loads(text) if response.headers["Content-Type"].startswith("application/json") else text
    return Answer(response.status, found, [text for text in warnings_of(response.headers.get("Warning")) if not text.endswith(OURS)])


def warnings_of(header: str | None) -> list[str]:
    """The texts in a Warning header."""
    return [re.sub(r"\\(.)", r"\1", text) for text in re.findall(r'299 - "((?:\\.|[^"\\])*)"', header or "")]


def expected_of(exchange: dict[str, Any]) -> tuple[int, Any]:
    """The recorded answer, with what newer Kubernetes changed about it."""
    response = exchange["response"]
    newer = NEWER.get(exchange["name"], {})
    status, body = newer.get("status", response["status"]), newer.get("body", response["body"])
    return status, merged(body, newer["merge"]) if "merge" in newer else body


def merged(body: Any, changes: Any) -> Any:
    """A JSON merge patch, with list elements named by their index."""
    if isinstance(body, list) and isinstance(changes, dict):
        return [merged(item, changes[str(index)]) if str(index) in changes else item for index, item in enumerate(body)]
    if not isinstance(body, dict) or not isinstance(changes, dict):
        return changes
    found = {key: value for key, value in body.items() if changes.get(key, "") is not None}
    for key, value in changes.items():
        if value is not None:
            found[key] = merged(found.get(key), value)
    return found


@pytest.mark.parametrize("exchange", [pytest.param(exchange, id=exchange["name"]) for exchange in EXCHANGES])
def test_answers_as_recorded(answers: dict[str, Answer], exchange: dict[str, Any]) -> None:
    status, body = expected_of(exchange)
    actual = answers[exchange["name"]]
    warning = NEWER.get(exchange["name"], {}).get("warning", exchange["response"]["warning"])
    assert actual.warnings == warnings_of(warning)
    assert (actual.status, list(differences(body, actual.body))) == (status, [])


def test_the_table_names_only_recorded_exchanges() -> None:
    names = {exchange["name"] for exchange in EXCHANGES}
    assert len(names) == len(EXCHANGES)
    assert not NEWER.keys() - names
    assert all(entry["reason"] for entry in NEWER.values())
