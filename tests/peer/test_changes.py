"""Objects of the scenario files, stored in both servers and then changed at random by each way there is: both judge and answer alike."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
import urllib3

from tests.peer.comparison import Explained, Schema, differences
from tests.peer.objects import collection_of, inputs, variation
from tests.peer.peers import Ask, Peers
from tests.peer.seeds import seeds

pytestmark = [pytest.mark.peer, pytest.mark.etcd]

BATCH = 60
# What is done, and the type of its body.
WAYS = {
    "replaced": ("PUT", "application/json"),
    "merged": ("PATCH", "application/merge-patch+json"),
    "merged by its schema": ("PATCH", "application/strategic-merge-patch+json"),
    "applied": ("PATCH", "application/apply-patch+yaml"),
}
# 1.20 drops a null from a list that a merge patch brings; newer Kubernetes, and we, keep it.
NULL_IN_LIST = re.compile(r"\] = null$")
# They are not gone when they are deleted.
STAY = ("Namespace", "PersistentVolume", "PersistentVolumeClaim")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", seeds("1-1"))
def test_both_change_alike(peers: Peers, schema: Schema, explained: Explained, way: str, seed: int) -> None:
    rng = random.Random(f"{way}-{seed}")
    known = [
        (name, obj)
        for name, obj in inputs()
        if not name.startswith("refused")
        and obj["kind"] not in STAY
        and (found := schema.of_kind(obj))
        and not list(found.newer_fields(obj))
    ]
    method, content_type = WAYS[way]
    failures, compared = [], 0
    for number in range(BATCH):
        title, obj = rng.choice(known)
        change, changed = variation(obj, rng)
        name = f"changed-{seed}-{number}"
        path = f"{collection_of(obj)}/{name}"
        if not stored(peers, obj, name) or (way == "merged" and NULL_IN_LIST.search(change)):
            continue
        query = {"fieldManager": "tester", "force": "true"} if way == "applied" else {}
        ask = Ask(method, path, query, named(changed, name), content_type)
        try:
            theirs, ours = peers.ask(ask)
        except urllib3.exceptions.ProtocolError:
            # 1.20 ends the connection of some that it cannot merge.
            assert peers.ours.ask(ask).status < 500, change
            continue
        failures += [f"{title}, {change}: {line}" for line in differences(theirs, ours, obj["kind"], schema, explained)]
        compared += 1
        peers.ask(Ask("DELETE", path, body={"gracePeriodSeconds": 0, "propagationPolicy": "Background"}))
    assert not failures, "\n".join(failures)
    assert compared > BATCH // 2


def named(obj: dict[str, Any], name: str) -> dict[str, Any]:
    metadata = obj.get("metadata")
    return {**obj, "metadata": {**metadata, "name": name}} if isinstance(metadata, dict) else obj


def stored(peers: Peers, obj: dict[str, Any], name: str) -> bool:
    """Whether both have it now; where one refuses it, test_scenarios.py compares why."""
    answers = peers.ask(Ask("POST", collection_of(obj), body=named(obj, name)))
    if all(answer.status == 201 for answer in answers):
        return True
    peers.ask(Ask("DELETE", f"{collection_of(obj)}/{name}", body={"gracePeriodSeconds": 0}))
    return False
