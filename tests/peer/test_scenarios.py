"""What the scenario files say, Kubernetes says too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.peer.comparison import Explained, Schema, differences
from tests.peer.objects import create, inputs
from tests.peer.peers import Peers

pytestmark = [pytest.mark.peer, pytest.mark.etcd]


@pytest.mark.parametrize("obj", [pytest.param(obj, id=name) for name, obj in inputs()])
def test_both_judge_alike(peers: Peers, schema: Schema, explained: Explained, obj: dict[str, Any]) -> None:
    known = schema.of_kind(obj)
    if known is None:
        pytest.skip("the peer does not have this kind")
    if newer := list(known.newer_fields(obj)):
        pytest.skip(f"the peer does not know {', '.join(newer)}")
    theirs, ours = peers.ask(create(obj))
    assert differences(theirs, ours, obj["kind"], schema, explained) == []
