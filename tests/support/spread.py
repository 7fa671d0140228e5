"""How tests are shared out among processes: file by file, so that what a file's fixtures make is made once. Of a file that says
``mark.spread`` each test goes for itself: its tests take long, and share nothing that is dear.

pytest-xdist begins with the units that have the most tests. So single tests come last, and no process is left alone with a long file.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.lanes import named


def scopes(root: Path) -> Callable[[str], str]:
    """What tells which unit a test belongs to, by its id, which begins with its file below ``root``."""

    @cache
    def is_spread(file: str) -> bool:
        return "spread" in named(root / file)

    def scope(test: str) -> str:
        file = test.partition("::")[0]
        return test if is_spread(file) else file

    return scope


class SpreadPlugin:
    """Takes the place of ``--dist=loadfile``. Only to be registered where pytest-xdist is."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        if config.getoption("dist") != "loadfile":
            return None
        from xdist.scheduler import LoadFileScheduling

        scheduling = LoadFileScheduling(config, log)
        scheduling._split_scope = scopes(config.rootpath)
        return scheduling
