"""The `knarr` command given twice at the same time."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.knarr_cluster import BIN, ROOT, KnarrCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


def processes(data_dir: Path) -> list[str]:
    """Those of the cluster itself, without its etcd."""
    mark = f"--data-dir={data_dir}\0".encode()
    return [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if mark in _bytes(path)]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_of_two_ups_one_starts_the_cluster_and_the_other_says_so(tmp_path: Path) -> None:
    cluster = KnarrCluster(tmp_path / "k", runtime="hollow", datapath="userspace")
    options = ["--data-dir", str(cluster.data_dir), "--runtime", "hollow", "--datapath", "userspace", *cluster.options]
    command = [str(BIN / "knarr"), "up", *options]
    both = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **cluster.environment}
        )
        for _ in range(2)
    ]
    try:
        told = [(process.communicate(timeout=60), process.returncode) for process in both]
        ready = [out for (out, _), code in told if code == 0 and "is ready after" in out]
        assert len(ready) == 1, told
        [(out, complaint)] = [words for words, _ in told if "is ready after" not in words[0]]
        # As far as the first had come.
        busy = complaint == f"error: another knarr command is at work in {cluster.data_dir}; wait until it has ended, then try again\n"
        assert busy or "the cluster runs already" in out, told
        assert processes(cluster.data_dir) == [str(cluster.pid)]
        assert cluster.get("nodes")["items"]
    finally:
        cluster.down()
    assert processes(cluster.data_dir) == []
