"""The page about what commands tell programs: each command that has `--output` is in it, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from services.command.main import knarr
from tests.support.cluster_client import ROOT

PAGE = (ROOT / "docs/output.md").read_text()
# Words of commands behind `knarr`, of the first column.
NAMED = {found for row in PAGE.splitlines() if row.startswith("| `knarr") for found in re.findall(r"`knarr ([a-z ]+)`", row.split("|")[1])}


def with_output(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from with_output(inner, (*words, name))
    elif any("--output" in parameter.opts for parameter in command.params):
        yield " ".join(words)


def test_each_command_that_tells_programs_is_described() -> None:
    found = set(with_output(knarr))
    # The questions of `whatif` have one answer.
    asked = {name for name in found if name.startswith("whatif ")}
    assert "whatif drain" in asked
    assert found - asked | {"whatif drain"} == {name.removesuffix(" pod") for name in NAMED}
