"""What every test run has: the flag that writes golden files anew."""

from __future__ import annotations

import pytest

from tests.support import golden


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write golden files anew instead of comparing; read `git diff` afterwards")


def pytest_configure(config: pytest.Config) -> None:
    golden.rewriting = bool(config.getoption("--rewrite"))
