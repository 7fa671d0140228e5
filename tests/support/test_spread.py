"""Tests of a file stay together, unless it says that they need not."""

from __future__ import annotations

from pathlib import Path

from tests.support.spread import scopes


def test_a_test_of_a_file_that_is_spread_goes_for_itself(tmp_path: Path) -> None:
    (tmp_path / "test_long.py").write_text("pytestmark = [pytest.mark.timeout(9), pytest.mark.spread]\n")
    (tmp_path / "test_short.py").write_text("pytestmark = pytest.mark.timeout(9)\n")
    scope = scopes(tmp_path)
    assert [scope(f"test_long.py::test_it[{name}]") for name in ("a", "b::c")] == [
        "test_long.py::test_it[a]",
        "test_long.py::test_it[b::c]",
    ]
    assert scope("test_short.py::Group::test_it[a]") == "test_short.py"
