"""Objects of the scenario files with one value changed at random: both servers judge them alike."""

from __future__ import annotations

import random

import pytest

from tests.peer.comparison import Explained, Schema, differences
from tests.peer.objects import create, inputs, variation
from tests.peer.peers import Peers
from tests.peer.seeds import seeds

pytestmark = [pytest.mark.peer, pytest.mark.etcd]

BATCH = 150


@pytest.mark.parametrize("seed", seeds("1-4"))
def test_both_judge_alike(peers: Peers, schema: Schema, explained: Explained, seed: int) -> None:
    rng = random.Random(seed)
    known = [(name, obj, found) for name, obj in inputs() if (found := schema.of_kind(obj)) and not list(found.newer_fields(obj))]
    failures = []
    for _ in range(BATCH):
        name, obj, _found = rng.choice(known)
        change, changed = variation(obj, rng)
        theirs, ours = peers.ask(create(changed))
        failures += [f"{name}, {change}: {line}" for line in differences(theirs, ours, obj["kind"], schema, explained)]
    assert not failures, "\n".join(failures)
