"""One compose cluster for all tests of this folder; building its images is part of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.support.cluster_client import ROOT
from tests.support.compose import ComposeCluster
from tests.support.engine import ensure_image

BUILD_SECONDS = 900.0


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeCluster]:
    """Two nodes, and the example image in their engines."""
    done = subprocess.run([str(ROOT / "scripts/images.sh")], capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
    assert done.returncode == 0, f"scripts/images.sh failed:\n{done.stdout}{done.stderr}"
    ensure_image()
    made = ComposeCluster(tmp_path_factory.mktemp("compose"))
    try:
        made.up()
        yield made
    finally:
        made.down()
