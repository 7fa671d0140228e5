"""Which store answers is known by etcd's name and by its term, whatever order answers come in."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from services.apiserver.storage.identity import Identity


def header(cluster: int, term: int, revision: int = 0) -> SimpleNamespace:
    return SimpleNamespace(cluster_id=cluster, raft_term=term, revision=revision)


@pytest.mark.parametrize(
    ("answers", "worlds"),
    [
        # (cluster, term, the term that was known when it was asked)
        ([(1, 2, 0), (1, 2, 2), (1, 3, 2), (1, 7, 3)], 0),
        ([(1, 2, 0), (2, 2, 2)], 1),
        ([(1, 5, 0), (1, 2, 5)], 1),
        ([(1, 5, 0), (1, 2, 5), (1, 2, 2), (1, 3, 2)], 1),
        # Asked before the term rose, answered after another answer told of it: the same store.
        ([(1, 2, 0), (1, 5, 2), (1, 2, 2), (1, 5, 5)], 0),
        # An answer about alarms tells nothing.
        ([(1, 2, 0), (0, 0, 2), (1, 2, 2)], 0),
    ],
)
def test_another_store_is_another_world(answers: list[tuple[int, int, int]], worlds: int) -> None:
    identity = Identity()
    for cluster, term, before in answers:
        identity.heard(header(cluster, term), before)
    assert identity.world == worlds


def test_the_newest_revision_is_remembered() -> None:
    identity = Identity()
    for revision in (3, 9, 4):
        identity.heard(header(1, 2, revision), 2)
    assert identity.revision == 9
