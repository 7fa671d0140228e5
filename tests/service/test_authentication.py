"""The token file keeps hashes only, and says which line is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.machinery.errors import StatusError
from knarr.service.authentication import TokenTable, User, hash_token, kept_token


def test_a_saved_table_names_the_same_users_and_holds_no_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    TokenTable({hash_token("t0ps3cret"): User("alice", "1", ("a", "b"))}).save(path)
    assert "t0ps3cret" not in path.read_text()
    assert TokenTable.load(path).authenticate("Bearer t0ps3cret") == User("alice", "1", ("a", "b", "system:authenticated"))


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text(f"# users\n{hash_token('x')},alice\n")
    with pytest.raises(ValueError, match=r"tokens\.csv:2: expected sha256,name,uid"):
        TokenTable.load(path)


def test_the_hash_itself_is_no_token() -> None:
    table = TokenTable({hash_token("x"): User("alice")})
    with pytest.raises(StatusError, match="Unauthorized"):
        table.authenticate("Bearer " + hash_token("x"))


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer \t", "bearer  ", "Basic "])
def test_nothing_is_no_token_whatever_the_table_says(header: str) -> None:
    table = TokenTable({hash_token(""): User("admin", groups=("system:masters",))})
    with pytest.raises(StatusError, match="Unauthorized"):
        table.authenticate(header)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"{hash_token('')},admin,", "the token is empty"),
        (",admin,", "no SHA-256"),
        (f"{hash_token('x')[:40]},admin,", "no SHA-256"),
        (f"{hash_token('x')},,", "has no name"),
        (f'{hash_token("x")},admin,,"system:mas', "unexpected end of data"),
    ],
)
def test_a_line_that_was_not_written_whole_is_named(line: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text(f"# users\n{line}")
    with pytest.raises(ValueError, match=rf"tokens\.csv:2: .*{words}"):
        TokenTable.load(path)


@pytest.mark.parametrize("content", [None, b"", b"\n", b"abc", b"a b" * 20, b"\xff\xfe" * 30, b"\0" * 44])
def test_a_file_without_a_whole_token_gets_one(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    token = kept_token(path)
    assert len(token) == 43 and path.read_text() == f"{token}\n" and path.stat().st_mode & 0o777 == 0o600
    assert kept_token(path) == token
