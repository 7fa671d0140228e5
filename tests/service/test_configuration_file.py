"""What every configuration file is held to, whatever it is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.service.configuration_file import MOST_BYTES, document_of, read_configuration, refuse_others
from knarr.service.errors import CommandError

HEAD = b"apiVersion: example.com/v1\nkind: Example\n"


def parse(text: bytes) -> object:
    return document_of(text, "example.com/v1", "Example")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "it must be one Example of example.com/v1"),
        (b"[]", "must be an object"),
        (HEAD + b"---\n" + HEAD, "it must be one Example of example.com/v1"),
        (HEAD.replace(b"/v1", b"/v2"), "it must be one Example of example.com/v1"),
        (HEAD + b"a: [", "yaml"),
        (HEAD + b"a: 1\na: 2", "field 'a' is there twice"),
        (HEAD + b"list: [{}, {inner: {a: 1, a: 2}}]", r"list\[1\]\.inner: field 'a' is there twice"),
        (b"#" * (MOST_BYTES + 1), "larger than 1024 KiB: that is no Example"),
    ],
    ids=["nothing", "list", "two", "version", "yaml", "twice", "deep", "large"],
)
def test_a_file_that_is_none_says_so_with_its_name(tmp_path: Path, text: bytes, words: str) -> None:
    file = tmp_path / "example.yaml"
    file.write_bytes(text)
    with pytest.raises(CommandError, match=words) as refused:
        read_configuration(file, "Example", parse)
    assert str(file) in str(refused.value)


def test_a_file_of_keys_is_for_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "example.yaml"
    file.write_bytes(HEAD)
    file.chmod(0o640)
    assert read_configuration(file, "Example", parse)
    with pytest.raises(CommandError, match=r"mode 0640\): chmod 600"):
        read_configuration(file, "Example", parse, holds_keys=True)
    file.chmod(0o600)
    assert read_configuration(file, "Example", parse, holds_keys=True)
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        read_configuration(tmp_path / "none", "Example", parse)


def test_fields_that_nobody_knows_are_named() -> None:
    refuse_others({"a": 1}, "", "a")
    with pytest.raises(ValueError, match=r"^inner: unknown field '5'$"):
        refuse_others({"a": 1, 5: 2}, "inner", "a")
    with pytest.raises(ValueError, match=r"^inner: must be a mapping$"):
        refuse_others([], "inner", "a")
