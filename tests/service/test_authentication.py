"""The token file keeps hashes only, and says which line is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.machinery.errors import StatusError
from knarr.service.authentication import TokenTable, User, hash_token


def test_a_saved_table_names_the_same_users_and_holds_no_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    TokenTable({hash_token("t0ps3cret"): User("alice", "1", ("a", "b"))}).save(path)
    assert "t0ps3cret" not in path.read_text()
    assert TokenTable.load(path).authenticate("Bearer t0ps3cret") == User("alice", "1", ("a", "b", "system:authenticated"))


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text("# users\nabc,alice\n")
    with pytest.raises(ValueError, match=r"tokens\.csv:2: expected sha256,name,uid"):
        TokenTable.load(path)


def test_the_hash_itself_is_no_token() -> None:
    table = TokenTable({hash_token("x"): User("alice")})
    with pytest.raises(StatusError, match="Unauthorized"):
        table.authenticate("Bearer " + hash_token("x"))
