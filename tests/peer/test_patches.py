"""Patches after which there is no object any more: both servers say so in the same words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.peer.peers import Ask, Peers

pytestmark = [pytest.mark.peer, pytest.mark.etcd]

PATH = "/apis/apps/v1/namespaces/default/deployments"
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
DEPLOYMENT = {"metadata": {"name": "patched"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}}
PATCHES: list[dict[str, Any]] = [
    {"metadata": {"labels": "x"}}, {"metadata": {"labels": {"a": 1}}}, {"metadata": {"labels": {"a": [1]}}}, {"metadata": {"labels": [1]}},
    {"metadata": {"finalizers": "x"}}, {"metadata": {"finalizers": [1]}}, {"metadata": {"finalizers": [{"a": "b"}]}},
    {"metadata": {"generateName": 5}}, {"metadata": {"generateName": 5.5}}, {"metadata": {"generateName": True}},
    {"spec": {"replicas": "x"}}, {"spec": {"replicas": 1.5}}, {"spec": {"replicas": True}}, {"spec": {"replicas": {}}},
    {"spec": {"paused": "x"}}, {"spec": {"paused": 1}}, {"spec": {"template": 5}}, {"spec": {"template": {"spec": [1]}}},
    {"spec": {"template": {"spec": {"restartPolicy": 1}}}}, {"spec": {"template": {"spec": {"nodeSelector": 5}}}},
]  # fmt: skip


@pytest.mark.parametrize("patch", PATCHES, ids=json.dumps)
def test_both_refuse_in_the_same_words(peers: Peers, patch: dict[str, Any]) -> None:
    peers.ask(Ask("POST", PATH, body=DEPLOYMENT))  # perhaps there already
    theirs, ours = peers.ask(Ask("PATCH", f"{PATH}/patched", {"dryRun": "All"}, patch, "application/strategic-merge-patch+json"))
    assert (ours.status, ours.body["message"]) == (theirs.status, theirs.body["message"])
