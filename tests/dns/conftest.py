"""The tests of the DNS run on the event loop that the services run on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.support.loops import new_uvloop


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:
    """Overrides pytest-asyncio's choice for this directory."""
    return {"uvloop": new_uvloop}
