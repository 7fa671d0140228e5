"""Which store answers: one that was restored or made anew is another, even when its revisions go on."""

from __future__ import annotations

from typing import Any


class Identity:
    """What the headers of linearizable answers have told. ``world`` rises each time that another store answers.

    Etcd names itself in every answer (``cluster_id``), and its term of raft only rises: below the highest term that was answered
    *before the question was sent*, no answer of the same store can be.
    """

    def __init__(self) -> None:
        self.world = 0
        self.term = 0
        # The newest that this store has named; 0 before its first answer.
        self.revision = 0
        self._cluster_id = 0

    def heard(self, header: Any, term_before: int) -> None:
        """Takes an answer's header, and the term that was known when its question was sent."""
        term: int = header.raft_term
        # An answer about alarms has an empty header.
        if not header.cluster_id:
            return
        if header.cluster_id == self._cluster_id and term == self.term:
            self.revision = max(self.revision, header.revision)
            return
        if self._cluster_id and (header.cluster_id != self._cluster_id or term < term_before):
            self.world += 1
            self.term, self.revision = term, 0
        self._cluster_id = header.cluster_id
        self.term = max(self.term, term)
        self.revision = max(self.revision, header.revision)
