"""One compose cluster for all tests of this folder; building its images is part of it."""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster_client import ROOT
from tests.support.compose import PROJECT, ComposeCluster
from tests.support.engine import ensure_image

BUILD_SECONDS = 900.0


@pytest.fixture(scope="session")
def alone() -> Iterator[None]:
    """Name and addresses of the cluster are fixed: another run on this machine is waited for."""
    with (Path(tempfile.gettempdir()) / f"{PROJECT}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def images() -> None:
    """Those of compose.yaml, and the example's."""
    done = subprocess.run([str(ROOT / "scripts/images.sh")], capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
    assert done.returncode == 0, f"scripts/images.sh failed:\n{done.stdout}{done.stderr}"
    ensure_image()


@pytest.fixture(scope="session")
def cluster(alone: None, images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeCluster]:
    """Two nodes, and the example image in their engines."""
    made = ComposeCluster(tmp_path_factory.mktemp("compose"))
    # A run that was killed may have left one.
    made.down()
    try:
        made.up()
        yield made
    finally:
        made.down()
