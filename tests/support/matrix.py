"""Which client was seen to do what: kept in tests/data/clients.tsv, told by docs/compatibility.md.

What runs kubectl and Helm tells here what they did (``ran``); of libraries a test says it itself, with the marker ``client``. The file
names for each client and command one test that shows it. That test fails when it no longer does, so that no line outlives what it
says; ``pytest --matrix`` writes the lines of the tests that ran, and the page, anew.
"""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, cast

import pytest

_TESTS = Path(__file__).parents[1]
FILE = _TESTS / "data/clients.tsv"
PAGE = _TESTS.parent / "docs/compatibility.md"
BEGIN, END = "<!-- clients: written by pytest --matrix -->\n", "<!-- clients -->"

# Their second word says what they do.
_GROUPS = {"auth", "certificate", "rollout", "set", "top"}
# Options that make another command of one, for the server.
_OPTIONS = ("--server-side", "--dry-run=server", "--watch", "--wait", "--atomic", "--rollback-on-failure")
_COMMAND_LINES = ("kubectl", "helm")


class Deed(NamedTuple):
    client: str
    command: str


_shown: set[Deed] = set()


def ran(path: str, arguments: Sequence[str], code: int) -> None:
    """A kubectl or Helm at ``path`` ended with ``code``; what failed shows nothing."""
    words = [argument for argument in arguments if not argument.startswith("-")]
    if arguments[0].startswith("-") or (code != 0 and (code, words[0]) != (1, "diff")):
        return
    name = Path(path).name
    # A token is asked for, where all else that is created is an object.
    two = words[0] in _GROUPS or (name == "helm" and words[0] == "get") or words[:2] == ["create", "token"]
    command = " ".join(words[: 2 if two else 1])
    client = f"{name} {version_of(path)}"
    _shown.add(Deed(client, command))
    _shown.update(Deed(client, f"{command} {option}") for option in _OPTIONS if option in arguments)


@cache
def version_of(path: str) -> str:
    """The major and minor version that a kubectl or Helm says of itself."""
    helm = Path(path).name == "helm"
    command = [path, "version", "--template", "{{.Version}}"] if helm else [path, "version", "--client", "-o", "json"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    version = said if helm else str(json.loads(said)["clientVersion"]["gitVersion"])
    return ".".join(version.removeprefix("v").split(".")[:2])


def read(file: Path = FILE) -> dict[Deed, str]:
    """What is claimed, and the test that shows it."""
    rows = (line.split("\t") for line in file.read_text().splitlines() if not line.startswith("#"))
    return {Deed(client, command): test for client, command, test in rows}


def is_there(test: str) -> bool:
    """Whether a test of that name still is in its file."""
    file, *_, name = test.partition("[")[0].split("::")
    path = _TESTS.parent / file
    return path.exists() and f"def {name}(" in path.read_text()


def merged(kept: dict[Deed, str], ran: Iterable[str], shown: dict[Deed, set[str]]) -> dict[Deed, str]:
    """The claims after a run of the tests ``ran``: who showed it before and did again goes on doing it."""
    tests = set(ran)
    found = {deed: test for deed, test in kept.items() if test not in tests or test in shown.get(deed, ())}
    return {**{deed: min(by) for deed, by in shown.items()}, **found}


def written(claims: dict[Deed, str]) -> str:
    """The text of the file."""
    lines = ["# client, command, a test that shows it: written by pytest --matrix"]
    lines += ["\t".join((*deed, claims[deed])) for deed in sorted(claims, key=lambda deed: (_order(deed.client), deed.command))]
    return "\n".join(lines) + "\n"


def tables(claims: Iterable[Deed]) -> str:
    """One table for each program with a command line, its versions beside one another, and one for the libraries."""
    families: dict[str, set[Deed]] = defaultdict(set)
    for deed in claims:
        name = deed.client.split()[0]
        families[name if name in _COMMAND_LINES else "libraries"].add(deed)
    return "\n".join(_table(name, families[name]) for name in (*_COMMAND_LINES, "libraries") if name in families)


def _table(name: str, deeds: set[Deed]) -> str:
    clients = sorted({deed.client for deed in deeds}, key=_order)
    heads = [client.removeprefix(f"{name} ") for client in clients]
    rows = [
        [f"`{command}`" if name in _COMMAND_LINES else command, *("✓" if Deed(client, command) in deeds else "" for client in clients)]
        for command in sorted({deed.command for deed in deeds})
    ]
    lines = [[name, *heads], ["---", *(":-:" for _ in heads)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _order(client: str) -> tuple[str, list[int]]:
    """By name, then by version."""
    name, _, version = client.partition(" ")
    return name, [int(part) for part in version.split(".") if part]


def page(text: str, claims: Iterable[Deed]) -> str:
    """The page with the tables of the claims."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{tables(claims)}\n{END}{rest.partition(END)[2]}"


class MatrixPlugin:
    """Listens to a run of tests."""

    def __init__(self, config: pytest.Config) -> None:
        self._writes = bool(config.getoption("--matrix"))
        # With several processes the others report to one.
        self._collects = not hasattr(config, "workerinput")
        self._claimed: dict[str, set[Deed]] = defaultdict(set)
        for deed, test in read().items():
            self._claimed[test].add(deed)
        self._ran: set[str] = set()
        self._shown: dict[Deed, set[str]] = defaultdict(set)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        _shown.clear()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.when == "call" and report.passed:
            shown = _shown | {Deed(mark.args[0], command) for mark in item.iter_markers("client") for command in mark.args[1:]}
            report.user_properties += [("client", list(deed)) for deed in sorted(shown)]
            missing = sorted(self._claimed[item.nodeid] - shown)
            if missing and not self._writes:
                told = ", ".join(" ".join(deed) for deed in missing)
                report.outcome = "failed"
                report.longrepr = (
                    f"tests/data/clients.tsv names this test for {told}, which it no longer shows: pytest --matrix writes it anew"
                )
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call":
            return
        self._ran.add(report.nodeid)
        for name, deed in report.user_properties:
            if name == "client":
                self._shown[Deed(*cast(list[str], deed))].add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        if self._writes and self._collects:
            kept = {deed: test for deed, test in read().items() if is_there(test)}
            claims = merged(kept, self._ran, self._shown)
            FILE.write_text(written(claims))
            PAGE.write_text(page(PAGE.read_text(), claims))
