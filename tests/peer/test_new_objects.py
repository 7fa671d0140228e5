"""What a new object may say of its revision: both servers take what is no number for none."""

from __future__ import annotations

import pytest

from tests.peer.peers import Ask, Peers

pytestmark = [pytest.mark.peer, pytest.mark.etcd]

PATH = "/api/v1/namespaces/default/configmaps"


@pytest.mark.parametrize("given", ["", "0", "00", "7", "v1", "-1", "+7", "7.0", " 7", "1_0", "18446744073709551616", "٧"])
def test_both_take_or_refuse_a_revision(peers: Peers, given: str) -> None:
    body = {"metadata": {"generateName": "revision-", "resourceVersion": given}}
    theirs, ours = peers.ask(Ask("POST", PATH, body=body))
    # Whoever names one hears the same words, by another status: theirs is that of a fault of its own.
    assert (ours.status == 201) == (theirs.status == 201), (theirs, ours)
    assert ours.body.get("message") == theirs.body.get("message")
    assert ours.status != 201 or ours.body["metadata"]["resourceVersion"] != given
