"""Replays what a Kubernetes API server was asked and answered: same status, reasons, fields and defaults.

``recorded-exchanges-later.json`` names the exchanges that wait for a kind or a feature, and which;
``recorded-exchanges-newer.json`` those that newer Kubernetes, or a server without the recording's
leftovers, answers differently, with the reason and what differs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3

from knarr.machinery.catalog import registry
from services.apiserver.rest.routing import Router
from tests.apiserver.rest.live import TOKEN, LiveServer, running_server
from tests.apiserver.rest.matching import differences

DATA = Path(__file__).parents[2] / "data"
EXCHANGES: list[dict[str, Any]] = json.loads((DATA / "recorded-exchanges.json").read_text())
LATER: dict[str, str] = json.loads((DATA / "recorded-exchanges-later.json").read_text())
NEWER: dict[str, dict[str, Any]] = json.loads((DATA / "recorded-exchanges-newer.json").read_text())

# The recording server had this Event from outside the exchanges.
LEFTOVER_EVENT = {
    "metadata": {"name": "e1"}, "type": "Normal", "reason": "X", "message": "m", "count": 1,
    "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p1"},
}  # fmt: skip


@dataclass
class Answer:
    status: int
    body: Any
    warning: str | None


@pytest.fixture(scope="module", params=["memory", pytest.param("etcd", marks=pytest.mark.etcd)])
def answers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Answer]]:
    """All exchanges in their order, against one fresh server; compared one by one below."""
    with running_server(tmp_path_factory.mktemp("recorded"), in_memory=request.param == "memory") as server:
        yield replay(server)


def replay(server: LiveServer) -> dict[str, Answer]:
    found: dict[str, Answer] = {}
    with urllib3.PoolManager(ca_certs=str(server.ca), headers={"Authorization": f"Bearer {TOKEN}"}) as pool:
        create: dict[str, Any] = {"method": "POST", "query": {}, "content_type": "application/json", "accept": None}
        assert ask(pool, server, {**create, "path": "/api/v1/namespaces/default/events", "body": LEFTOVER_EVENT}).status == 201
        for exchange in EXCHANGES:
            if exchange["name"] not in LATER:
                found[exchange["name"]] = ask(pool, server, exchange["request"])
            if NEWER.get(exchange["name"], {}).get("undo"):
                path = f"{exchange['request']['path']}/{exchange['request']['body']['metadata']['name']}"
                request = {**create, "method": "DELETE", "path": path, "body": {"gracePeriodSeconds": 0}}
                assert ask(pool, server, request).status == 200
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
    return Answer(response.status, found, response.headers.get("Warning"))


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


@pytest.mark.parametrize(
    "exchange", [pytest.param(exchange, id=exchange["name"]) for exchange in EXCHANGES if exchange["name"] not in LATER]
)
def test_answers_as_recorded(answers: dict[str, Answer], exchange: dict[str, Any]) -> None:
    status, body = expected_of(exchange)
    actual = answers[exchange["name"]]
    warning = NEWER.get(exchange["name"], {}).get("warning", exchange["response"]["warning"])
    assert actual.warning == warning
    assert (actual.status, list(differences(body, actual.body))) == (status, [])


def test_the_tables_name_only_recorded_exchanges() -> None:
    names = {exchange["name"] for exchange in EXCHANGES}
    assert len(names) == len(EXCHANGES)
    assert not LATER.keys() - names and not NEWER.keys() - names and not LATER.keys() & NEWER.keys()
    assert all(entry["reason"] for entry in NEWER.values())


def test_only_what_is_missing_waits() -> None:
    """A kind that is served does not wait, except for its rules."""
    router = Router(registry())
    served = [
        exchange["name"]
        for exchange in EXCHANGES
        if exchange["name"] in LATER and router.target(exchange["request"]["path"]) and not LATER[exchange["name"]].startswith("rules of")
    ]
    assert served == [], "these are answered now: take them out of tests/data/recorded-exchanges-later.json"
