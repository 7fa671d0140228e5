"""One real cluster for the tests that only use it; tests that break things make their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine import ensure_image
from tests.support.knarr_cluster import KnarrCluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnarrCluster]:
    """A Docker cluster, shared by the session. Use namespaces or names of your own."""
    ensure_image()
    made = KnarrCluster(Path(tmp_path_factory.mktemp("k")))
    try:
        made.up()
        yield made
    finally:
        made.down()
