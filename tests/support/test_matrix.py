"""What the matrix of clients remembers of a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import matrix
from tests.support.matrix import Deed, MatrixPlugin

GET, APPLY = Deed("kubectl 1.37", "get"), Deed("kubectl 1.37", "apply")


@pytest.fixture(autouse=True)
def shown(monkeypatch: pytest.MonkeyPatch) -> set[Deed]:
    """What the test of each of these tests shows; the version is asked of nobody."""
    found: set[Deed] = set()
    monkeypatch.setattr(matrix, "_shown", found)
    monkeypatch.setattr(matrix, "version_of", lambda path: "1.37")
    return found


@pytest.mark.parametrize(
    ("arguments", "code", "commands"),
    [
        (["get", "pods", "-o", "json"], 0, ["get"]),
        (["get", "pods"], 1, []),
        (["diff", "-f", "-"], 1, ["diff"]),
        (["rollout", "status", "deployment/d"], 0, ["rollout status"]),
        (["create", "token", "default"], 0, ["create token"]),
        (["create", "configmap", "token"], 0, ["create"]),
        (["apply", "--server-side", "--dry-run=server", "-f", "-"], 0, ["apply", "apply --dry-run=server", "apply --server-side"]),
        (["--context", "c", "get", "pods"], 0, []),
    ],
)
def test_commands(arguments: list[str], code: int, commands: list[str], shown: set[Deed]) -> None:
    matrix.ran("/x/kubectl", arguments, code)
    assert sorted(shown) == [Deed("kubectl 1.37", command) for command in commands]


def test_a_run_replaces_what_its_tests_said() -> None:
    kept = {GET: "a.py::one", APPLY: "a.py::two", Deed("kopf", "watch"): "b.py::three"}
    shown = {GET: {"a.py::four", "a.py::one"}, Deed("kopf", "list"): {"a.py::two"}}
    found = matrix.merged(kept, ["a.py::one", "a.py::two", "a.py::four"], shown)
    assert found == {GET: "a.py::one", Deed("kopf", "watch"): "b.py::three", Deed("kopf", "list"): "a.py::two"}


def test_the_page_has_a_table_for_each_program_and_one_for_libraries() -> None:
    text = f"before\n{matrix.BEGIN}old\n{matrix.END}\nafter\n"
    written = matrix.page(text, [GET, Deed("kubectl 1.9", "get"), APPLY, Deed("kopf", "watch")])
    assert written == (
        f"before\n{matrix.BEGIN}\n"
        "| kubectl | 1.9 | 1.37 |\n| --- | :-: | :-: |\n| `apply` |  | ✓ |\n| `get` | ✓ | ✓ |\n\n"
        f"| libraries | kopf |\n| --- | :-: |\n| watch | ✓ |\n\n{matrix.END}\nafter\n"
    )
    assert matrix.page(written, [GET, Deed("kubectl 1.9", "get"), APPLY, Deed("kopf", "watch")]) == written


@pytest.mark.parametrize("does", [True, False])
def test_a_test_that_no_longer_shows_what_it_is_named_for_fails(does: bool, monkeypatch: pytest.MonkeyPatch, shown: set[Deed]) -> None:
    monkeypatch.setattr(matrix, "read", lambda: {GET: "a.py::one", Deed("kopf", "watch"): "a.py::one"})
    plugin = MatrixPlugin(SimpleNamespace(getoption=lambda name: False))  # type: ignore[arg-type]
    item: Any = SimpleNamespace(nodeid="a.py::one", iter_markers=lambda name: [pytest.mark.client("kopf", "watch").mark])
    if does:
        matrix.ran("/x/kubectl", ["get", "pods"], 0)
    report = report_of(plugin, item)
    assert report.outcome == ("passed" if does else "failed")
    assert does or "names this test for kubectl 1.37 get" in str(report.longrepr)


def report_of(plugin: MatrixPlugin, item: Any) -> pytest.TestReport:
    """The report of a test that passed by itself, as the plugin passes it on."""
    making = plugin.pytest_runtest_makereport(item, SimpleNamespace(when="call"))  # type: ignore[arg-type]
    next(making)
    report = pytest.TestReport("a.py::one", ("a.py", 1, "one"), {}, "passed", None, "call")
    with pytest.raises(StopIteration) as done:
        making.send(report)
    found = done.value.value
    assert isinstance(found, pytest.TestReport)
    return found
