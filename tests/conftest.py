"""What every test run has: the flag that writes golden files anew, and one real cluster for all tests that only use it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import golden
from tests.support.engine import ensure_image
from tests.support.knarr_cluster import KnarrCluster
from tests.support.lanes import hidden
from tests.support.matrix import MatrixPlugin
from tests.support.spread import SpreadPlugin
from tests.support.watchdog import Watchdog

# Garbage does not pile up where a test makes much of it: the last number is not the components'.
COLLECTOR_THRESHOLDS = (20_000, 20, 10)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write golden files anew instead of comparing; read `git diff` afterwards")
    parser.addoption(
        "--matrix", action="store_true", help="write anew which client was seen to do what by the tests that run: docs/compatibility.md"
    )


def pytest_configure(config: pytest.Config) -> None:
    golden.rewriting = bool(config.getoption("--rewrite"))
    config.pluginmanager.register(MatrixPlugin(config))
    config.pluginmanager.register(Watchdog(config))
    if config.pluginmanager.has_plugin("xdist"):
        config.pluginmanager.register(SpreadPlugin())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if complaints := sorted(hidden(items)):
        raise pytest.UsageError("\n".join(complaints))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """All tests and what they import stay to the end: looking through them takes a third of a second whenever a test collects. And as in
    the components, it is looked less often than by Python's defaults: that is a seventh of what the tests of controllers take."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnarrCluster]:
    """A Docker cluster, shared by the session: use a namespace or names of your own. Tests that break a cluster make their own."""
    ensure_image()
    made = KnarrCluster(Path(tmp_path_factory.mktemp("k")))
    try:
        made.up()
        yield made
    finally:
        made.down()
